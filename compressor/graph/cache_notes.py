"""What a decoder's graph says of a cache of integers, and arrays of it in numbers and in integers.

    x ≈ (q - zero_point) · scale

The note is part of the model's file, so that whoever opens it can make the cache of a prompt:
`metadata_props["compressor.kv_cache"]`, a JSON object of input → output, scale, zero point, and
whether the last two axes are exchanged, tokens last, and whether the integers have a sign.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from operator import index
from typing import Any

import numpy as np

from compressor.errors import CheckpointError
from compressor.graph.tensors import Array, TensorSpec

NOTE = "compressor.kv_cache"
"""Key of the note."""


@dataclass(frozen=True)
class CacheNote:
    """One tensor of a cache, as integers of 8 bits.

    Attributes:
        output: What the call gives for the next call's input.
        scale: Of the integers.
        zero_point: The integer that is 0.
        transposed: Whether tokens are its last axis, and not the one before: as products read keys.
        signed: Whether they are int8, and not uint8.
    """

    output: str
    scale: float
    zero_point: int
    transposed: bool
    signed: bool = False

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the integers."""
        return np.dtype(np.int8 if self.signed else np.uint8)

    def integers(self, array: Array) -> Array:
        """Integers of a cache in numbers; what is integers already stays."""
        if array.dtype == self.dtype:
            return array
        turned = np.swapaxes(array, -1, -2) if self.transposed else array
        whole = np.rint(turned.astype(np.float32) / np.float32(self.scale)) + self.zero_point
        kind = np.iinfo(np.int8 if self.signed else np.uint8)
        return np.ascontiguousarray(np.clip(whole, kind.min, kind.max).astype(self.dtype))

    def numbers(self, array: Array) -> Array:
        """The cache in numbers that integers stand for; what is numbers already stays."""
        if array.dtype != self.dtype:
            return array
        real = (array.astype(np.float32) - self.zero_point) * np.float32(self.scale)
        return np.ascontiguousarray(np.swapaxes(real, -1, -2)) if self.transposed else real

    def spec(self, stored: TensorSpec) -> TensorSpec:
        """Type and shape in numbers of what is stored in integers."""
        *front, one, other = stored.shape
        last = (other, one) if self.transposed else (one, other)
        return TensorSpec(stored.name, np.dtype(np.float32), (*front, *last))


def written(caches: Mapping[str, CacheNote]) -> str:
    """The note of a graph, by input."""
    return json.dumps({name: asdict(one) for name, one in caches.items()})


def read(properties: Mapping[str, str]) -> dict[str, CacheNote]:
    """Input → its cache; none where a model says nothing of any.

    Raises:
        CheckpointError: It says something that nothing here wrote.
    """
    try:
        told: dict[str, dict[str, Any]] = json.loads(properties.get(NOTE, "{}"))
        return {name: _note(**one) for name, one in told.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            f"the model's metadata {NOTE!r} is no note of a cache: {error}",
            hint="Compress the original again, or remove that entry.",
        ) from error


def _note(
    output: Any, scale: Any, zero_point: Any, transposed: Any, signed: Any = False
) -> CacheNote:
    """A note as it was written.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(output, str) or {type(transposed), type(signed)} != {bool}:
        raise TypeError("expected the name of an output, and whether it is transposed and signed")
    return CacheNote(output, float(scale), index(zero_point), transposed, signed)


def by_output(caches: Mapping[str, CacheNote]) -> dict[str, CacheNote]:
    """The same by output."""
    return {one.output: one for one in caches.values()}
