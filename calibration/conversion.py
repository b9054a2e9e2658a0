"""From stored samples to a call of the model: preprocessed, converted, checked."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.batch import Batch
from calibration.chunks import Chunk
from calibration.fields import Binding, BoundField
from calibration.preprocess import Preprocess, apply_preprocess
from calibration.values import check_finite, converted
from compressor.errors import DataError
from compressor.graph.tensors import Array


@dataclass(frozen=True)
class Conversion:
    """The conversion of chunks to calls.

    Attributes:
        binding: Which stored array feeds which input.
        preprocess: What is done to its values.
        where: Names the data, to begin messages with.
    """

    binding: Binding
    preprocess: Preprocess
    where: str

    def batch(self, chunk: Chunk, start: int) -> Batch:
        """The call of a chunk, whose first sample is the `start`-th of its set.

        Raises:
            DataError: A value is NaN or Inf, or does not fit the model's type or size.
        """
        inputs = {f.spec.name: self._input(f, chunk) for f in self.binding.inputs}
        text = None if self.binding.text is None else chunk.fields[self.binding.text]
        axes = {f.spec.name: f.lies.taken for f in self.binding.inputs}
        return Batch(inputs, self._labels(chunk), start, chunk.index, text, axes)

    def _input(self, field: BoundField, chunk: Chunk) -> Array:
        """One input of a call, as the model takes it."""
        what = f"{self.where}, {field.stored!r}"
        apart = field.stored in chunk.fields
        array = chunk.fields[field.stored] if apart else chunk.shared[field.stored]
        if field.preprocessed:
            array = apply_preprocess(array, self.preprocess, what)
        index = chunk.index if apart else chunk.index[:1]
        rows = array if apart else array[np.newaxis]
        rows = converted(rows, field.spec.dtype, index, what)
        check_finite(rows, index, what)
        taken = field.lies.call(rows if apart else rows[0], len(field.spec.shape))
        _check_call(taken, field, index, what)
        return taken

    def _labels(self, chunk: Chunk) -> Array | None:
        name = self.binding.label
        if name is None:
            return None
        labels = np.ascontiguousarray(chunk.fields[name])
        check_finite(labels, chunk.index, f"{self.where}, {name!r}")
        return labels


def _check_call(array: Array, field: BoundField, index: npt.NDArray[np.int64], what: str) -> None:
    """Raise DataError where a call has a size that the model has baked in otherwise."""
    wanted = None if field.wanted is None else field.wanted.shape
    if wanted is None:
        return
    at = None if field.lies.taken is None else field.lies.taken.axis
    fits = len(wanted) == array.ndim and all(
        axis == at or not isinstance(want, int) or want == have
        for axis, (want, have) in enumerate(zip(wanted, array.shape, strict=True))
    )
    if not fits:
        raise DataError(
            f"{what}: expected {field.wanted}, found {list(array.shape)} in the call of sample "
            f"{index[0]}"
        )
