"""The options of targets on the command line, as each target declares them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args, get_origin

import click

from compressor.cli.sections import Decorator, section, together
from exporters.base.options import Declared, TargetOptions
from exporters.base.registry import options_of, target_names


def target_options() -> Decorator:
    """The flags of all targets, each under the title of its runtime.

    One that several targets have stands under the first of them, and takes what any of them does.
    """
    flags = _flags()
    return together(
        *(
            section(
                options.title,
                *(_option(flags[one.flag.name]) for one in options.flags()
                  if flags[one.flag.name][0].target == name),
            )
            for name, options in _declared()
        )
    )  # fmt: skip


def complete_targets(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    """The targets that begin so, for the shell; behind a comma those that are not named yet."""
    del context, parameter
    *named, start = incomplete.split(",")
    ahead = "".join(f"{name}," for name in named)
    return [f"{ahead}{n}" for n in target_names() if n.startswith(start) and n not in named]


def target_places() -> dict[str, tuple[str, str]]:
    """Parameter of a command → section and key of the recipe, of flags that one target has."""
    return {
        _parameter(own): (own[0].target, own[0].one.field)
        for own in _flags().values()
        if len(own) == 1
    }


def of_targets(parameters: Mapping[str, Any], named: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The sections of the recipe that flags of several targets set.

    Such a value is of the targets that the command names; where it names none that has the flag, or
    none that knows the value, of one that does, for the recipe to say what is wrong.

    Args:
        parameters: Parameter of a command → value.
        named: The targets of the command.
    """
    found: dict[str, dict[str, Any]] = {}
    for own in (own for own in _flags().values() if len(own) > 1):
        value = parameters.get(_parameter(own))
        if value is None or value == () or value is False:
            continue
        known = [one for one in own if _takes(one.one, value)] or list(own)
        meant = [one for one in known if one.target in named]
        asked = [one for one in own if one.target in named]
        for one in meant or asked[:1] or known[:1]:
            found.setdefault(one.target, {})[one.one.field] = value
    return found


class _Flag(NamedTuple):
    """A flag of one target."""

    target: str
    title: str
    one: Declared


def _flags() -> dict[str, tuple[_Flag, ...]]:
    """Flag as it is typed → the targets that have it."""
    found: dict[str, tuple[_Flag, ...]] = {}
    for name, options in _declared():
        for one in options.flags():
            known = found.get(one.flag.name, ())
            found[one.flag.name] = (*known, _Flag(name, options.title, one))
    return found


def _takes(one: Declared, value: object) -> bool:
    return get_origin(one.annotation) is not Literal or value in get_args(one.annotation)


def _declared() -> Iterator[tuple[str, type[TargetOptions]]]:
    for name in target_names():
        options = options_of(name)
        if options is not None:
            yield name, options


def _parameter(own: Sequence[_Flag]) -> str:
    """Two targets may name a field alike."""
    first = own[0]
    return f"{first.target if len(own) == 1 else 'targets'}_{first.one.field}"


def _option(own: Sequence[_Flag]) -> Decorator:
    """A switch, a choice, a repeatable value or a value that the recipe reads, by the type."""
    one = own[0].one
    how: dict[str, Any] = {"metavar": one.flag.metavar, "help": _help(own)}
    if one.annotation is bool:
        how["is_flag"] = True
    elif get_origin(one.annotation) is Literal:
        values = (value for flag in own for value in get_args(flag.one.annotation))
        how["type"] = click.Choice(list(dict.fromkeys(values)))
    elif get_origin(one.annotation) is tuple:
        how["multiple"] = True
    return click.option(one.flag.name, _parameter(own), **how)


def _help(own: Sequence[_Flag]) -> str:
    """What the flag does; where several targets have it, what it does of each."""
    if len(own) == 1:
        return _of_one(own[0].one)
    return " ".join(f"{flag.title}: {_values(flag.one)}{_of_one(flag.one)}" for flag in own)


def _values(one: Declared) -> str:
    """The values of a choice, as not every target takes each."""
    values = get_args(one.annotation) if get_origin(one.annotation) is Literal else ()
    return f"{', '.join(values)}. " if values else ""


def _of_one(one: Declared) -> str:
    default = "" if one.default in (None, False, ()) else f" [default: {one.default}]"
    return f"{one.flag.help}{default}"
