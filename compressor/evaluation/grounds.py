"""What figures rest on: whether calibration data varies, and whether what judges was seen."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import FloatArray
from compressor.graph.tensors import Array

COMPARED = 4096
"""Samples of either set that are compared, at most: the first ones."""
_BATCH = 32
_SAME = 1e-6
"""Relative difference below which two values are one."""
_SWITCH = 16
"""Values a sample up to which an input may well be one setting for all."""


@dataclass(frozen=True)
class Variation:
    """Whether data tells samples apart.

    Attributes:
        samples: How many were seen until that was known.
        constant: Inputs that are the same in all of them.
        varies: Whether any input differs from sample to sample.
        flat: Whether every floating input holds one number throughout.
    """

    samples: int
    constant: tuple[str, ...]
    varies: bool
    flat: bool


def variation_of(data: CalibrationSet) -> Variation:
    """Look at samples until every input differed, or at `COMPARED` of them."""
    seen: dict[str, _Range] = {}
    samples = 0
    for batch in data.take(COMPARED).batches(_BATCH):
        samples += len(batch)
        for name, array in batch.inputs.items():
            seen.setdefault(name, _Range()).see(array, len(batch))
        if all(one.varies for one in seen.values()):
            break
    constant = tuple(name for name, one in seen.items() if not one.varies)
    floats = [one for one in seen.values() if one.floating]
    flat = bool(floats) and all(one.flat for one in floats)
    return Variation(samples, constant, len(constant) < len(seen), flat)


def why_degenerate(data: CalibrationSet) -> tuple[str | None, tuple[str, ...]]:
    """Why ranges of this data fit nothing else, and what else is to be said of it.

    Data that is the same in every sample is degenerate; so is a single sample where it holds one
    number throughout. A single sample that is not gets a notice, and so does an input of many
    values that never changes beside others that do.
    """
    found = variation_of(data)
    total = len(data)
    if total == 1 and not found.flat:
        return None, (
            "calibration data is one sample: ranges, rounding and repair fit that alone; hundreds "
            "are usual",
        )
    if not found.varies:
        alike = "it is one sample of one number" if total == 1 else "all samples are the same"
        return f"calibration data does not vary: {alike}", ()
    shapes = {spec.name: spec for spec in data.fields}
    odd = [name for name in found.constant if _is_large(shapes[name].shape[1:])]
    floats = [name for name in odd if np.issubdtype(shapes[name].dtype, np.floating)]
    return None, tuple(
        f"calibration data: input {name!r} is the same in all samples seen ({found.samples:,})"
        for name in floats
    )


def shared_samples(one: CalibrationSet, other: CalibrationSet) -> tuple[int, int]:
    """How many samples of the other set are in the first, bit for bit, and of how many."""
    known = set(_digests(one))
    judging = list(_digests(other))
    return sum(digest in known for digest in judging), len(judging)


def _is_large(shape: tuple[object, ...]) -> bool:
    sizes = [size for size in shape if isinstance(size, int)]
    return bool(np.prod([1, *sizes]) > _SWITCH or len(sizes) < len(shape))


@dataclass
class _Range:
    """An input's first sample, and whether another differed."""

    first: FloatArray | None = None
    varies: bool = False
    floating: bool = True
    low: float = field(default=np.inf)
    high: float = field(default=-np.inf)

    @property
    def flat(self) -> bool:
        """Whether one number was all there was."""
        return self.high - self.low <= _SAME * max(abs(self.high), abs(self.low))

    def see(self, array: Array, samples: int) -> None:
        """Compare a batch with the first sample."""
        self.floating = array.dtype.kind not in "iub"
        exact = array.astype(np.float64)
        if exact.size:
            self.low = min(self.low, float(exact.min()))
            self.high = max(self.high, float(exact.max()))
        rows = exact if exact.ndim and len(exact) == samples else exact[np.newaxis]
        if self.first is None:
            self.first = rows[0]
        if rows.shape[1:] != self.first.shape:
            self.varies = self.varies or not self.flat
            return
        scale = max(abs(self.low), abs(self.high))
        self.varies = self.varies or bool(np.abs(rows - self.first).max(initial=0) > _SAME * scale)


def _digests(data: CalibrationSet) -> Iterator[bytes]:
    for batch in data.take(COMPARED).batches(_BATCH):
        for sample in range(len(batch)):
            yield _digest(batch, sample)


def _digest(batch: Batch, sample: int) -> bytes:
    """Hash of one sample's inputs; what belongs to no sample of the batch counts whole."""
    found = hashlib.blake2b(digest_size=16)
    for name, array in sorted(batch.inputs.items()):
        own = array[sample] if array.ndim and len(array) == len(batch) else array
        found.update(f"{name} {own.dtype} {own.shape}".encode())
        found.update(np.ascontiguousarray(own).data)
    return found.digest()
