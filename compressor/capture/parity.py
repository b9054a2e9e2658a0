"""Whether a graph in ONNX Runtime computes what its source computes, on the same inputs.

An output passes if max |graph - source| ≤ a + r · max |source|, with a and r by the coarsest
floating-point type involved. Integers and booleans must be equal, except for one in a thousand:
an argmax over values that are equal within rounding may go either way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from compressor.graph.tensors import Array
from compressor.results.records import Parity

UNEQUAL_SHARE = 1e-3
"""Share of the elements of an integer output that may differ."""

TOLERANCES = {
    "float64": (1e-6, 1e-5),
    "float32": (1e-5, 5e-4),
    "float16": (1e-3, 2e-2),
    "bfloat16": (1e-2, 1e-1),
}
"""Absolute and relative tolerance by type, coarser downwards.

Sums of n products in another order differ by about sqrt(n) units in the last place: 1e-6 relative
for float32 in a layer, some ten times that through a deep network. A wrong epsilon, mode or
padding shows at 1e-2.
"""


@dataclass(frozen=True)
class ParityCheck:
    """The figures, and why each output that fails does (empty: all pass)."""

    parity: tuple[Parity, ...]
    failures: tuple[str, ...]
    notices: tuple[str, ...] = ()


def compare_outputs(
    source: Mapping[str, Array], graph: Mapping[str, Array], *, batch: int, computed_in: str
) -> ParityCheck:
    """Compare outputs by name.

    Args:
        source: What the source computed.
        graph: What the graph computed.
        batch: The number of samples, for the record.
        computed_in: The coarsest floating-point type of the source's weights.
    """
    parity, failures, notices = [], [], []
    for name, expected in source.items():
        found = graph[name]
        if found.shape != expected.shape:
            if not _differ_by_ones(found.shape, expected.shape):
                failures.append(
                    f"output {name!r} has shape {list(found.shape)} at batch {batch}, "
                    f"the source gives {list(expected.shape)}"
                )
                continue
            notices.append(
                f"output {name!r} has shape {list(found.shape)} at batch {batch}, where the "
                f"source drops dimensions of size one: {list(expected.shape)}"
            )
            found = found.reshape(expected.shape)
        figures, failure, notice = _compare(name, expected, found, batch, computed_in)
        parity.append(figures)
        failures += [failure] if failure else []
        notices += [notice] if notice else []
    return ParityCheck(tuple(parity), tuple(failures), tuple(notices))


def run(session: Any, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
    """Run a session by name, feeding it the inputs that it has."""
    wanted = {value.name for value in session.get_inputs()}
    given = {name: _fed(array) for name, array in feeds.items() if name in wanted}
    results = session.run(list(outputs), given)
    return {name: np.asarray(array) for name, array in zip(outputs, results, strict=True)}


def _fed(array: Array) -> Array:
    """The array a session is fed: what the source takes as bfloat16 is float32 in the graph."""
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array


def _compare(
    name: str, expected: Array, found: Array, batch: int, computed_in: str
) -> tuple[Parity, str | None, str | None]:
    exact = _is_exact(expected)
    a, b = _as_float(expected), _as_float(found)
    finite = np.isfinite(a) & np.isfinite(b)
    largest = float(np.abs(a[finite]).max(initial=0.0))
    difference = np.subtract(a, b, where=finite, out=np.zeros_like(a))
    error = float(np.abs(difference).max(initial=0.0))
    absolute, relative = TOLERANCES[_coarser(str(expected.dtype), computed_in)]
    tolerance = 0.0 if exact else absolute + relative * largest
    ratio = error / largest if largest else (0.0 if error == 0.0 else float("inf"))
    figures = Parity(
        batch=batch, output=name, max_absolute=error, max_relative=ratio, tolerance=tolerance
    )
    where = f"output {name!r} at batch {batch}"
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return figures, f"{where}: NaN or infinity where the other has none", None
    if exact:
        unequal = int(np.count_nonzero(a != b))
        if unequal > UNEQUAL_SHARE * a.size:
            return figures, f"{where}: {unequal} of {a.size} integers differ", None
        return figures, None, f"{where}: {unequal} of {a.size} integers differ" if unequal else None
    if error > tolerance:
        said = f"{where}: maximum error {error:.3g} (relative {ratio:.3g}), tolerance "
        return figures, f"{said}{tolerance:.3g}", None
    return figures, None, None


def _coarser(one: str, other: str) -> str:
    order = list(TOLERANCES)
    ranks = [order.index(dtype) for dtype in (one, other) if dtype in order]
    return order[max(ranks)] if ranks else "float32"


def _is_exact(array: Array) -> bool:
    return array.dtype.kind in "iub"


def _as_float(array: Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    return array.astype(np.float64)


def _differ_by_ones(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return [d for d in one if d != 1] == [d for d in other if d != 1]
