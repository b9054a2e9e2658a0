"""Where in a loop a graph's error arises, by the number of the call."""

from collections.abc import Mapping, Sequence

import numpy as np

from compressor.graph.tensors import Array, Arrays
from exporters.base import Runner

PARTS = 16
"""Into which the calls of a run are divided, at most."""


def errors_by_part(original: Runner, result: Runner, calls: Sequence[Arrays]) -> tuple[float, ...]:
    """10·log10(Σ y² / Σ (y - ŷ)²) over the floating outputs of the calls of each part, in dB.

    Args:
        original: The graph as captured.
        result: What ships of it.
        calls: What one run feeds it, in order.

    Returns:
        One figure a part, from the first calls to the last; infinite where nothing differs, and
        none of no calls.
    """
    if not calls:
        return ()
    sums = [_energies(original.run(feeds), result.run(feeds)) for feeds in calls]
    parts = np.array_split(np.array(sums, np.float64), min(PARTS, len(sums)))
    found = []
    for signal, error in (part.sum(axis=0) for part in parts):
        found.append(float("inf") if error == 0 else float(10 * np.log10(signal / error)))
    return tuple(found)


def _energies(before: Mapping[str, Array], after: Mapping[str, Array]) -> tuple[float, float]:
    signal = error = 0.0
    for name, array in before.items():
        if array.dtype.kind != "f" or after[name].shape != array.shape:
            continue
        exact = array.astype(np.float64)
        finite = np.isfinite(exact)
        signal += float(np.square(exact[finite]).sum())
        error += float(np.square(exact - after[name].astype(np.float64))[finite].sum())
    return signal, error
