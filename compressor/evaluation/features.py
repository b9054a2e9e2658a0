"""The space that outputs are compared in: what a model of the user's makes of them.

A feature model takes the primary output as it is, (samples, ...), and returns features, class
scores, or both. Of several outputs features are the one called so, `embedding` or `pool` in whole
or in part, else the first floating one that is not called as class scores are: `logits`, `scores`,
`probs` or `probabilities`.
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from compressor.errors import UsageError
from compressor.evaluation.outputs import describe, is_floating
from compressor.evaluation.roles import words
from compressor.graph.tensors import Array

FloatArray = npt.NDArray[np.float64]
Run = Callable[[Array], Mapping[str, Array]]

_FEATURES = frozenset({"features", "feature", "embedding", "embeddings", "pool", "pooled"})
_SCORES = frozenset({"logits", "scores", "probs", "probabilities"})
_KEPT_BYTES = 2**27
"""Answers that are remembered, at most: what the original makes is asked for again and again."""


class FeatureSpace:
    """A model of outputs.

    Args:
        run: Makes named arrays of (samples, ...).
        name: What messages call it.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.name = name
        self._run = run
        self._known: dict[bytes, dict[str, Array]] = {}
        self._bytes = 0

    def features(self, array: Array) -> FloatArray:
        """Features of each sample, (samples, d).

        Raises:
            UsageError: The model fails, or returns no floating array with a row per sample.
        """
        outputs = self._outputs(array)
        called = [name for name in outputs if not _FEATURES.isdisjoint(words(name))]
        others = [name for name in outputs if _SCORES.isdisjoint(words(name))]
        chosen = next(iter([*called, *others, *outputs]))
        return outputs[chosen].reshape(len(array), -1).astype(np.float64)

    def class_scores(self, array: Array) -> FloatArray:
        """Probabilities of classes, (samples, classes): a softmax is taken of what is none.

        Raises:
            UsageError: The model fails, or which of its outputs scores classes is not told.
        """
        outputs = self._outputs(array)
        called = [name for name in outputs if not _SCORES.isdisjoint(words(name))]
        chosen = next(iter([*called, *outputs]))
        scores = outputs[chosen].reshape(len(array), -1).astype(np.float64)
        if (not called and len(outputs) > 1) or scores.shape[1] < 2:
            raise UsageError(
                f"features {self.name}: expected scores of two classes or more, found "
                f"{describe(outputs)}",
                hint="Return them by name, as {'features': ..., 'logits': ...}.",
            )
        if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
            return scores
        raised = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def _outputs(self, array: Array) -> dict[str, Array]:
        """Floating outputs with a row per sample, as they were where the array was seen before."""
        if array.dtype.kind not in "fiub":
            raise UsageError(
                f"features {self.name} are of numbers, and the output that decides is of text",
                hint="Choose a metric of text, or name another output: --output-metric NAME.",
            )
        key = _digest(array)
        known = self._known.get(key)
        if known is None:
            known = self._checked(self._run(array), len(array))
            size = sum(found.nbytes for found in known.values())
            if self._bytes + size <= _KEPT_BYTES:
                self._known[key], self._bytes = known, self._bytes + size
        return known

    def _checked(self, outputs: Mapping[str, Array], samples: int) -> dict[str, Array]:
        fitting = {
            name: array
            for name, array in outputs.items()
            if is_floating(array.dtype) and array.ndim > 1 and len(array) == samples
        }
        if not fitting:
            raise UsageError(
                f"features {self.name}: expected a floating array of shape [{samples}, features], "
                f"found {describe(outputs) or 'nothing'}",
                hint="Return one row of features for each sample.",
            )
        return fitting


def _digest(array: Array) -> bytes:
    """Of content, shape and type."""
    found = hashlib.blake2b(f"{array.dtype}{array.shape}".encode(), digest_size=16)
    found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()
