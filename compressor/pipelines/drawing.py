"""Numbers that units are made from, each unit's drawn by its own generator."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from compressor.errors import UsageError
from compressor.graph.tensors import Array
from compressor.pipelines.calls import GraphCall

Generators = Sequence[np.random.Generator]


def drawn(rngs: Generators, shape: Sequence[int]) -> npt.NDArray[np.float64]:
    """Standard normal numbers of some shape, a row a generator."""
    return np.stack([rng.standard_normal(tuple(shape)) for rng in rngs])


def integers(rngs: Generators, count: int) -> Array:
    """A number from 0 to count - 1 a generator."""
    return np.array([rng.integers(count) for rng in rngs], np.int64)


def shape_of(
    graph: GraphCall, name: str, asked: Sequence[int] | None, *, option: str | None = "shape"
) -> tuple[int, ...]:
    """The shape of one row of an input, by the graph or as it was asked for.

    Args:
        graph: Whose input.
        name: The input.
        asked: What the user said.
        option: Where the user can say it; None: nowhere.

    Raises:
        UsageError: The graph leaves a size open, or has another, and nothing says it.
    """
    spec = graph.known.input(name)
    own = None if spec is None else tuple(spec.shape[1:])
    if asked is not None:
        pairs = zip(own or asked, asked, strict=False)
        if own is not None and (
            len(own) != len(asked) or any(isinstance(a, int) and a != b for a, b in pairs)
        ):
            raise UsageError(
                f"graph {graph.name!r} takes {name!r} of shape {list(own)} a unit, and "
                f"{list(asked)} was asked for",
                hint=f"It is {graph.signature}.",
            )
        return tuple(asked)
    sizes = tuple(size for size in own or () if isinstance(size, int))
    if own is None or len(sizes) != len(own):
        how = f"Say it by --pipeline-option {option}=3,32,32." if option else "Give data for it."
        raise UsageError(
            f"the shape of {name!r} of graph {graph.name!r} is not known: "
            f"{'nothing tells it before capture' if own is None else list(own)}",
            hint=how,
        )
    return sizes


def sizes(given: object) -> object:
    """`3,32,32`, as the command line has sizes, as a list."""
    if isinstance(given, str):
        return [part for part in given.strip("[]()").replace("x", ",").split(",") if part.strip()]
    return [given] if isinstance(given, int) else given
