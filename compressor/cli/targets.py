"""The options of targets on the command line, as each target declares them."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import click

from compressor.cli.sections import Decorator, section, together
from exporters.base.options import Declared, TargetOptions
from exporters.base.registry import options_of, target_names


def target_options() -> Decorator:
    """The flags of all targets, each under the title of its runtime."""
    return together(
        *(
            section(options.title, *(_option(name, one) for one in options.flags()))
            for name, options in _declared()
        )
    )


def target_places() -> dict[str, tuple[str, str]]:
    """Parameter of a command → section and key of the recipe."""
    return {
        _parameter(name, one): (name, one.field)
        for name, options in _declared()
        for one in options.flags()
    }


def _declared() -> Iterator[tuple[str, type[TargetOptions]]]:
    for name in target_names():
        options = options_of(name)
        if options is not None:
            yield name, options


def _parameter(target: str, one: Declared) -> str:
    """Two targets may name a field alike."""
    return f"{target}_{one.field}"


def _option(target: str, one: Declared) -> Decorator:
    """A switch, a choice, a repeatable value or a value that the recipe reads, by the type."""
    how: dict[str, Any] = {"metavar": one.flag.metavar, "help": one.flag.help}
    if one.annotation is bool:
        how["is_flag"] = True
    elif get_origin(one.annotation) is Literal:
        how["type"] = click.Choice(get_args(one.annotation))
    elif get_origin(one.annotation) is tuple:
        how["multiple"] = True
    if one.default not in (None, False, ()):
        how["help"] = f"{one.flag.help} [default: {one.default}]"
    return click.option(one.flag.name, _parameter(target, one), **how)
