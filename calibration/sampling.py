"""Which elements of a tensor go into its histogram: a fixed stride within every sample.

Where samples differ in length there is no stride that suits them all: one that is coprime to one
length divides another, and counts more of a longer one. There one element is drawn, once for all,
from each of `ELEMENTS` equal parts of a sample:

    i-th counted of n = floor((i + r_i) / ELEMENTS · n),   r_i uniform in [0, 1)

so that each element is as likely as another, whatever repeats in a sample, and no sample counts
more. The choice depends on a sample's own elements only, never on the batch that it came in, so
that statistics are the same however the data is cut.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.taps import Taps

_END = 2**62
ELEMENTS = 4096
"""Elements of a sample that are counted, at most."""
DRAWN = (np.arange(ELEMENTS) + np.random.default_rng(0).random(ELEMENTS)) / ELEMENTS
"""Where the elements lie in a sample that has more, as shares of its length."""
EVERY = np.arange(ELEMENTS)
"""Where the elements lie in a sample that has no more."""


@dataclass(frozen=True)
class Sampling:
    """The layout of samples in a tensor, and which of their elements are counted.

    Attributes:
        axis: The axis that grows with the batch; None when none does, or it is not known.
        elements: Elements of one sample, or of the whole tensor without an axis; None when that
            is not known.
        per_batch: Whether the tensor is the same for every sample of a batch.
        alone: Whether the axis counts samples one by one.
        varies: Whether calls differ in shape, and `elements` are those of the first.
    """

    axis: int | None
    elements: int | None
    per_batch: bool = False
    alone: bool = False
    varies: bool = False

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
        """Elements of a sample that are counted, at most."""
        unknown = self.elements is None or self.varies
        return (
            ELEMENTS if unknown or self.elements is None else math.ceil(self.elements / self.stride)
        )


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
        two: Value name → shape for two samples.
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
    if how.axis is not None:
        return taps.node("Reshape", [value, taps.row_a_sample()])
    return taps.node("Reshape", [value, taps.integers(1, -1)])


def strided(taps: Taps, rows: ir.Value, how: Sampling) -> ir.Value:
    """The counted elements of rows of samples, picked in the graph."""
    if how.varies or how.elements is None:
        return _drawn(taps, rows)
    if how.stride == 1:
        return rows
    where = [taps.integers(number) for number in (0, _END, 1, how.stride)]
    return taps.node("Slice", [rows, *where])


def _drawn(taps: Taps, rows: ir.Value) -> ir.Value:
    """All elements of rows that have few enough, and of longer ones those at `DRAWN`."""
    length = taps.node("Gather", [taps.node("Shape", [rows]), taps.integers(1)])
    count = taps.node("Min", [length, taps.integers(ELEMENTS)])
    shares = taps.node("Slice", [taps.shared(DRAWN), taps.integers(0), count])
    real = taps.node("Mul", [shares, taps.node("Cast", [length], to=ir.DataType.DOUBLE.value)])
    drawn = taps.node("Cast", [real], to=ir.DataType.INT64.value)  # which rounds down
    every = taps.node("Slice", [taps.shared(EVERY), taps.integers(0), count])
    is_long = taps.node("Greater", [length, taps.integers(ELEMENTS)])
    return taps.node("Gather", [rows, taps.node("Where", [is_long, drawn, every])], axis=1)
