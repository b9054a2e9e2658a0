"""The Fréchet distance of two sets of images, in the feature space of the samples' classifier.

Independent of `compress --metric fid`, and a check of it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from scipy import linalg

Floats = npt.NDArray[np.floating]
AT_ONCE = 64


def features(images: Floats, path: Path) -> Floats:
    """(n, features) of images (n, 1, 32, 32), by the graph at a path."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    parts = [
        session.run(None, {name: images[first : first + AT_ONCE]})[0]
        for first in range(0, len(images), AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float64)


def distance(one: Floats, other: Floats) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁ Σ₂)^½) (Heusel et al. 2017, section 3)."""
    apart = one.mean(0) - other.mean(0)
    spreads = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = linalg.sqrtm(spreads[0] @ spreads[1])
    return float(apart @ apart + np.trace(spreads[0] + spreads[1] - 2 * np.real(root)))
