"""Whether what a loop returns can be judged: where no number is, nothing can differ."""

from collections.abc import Mapping

import numpy as np

from compressor.errors import UsageError
from compressor.graph.tensors import Array


def require_judgeable(loop: str, outputs: Mapping[str, Array], judged: str | None) -> list[str]:
    """Refuse an output that decides and has nothing in it that could differ.

    Args:
        loop: Name of the loop.
        outputs: What it made of some units on the graphs as they are.
        judged: The output that decides; None where all that there are may.

    Returns:
        What is to be said of outputs that are partly so.

    Raises:
        UsageError: What decides is empty, or none of its numbers is finite; without `judged`, all.
    """
    shares = {name: _finite(array) for name, array in outputs.items()}
    deciding = shares if judged is None else {judged: shares.get(judged, 1.0)}
    if not any(deciding.values()):
        name = next(iter(deciding))
        what = "is empty" if outputs[name].size == 0 else "has no finite number"
        raise UsageError(
            f"pipeline {loop}: what it returns as {name!r} {what} on the graphs as they are: "
            "nothing could be told of what compression costs",
            hint="Look at the loop with the original graphs; or name what judges: --output-metric.",
        )
    return [
        f"{100 * (1 - share):.3g} % of output {name} of the original is not finite: that part is "
        "not judged"
        for name, share in shares.items()
        if share < 1
    ]


def _finite(array: Array) -> float:
    """Share of finite numbers; what is empty has none, and all else than numbers is."""
    if array.size == 0:
        return 0.0
    return float(np.isfinite(array).mean()) if array.dtype.kind in "fc" else 1.0
