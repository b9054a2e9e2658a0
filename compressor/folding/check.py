"""Two graphs side by side in ONNX Runtime: does folding keep the outputs?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.graph.session import open_session
from compressor.graph.tensors import Array, Arrays
from exporters.base import Runner


@dataclass(frozen=True)
class Difference:
    """The difference of two graphs on the same inputs.

    Attributes:
        equal: Whether every output is within the tolerance.
        max_abs: The largest absolute difference of any output; infinite where shapes, types or
            the places of NaN and infinity differ.
        output: The output that is furthest from its tolerance; None when there are no outputs.
    """

    equal: bool
    max_abs: float
    output: str | None


def equal_outputs(
    before: ir.Model, after: ir.Model, feeds: Arrays, rtol: float = 1e-3, atol: float = 1e-5
) -> Difference:
    """Run both graphs, unoptimized, on the same inputs and compare every output by position.

    An output is equal when its largest absolute difference is at most atol + rtol · max|before|,
    the maximum over the whole output: single elements near zero are as exact as the others, not
    relative to themselves. Integers, booleans and strings must be identical.

    Raises:
        GraphError: The runtime refuses one of the graphs.
        Exception: Whatever the runtime raises when a graph fails on the inputs.
    """
    names = [value.name or "" for value in before.graph.outputs]
    return _difference(zip(names, _runs(before, after, feeds), strict=True), rtol, atol)


def equal_runs(
    before: Runner, after: Runner, feeds: Arrays, rtol: float = 1e-3, atol: float = 1e-5
) -> Difference:
    """As `equal_outputs`, of models that are open, whatever they take beside the feeds."""
    a, b = before.run(feeds), after.run(feeds)
    return _difference(((name, (a[name], b[name])) for name in a), rtol, atol)


def _difference(
    runs: Iterable[tuple[str, tuple[Any, Any]]], rtol: float, atol: float
) -> Difference:
    worst, widest, output = -1.0, 0.0, None
    equal = True
    for name, (first, second) in runs:
        for x, y in _pairs(first, second):
            gap, allowed = _gap(x, y, rtol, atol)
            equal &= gap <= allowed
            widest = max(widest, gap)
            if gap / allowed > worst:
                worst, output = gap / allowed, name
    return Difference(equal, widest, output)


def _runs(before: ir.Model, after: ir.Model, feeds: Arrays) -> list[tuple[Any, Any]]:
    results = []
    for model in (before, after):
        session = open_session(model, optimize=False)
        results.append(session.run(None, {name: np.asarray(a) for name, a in feeds.items()}))
        del session  # one at a time: a large model would be in memory twice
    return list(zip(*results, strict=True))


def _pairs(a: Any, b: Any) -> Iterator[tuple[Array, Array]]:
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):  # a sequence of tensors
        for x, y in zip(a, b, strict=True):
            yield from _pairs(x, y)
    else:
        yield np.asarray(a), np.asarray(b)


def _gap(x: Array, y: Array, rtol: float, atol: float) -> tuple[float, float]:
    """The largest absolute difference, and the largest that is allowed."""
    tiny = float(np.finfo(np.float64).tiny)
    if x.shape != y.shape or x.dtype != y.dtype:
        return np.inf, tiny
    if x.size == 0:
        return 0.0, tiny
    if not np.issubdtype(x.dtype, np.floating):
        return (0.0 if np.array_equal(x, y) else np.inf), tiny
    p, q = x.astype(np.float64), y.astype(np.float64)
    finite = np.isfinite(p)
    if (
        not np.array_equal(p[~finite], q[~finite], equal_nan=True)
        or not np.isfinite(q[finite]).all()
    ):
        return np.inf, tiny
    if not finite.any():
        return 0.0, tiny
    scale = float(np.abs(p[finite]).max())
    return float(np.abs(p[finite] - q[finite]).max()), max(atol + rtol * scale, tiny)
