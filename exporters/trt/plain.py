"""Whether the graph computes in a plain ONNX Runtime session what the report says of it.

The report is of the graph as it stands. A session of the user's own has optimizers on that complete
Q/DQ as they think right; the graph is made so that they do no harm, and this finds what is left.
"""

from pathlib import Path

import numpy as np

from compressor.errors import CompressorError
from compressor.graph.tensors import Array, Arrays
from exporters.ort.target import OrtRunner

LEAST = 0.999
"""Cosine of an output with its own as the graph stands, from which both are the same."""
ADVICE = (
    'load it there with disabled_optimizers=["WeightBiasQuantization", "ReluQuantRewrite"] and '
    "session.disable_quant_qdq set to 1 (docs/tensorrt.md)"
)


def departures(model: Path, feeds: Arrays) -> tuple[str, ...]:
    """Where a plain session departs, and what to do; nothing where it does not.

    Args:
        model: The artifact's graph.
        feeds: Samples of every input.
    """
    with OrtRunner(model, 0, spin=False, integers=False) as runner:
        expected = runner.run(feeds)
    try:
        with OrtRunner(model, 0, spin=False) as runner:
            found = runner.run(feeds)
    except CompressorError as error:
        return (f"a plain ONNX Runtime session does not run the artifact ({error}): {ADVICE}",)
    far = {n: c for n in expected if (c := _cosine(expected[n], found[n])) is not None}
    told = ", ".join(f"{name!r} (cosine {cosine:.4f})" for name, cosine in far.items())
    if not far:
        return ()
    return (
        f"in a plain ONNX Runtime session the artifact's outputs differ from those that the report "
        f"measured: {told}; {ADVICE}",
    )


def _cosine(one: Array, other: Array) -> float | None:
    """The cosine of two outputs that differ; None where they do not, or are no numbers."""
    if one.dtype.kind != "f" or not one.size:
        return None
    a, b = one.astype(np.float64).ravel(), other.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if np.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True):
        return None
    cosine = float(np.vdot(a, b)) / lengths if lengths > 0 else 0.0
    return cosine if not cosine >= LEAST else None
