"""Which parameter of `forward` each input is.

A single input binds by position whatever its name, unless it bears the name of the one parameter
that must be given; several bind by name, or by position if they come from arrays without names.
Keyword-only parameters and `**kwargs` take part.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calibration.fields import Signature
from calibration.sources.base import positional_names
from compressor.errors import CaptureError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class CallBinding:
    """The form of a call: names of inputs in positional order, and parameter → input."""

    positional: tuple[str, ...]
    keyword: Mapping[str, str]

    @property
    def order(self) -> tuple[str, ...]:
        """Every input, in the order of the call: the order of the graph's inputs."""
        return (*self.positional, *self.keyword.values())


def signature(module: Any) -> Signature:
    """What the `forward` of a module takes, by its own account."""
    parameters = _parameters(module)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = tuple(p.name for p in parameters if p.kind not in variadic)
    any_more = any(p.kind in variadic for p in parameters)
    return Signature(names, len(_required(parameters)), any_more=any_more)


def without_strangers(module: Any, names: Sequence[str]) -> tuple[str, ...]:
    """The arrays that `forward` asks for, where each of its parameters has one by name.

    An optional parameter without its array may be one that is misspelt among the others: then all
    are kept, for `bind` to complain.
    """
    parameters = _parameters(module)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = {p.name for p in parameters if p.kind not in variadic}
    closed = bool(known) and len(known) == len(parameters)
    return tuple(n for n in names if n in known) if closed and known <= set(names) else tuple(names)


def bind(module: Any, names: Sequence[str]) -> CallBinding:
    """Bind inputs to the parameters of a module's `forward`.

    Args:
        module: An `nn.Module` or a `ScriptModule`.
        names: The inputs' names.

    Raises:
        CaptureError: Names fit no parameter, or a parameter that is needed gets no input.
    """
    parameters = _parameters(module)
    single = len(names) == 1 and not _needs_only(parameters, names[0])
    binding = _by_position(parameters, names[0]) if single else _by_name(parameters, names)
    if binding is None:
        raise CaptureError(
            f"{_name(module)}.forward({_described(parameters)}) does not fit the inputs "
            f"{', '.join(names)}: several inputs bind by name",
            hint=_rename(parameters, names),
        )
    bound = set(binding.keyword)
    positional = [p.name for p in parameters if p.kind in _POSITIONAL][: len(binding.positional)]
    needed = [name for name in _required(parameters) if name not in bound.union(positional)]
    if needed:
        raise CaptureError(
            f"{_name(module)}.forward({_described(parameters)}) needs {', '.join(needed)}, and "
            f"there is no such input; found {', '.join(names) or 'none'}",
            hint="Give it: in the data, by --input, or where a loop calls the module.",
        )
    return binding


def _rename(parameters: Sequence[inspect.Parameter], names: Sequence[str]) -> str:
    """What to do about names that are no parameters; parts of one are to be put together."""
    for name in [p.name for p in parameters if p.name not in names]:
        parts = [other for other in names if other.startswith(f"{name}_")]
        if len(parts) > 1:
            return (
                f"An input is one array. If {name} is made of {', '.join(parts)}: give by --model "
                "a module whose forward takes these by name and calls yours with what they make."
            )
    return (
        "Name the arrays of the data, or the inputs of --input, as forward's parameters, and leave "
        "out others."
    )


def takes_nothing(module: Any) -> bool:
    """Whether `forward` has no parameter: what it computes, it makes of what it draws."""
    return not _parameters(module)


def _by_position(parameters: Sequence[inspect.Parameter], name: str) -> CallBinding | None:
    kinds = {parameter.kind for parameter in parameters}
    if kinds & {*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL}:
        return CallBinding((name,), {})
    only = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if only:
        return CallBinding((), {(_required(parameters) or only)[0]: name})
    takes_any = inspect.Parameter.VAR_KEYWORD in kinds
    return CallBinding((), {name: name}) if takes_any else None


def _nameless(parameters: Sequence[inspect.Parameter], names: Sequence[str]) -> bool:
    """Whether inputs come from arrays without names, and `forward` takes so many by position."""
    taken = sum(parameter.kind in _POSITIONAL for parameter in parameters)
    return tuple(names) == positional_names(len(names)) and len(names) <= taken


def _by_name(parameters: Sequence[inspect.Parameter], names: Sequence[str]) -> CallBinding | None:
    kinds = {parameter.kind for parameter in parameters}
    known = {parameter.name: parameter.kind for parameter in parameters}
    if kinds == {inspect.Parameter.VAR_POSITIONAL}:  # forward(*tensors) has no names to bind to
        return CallBinding(tuple(names), {})
    if _nameless(parameters, names) and not known.keys() & set(names):
        return CallBinding(tuple(names), {})
    strangers = [name for name in names if name not in known]
    if strangers and inspect.Parameter.VAR_KEYWORD not in kinds:
        return None
    only_positional = inspect.Parameter.POSITIONAL_ONLY
    ordered = [p.name for p in parameters if p.name in names]
    positional = tuple(name for name in ordered if known[name] is only_positional)
    keyword = [name for name in ordered if name not in positional] + strangers
    return CallBinding(positional, {name: name for name in keyword})


def _needs_only(parameters: Sequence[inspect.Parameter], name: str) -> bool:
    named = any(p.name == name and p.kind is not p.POSITIONAL_ONLY for p in parameters)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    plain = [p for p in parameters if p.kind not in variadic]
    return named and name in {p.name for p in plain} and set(_required(parameters)) <= {name}


def _required(parameters: Sequence[inspect.Parameter]) -> list[str]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


def _parameters(module: Any) -> list[inspect.Parameter]:
    schema = getattr(module.forward, "schema", None)
    if schema is None:
        return list(inspect.signature(module.forward).parameters.values())
    return [  # a compiled method's own signature is (*args, **kwargs)
        inspect.Parameter(
            argument.name,
            inspect.Parameter.KEYWORD_ONLY
            if argument.kwarg_only
            else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None if argument.has_default_value() else inspect.Parameter.empty,
        )
        for argument in schema.arguments[1:]
    ]


def _described(parameters: Sequence[inspect.Parameter]) -> str:
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return ", ".join(str(parameter) for parameter in plain)


def _name(module: Any) -> str:
    return str(getattr(module, "original_name", type(module).__name__))
