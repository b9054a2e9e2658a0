"""A module of `transformers` that is called by the names of an artifact's inputs, and no others.

A `forward` of the library takes two dozen parameters, labels among them, and returns an object. The
module itself gets another `forward`: its parameters keep their names, by which plans are carried
back into it (`apply_plan`).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Call = Callable[..., Any]


def called_by(module: Any, inputs: Sequence[str], call: Call | None = None) -> Any:
    """The module with a `forward` of these inputs, of which the first is needed.

    Args:
        module: Of `transformers`; changed.
        inputs: Names, in order.
        call: Gets the original `forward` and the inputs by name, and returns named tensors;
            default: what the original returns for them.
    """
    original = module.forward
    run = _plain if call is None else call

    def forward(*given: Any, **named: Any) -> Any:
        named = {**dict(zip(inputs, given, strict=False)), **named}
        return run(original, **{name: value for name, value in named.items() if value is not None})

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(
            _parameter(name), kind, default=None if place else inspect.Parameter.empty
        )
        for place, name in enumerate(inputs)
    ]
    if all(parameter.name == name for parameter, name in zip(parameters, inputs, strict=True)):
        forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    module.forward = forward
    return module


def _parameter(name: str) -> str:
    """A name with dots is no parameter's: then `forward` takes any."""
    return name if name.isidentifier() else name.replace(".", "_")


def _plain(original: Call, **named: Any) -> Mapping[str, Any]:
    """What is a tensor, or made of tensors, without the cache."""
    made = original(**named, return_dict=True)
    kept = {name: value for name, value in made.items() if value is not None}
    kept.pop("past_key_values", None)
    return kept
