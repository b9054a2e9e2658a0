"""Inputs that only some calls of a loop pass: one graph takes them in all, by their defaults.

    def forward(self, x, t, scale=1.0): ...

    models["unet"](x=x, t=t)             # scale is 1.0
    models["unet"](x=x, t=t, scale=2.0)

A default that is a number becomes an input of the graph, and calls that leave it out go on to work.
One that is None chooses another computation: that would be another graph.
"""

import inspect

from compressor.capture.source import ModelSource
from compressor.errors import UsageError
from compressor.pipelines.tracing import Trace

Number = bool | int | float


def defaults_of(name: str, source: ModelSource, trace: Trace) -> dict[str, Number]:
    """The inputs of a graph that some recorded calls leave out, and what they are there.

    Args:
        name: The graph.
        source: Its module.
        trace: The calls.

    Raises:
        UsageError: One is no number by default, or no scalar where it is passed.
    """
    kinds = {frozenset(one for one, _ in call) for call in trace.shapes[name]}
    extra = sorted(frozenset.union(*kinds) - frozenset.intersection(*kinds))
    found = {one: value for one, value in _constants(source).items() if one in extra}
    scalars = {one for one in extra if trace.is_scalar(name, one)}
    for one in extra:
        if one not in found or one not in scalars:
            raise _two_graphs(name, one)
    return found


def _two_graphs(name: str, one: str) -> UsageError:
    return UsageError(
        f"graph {name!r} is called with {one!r} and without it: one graph takes the same inputs in "
        "every call, but for scalars whose default is a number",
        hint=f"Pass {one!r} every time, zeros where it is left out, say; or name the model twice, "
        f"--graph {name}=MODEL --graph {name}_bare=MODEL, and call one of them with it and the "
        "other without.",
    )


def _constants(source: ModelSource) -> dict[str, Number]:
    """Parameters of a module whose default is a number."""
    if source.kind != "module":
        return {}
    parameters = inspect.signature(source.module.forward).parameters.values()
    return {one.name: one.default for one in parameters if isinstance(one.default, Number)}
