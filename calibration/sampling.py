"""Which elements of a tensor go into its histogram: a fixed stride within every sample.

The choice depends on a sample's own elements only, never on the batch that it came in, so that
statistics are the same however the data is cut.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from calibration.taps import Taps

_END = 2**62
ELEMENTS = 4096
"""Elements of a sample that are counted, at most."""


@dataclass(frozen=True)
class Sampling:
    """How the samples lie in a tensor, and which of their elements are counted.

    Attributes:
        axis: The axis that grows with the batch; None when none does, or it is not known.
        elements: Elements of one sample, or of the whole tensor without an axis; None when that
            is not known.
        per_batch: Whether the tensor is the same for every sample of a batch.
        alone: Whether the axis counts samples one by one, so that the length of what lies beside it
            may depend on the data.
    """

    axis: int | None
    elements: int | None
    per_batch: bool = False
    alone: bool = False

    @property
    def stride(self) -> int:
        """The step between counted elements.

        Coprime to their number: a step that divides the width of an image would only ever see
        some of its columns.
        """
        if self.elements is None:
            return 1
        stride = max(1, math.ceil(self.elements / ELEMENTS))
        while stride > 1 and math.gcd(stride, self.elements) != 1:
            stride += 1
        return stride

    @property
    def counted(self) -> int:
        """Elements of a sample that are counted."""
        return ELEMENTS if self.elements is None else math.ceil(self.elements / self.stride)


def sampling_of(
    name: str,
    one: Mapping[str, Sequence[int]],
    two: Mapping[str, Sequence[int]],
    fixed: int | None,
) -> Sampling:
    """How the samples of a value lie.

    Args:
        name: The value.
        one: Value name → shape for one sample; for a graph with its batch baked in, for that batch.
        two: Likewise for two samples.
        fixed: The batch that is baked in.
    """
    if name not in one or name not in two:
        return Sampling(None, None)
    shape, size = one[name], math.prod(one[name])
    if fixed is not None:
        whole = bool(shape) and shape[0] % fixed == 0
        return (
            Sampling(0, size // fixed, alone=shape[0] == fixed)
            if whole
            else Sampling(None, size, per_batch=True)
        )
    growing = [
        axis for axis, pair in enumerate(zip(shape, two[name], strict=False)) if pair[0] != pair[1]
    ]
    if not growing and len(shape) == len(two[name]):
        return Sampling(None, size, per_batch=True)
    if len(growing) == 1 and two[name][growing[0]] == 2 * shape[growing[0]]:
        return Sampling(growing[0], size, alone=shape[growing[0]] == 1)
    return Sampling(None, None)


def rows_of(taps: Taps, value: ir.Value, rank: int | None, how: Sampling) -> ir.Value:
    """A value with one sample a row [samples, elements], in float32; one row when unknown."""
    if value.dtype not in (None, ir.DataType.FLOAT):
        value = taps.node("Cast", [value], to=ir.DataType.FLOAT.value)
    if how.axis and rank is not None:
        order = [how.axis, *(axis for axis in range(rank) if axis != how.axis)]
        value = taps.node("Transpose", [value], perm=order)
    if how.alone:
        return taps.node("Flatten", [value], axis=1)
    shape = (1, -1) if how.elements is None else (-1, max(how.elements, 1))
    return taps.node("Reshape", [value, taps.integers(*shape)])


def strided(taps: Taps, rows: ir.Value, how: Sampling) -> ir.Value:
    """The counted elements of rows of samples, picked in the graph."""
    if how.elements is None or how.stride == 1:
        return rows
    where = [taps.integers(number) for number in (0, _END, 1, how.stride)]
    return taps.node("Slice", [rows, *where])
