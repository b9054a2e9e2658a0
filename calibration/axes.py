"""Where samples lie: in what the data stores, and in what a model takes.

A model takes calls: `image[batch,3,H,W]` has its samples on the first axis, `state[2,batch,128]` on
the second, `beams[batch*4,seq]` four entries for each, and `scales[3]` belongs to no sample. Data
stores each of these for many samples, or a call at a time, with an axis for samples more or less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.graph.batch import BatchAxis, batch_axis, batch_symbol, fixed_batch
from compressor.graph.tensors import Array, Dimension, TensorSpec

Shape = Sequence[Dimension]
"""Shape of a stored array after preprocessing: sizes, or names in what is only described."""


@dataclass(frozen=True)
class SampleAxis:
    """Where the samples of one input lie.

    Attributes:
        taken: The axis in the array that the model takes; None for a value of the whole call.
        stored: The axis of the stored array that counts samples; None for a value that is stored
            once for all of them.
        kept: Whether a stored sample still has the axis `taken`, at the size of one.
    """

    taken: BatchAxis | None
    stored: int | None
    kept: bool = False

    @property
    def plain(self) -> bool:
        """Whether samples lie along the first dimension on both sides."""
        return self == FIRST

    def samples(self, shape: Sequence[int]) -> int | None:
        """How many samples a stored array has; None where it does not tell."""
        if self.stored is None or self.stored >= len(shape):
            return None
        return shape[self.stored] // self.stored_multiple

    @property
    def stored_multiple(self) -> int:
        """Entries of one sample along the axis that counts them in the stored array."""
        return 1 if self.kept else self.multiple

    @property
    def multiple(self) -> int:
        """Entries of one sample along the axis that the model takes."""
        return 1 if self.taken is None else self.taken.multiple

    def rows(self, array: Array) -> Array:
        """A stored array with its samples along the first dimension: a view.

        Several entries of a sample, or the axis of one that it kept, become the second dimension.
        """
        if self == ONE:
            return array[np.newaxis]
        if self.stored is None:
            return array
        rows = np.moveaxis(array, self.stored, 0)
        if self.kept and self.taken is not None:
            return np.moveaxis(rows, self.taken.axis + 1, 1)
        if self.multiple > 1:
            return rows.reshape(-1, self.multiple, *rows.shape[1:])
        return rows

    def spread(self, array: Array, samples: int) -> Array:
        """One stored value for so many samples, along the first dimension: a view."""
        assert self.taken is not None
        one = np.moveaxis(array, self.taken.axis, 0) if array.ndim else array.reshape(1)
        return np.broadcast_to(one, (samples, *one.shape[1:]))

    def call(self, rows: Array, rank: int) -> Array:
        """What the model takes, of `rank` axes, from samples along the first dimension."""
        if self.taken is None:
            value = rows if self.stored is None else rows[0]
            return np.asarray(_of_rank(value, rank), order="C")
        axis = self.taken.axis
        if rows.ndim == rank:
            return np.ascontiguousarray(np.moveaxis(rows, 0, axis))
        apart = np.moveaxis(rows, (0, 1), (axis, axis + 1))
        shape = apart.shape
        joined = (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])
        return np.ascontiguousarray(apart.reshape(joined))


FIRST = SampleAxis(BatchAxis(0), 0)
WHOLE = SampleAxis(None, None)
EACH = SampleAxis(None, 0)
SPREAD = SampleAxis(BatchAxis(0), None)
"""One stored value, where the model takes one for each sample: repeated."""
ONE = SampleAxis(None, None, kept=True)
"""Labels and texts beside calls of one sample: the whole array is the sample's."""


def _of_rank(value: Array, rank: int) -> Array:
    """The value with leading axes of size 1 more or less."""
    if value.ndim > rank:
        return value.reshape(value.shape[value.ndim - rank :])
    return value.reshape((1,) * (rank - value.ndim) + value.shape)


@dataclass(frozen=True)
class Layout:
    """Where the samples of each input lie.

    Attributes:
        axes: One an input.
        fixed: How many samples the graph has baked in.
        guessed: Whether an axis was taken for one of samples by its size alone.
    """

    axes: tuple[SampleAxis, ...]
    fixed: int | None = None
    guessed: bool = False


def layout_of(
    inputs: Sequence[TensorSpec],
    shapes: Sequence[Sequence[int]],
    *,
    calls: bool = False,
    guess: bool = True,
) -> Layout | None:
    """How stored arrays feed a model's inputs; None where they cannot.

    Args:
        inputs: What the model takes.
        shapes: Shape of the array for each, as preprocessing leaves it: all samples, or a call.
        calls: Whether the arrays are one call of several, not all samples.
        guess: Whether an open size that is the number of samples counts them.
    """
    symbol = batch_symbol(inputs)
    fixed = None if symbol else fixed_batch(inputs)
    taken = [batch_axis(spec, symbol, fixed) for spec in inputs]
    if symbol is None and all(
        tuple(spec.shape) == tuple(shape) for spec, shape in zip(inputs, shapes, strict=True)
    ):
        return Layout(tuple(_as_it_is(axis, fixed) for axis in taken), fixed)
    for samples in _counts(inputs, shapes, taken, symbol):
        matcher = _Matcher(samples, calls, guess)
        found = [
            matcher.match(spec, shape, axis)
            for spec, shape, axis in zip(inputs, shapes, taken, strict=True)
        ]
        axes = tuple(axis for axis in found if axis is not None)
        if len(axes) == len(inputs):
            return Layout(axes, fixed, matcher.guessed)
    return None


def _as_it_is(axis: BatchAxis | None, fixed: int | None) -> SampleAxis:
    return WHOLE if axis is None or fixed is None else SampleAxis(axis, axis.axis)


def _counts(
    inputs: Sequence[TensorSpec],
    shapes: Sequence[Sequence[int]],
    taken: Sequence[BatchAxis | None],
    symbol: str | None,
) -> list[int]:
    """Numbers of samples that the arrays may hold, the likeliest first."""
    counts: list[int] = []
    for spec, shape, axis in zip(inputs, shapes, taken, strict=True):
        if axis is not None and len(shape) == len(spec.shape):
            counts.append(shape[axis.axis] // axis.multiple)
    for spec, shape, axis in zip(inputs, shapes, taken, strict=True):
        if shape and (axis is not None or len(shape) > len(spec.shape) or symbol is None):
            counts.append(shape[0])
    return list(dict.fromkeys([*counts, 1]))


@dataclass
class _Matcher:
    """Tells where the samples of an array lie, if it holds so many."""

    samples: int
    calls: bool
    guess: bool
    guessed: bool = False

    def __post_init__(self) -> None:
        self._sizes: dict[str, int] = {}

    def match(
        self, spec: TensorSpec, shape: Sequence[int], axis: BatchAxis | None
    ) -> SampleAxis | None:
        """Where they lie; None where the array does not fit the input."""
        if axis is None:
            return self._side(spec.shape, shape)
        found = self._counted(spec.shape, shape, axis)
        if found is None and tuple(spec.shape) == tuple(shape):
            return WHOLE  # baked in, and stored once for samples that others have more of
        return found

    def _counted(self, want: Shape, have: Sequence[int], axis: BatchAxis) -> SampleAxis | None:
        """An input that has a batch axis."""
        at, n = axis.axis, self.samples
        rest = (*want[:at], *want[at + 1 :])
        if len(have) == len(want):
            if have[at] == n * axis.multiple and self._fits(rest, (*have[:at], *have[at + 1 :])):
                return SampleAxis(axis, at)
            if axis.multiple == 1 and have[0] == n and self._fits(rest, have[1:]):
                return SampleAxis(axis, 0)
        if len(have) == len(want) + 1 and have[0] == n and have[1 + at] == axis.multiple:
            kept = (*have[1 : 1 + at], *have[2 + at :])
            if self._fits(rest, kept):
                return SampleAxis(axis, 0, kept=True)
        if axis.multiple > 1:
            return None
        if len(want) == 1 and not have:
            return SPREAD
        once = n > 1 and len(have) == len(want) and have[at] == 1 and not isinstance(want[at], int)
        if once and self._fits(rest, (*have[:at], *have[at + 1 :])):
            return SampleAxis(axis, None)  # a state to begin with, the same for all
        return None

    def _side(self, want: Shape, have: Sequence[int]) -> SampleAxis | None:
        """An input without a batch axis: the data may count samples in it all the same."""
        n = self.samples
        if len(have) == len(want):
            found = self._by_size(want, have) if self.guess else None
            if found is not None:
                self.guessed = True
                return found
            if self._fits(want, have):
                return WHOLE
            if n > 1 and have and have[0] == n and want[0] == 1 and self._fits(want[1:], have[1:]):
                return EACH
            return None
        if len(have) == len(want) + 1 and have[0] == n and self._fits(want, have[1:]):
            return EACH
        if tuple(want) in ((), (1,)) and tuple(have) == (n, 1):
            return EACH
        longer, shorter = (want, have) if len(want) > len(have) else (have, want)
        extra = len(longer) - len(shorter)
        if all(size == 1 or not isinstance(size, int) for size in longer[:extra]):
            squeezed = have[extra:] if len(have) > len(want) else (*[1] * extra, *have)
            return WHOLE if self._fits(want, squeezed) else None
        return None

    def _by_size(self, want: Shape, have: Sequence[int]) -> SampleAxis | None:
        """The axis whose open size is the number of samples, or a multiple of it in a file."""
        n = self.samples
        if n < 2:
            return None
        for at, (wanted, found) in enumerate(zip(want, have, strict=True)):
            rest = (*want[:at], *want[at + 1 :]), (*have[:at], *have[at + 1 :])
            if not isinstance(wanted, int) and found == n and self._fits(*rest):
                return SampleAxis(BatchAxis(at), at)
        whole = not self.calls and n > _FEW and bool(have) and not isinstance(want[0], int)
        if whole and have[0] > n and have[0] % n == 0 and self._fits(want[1:], have[1:]):
            return SampleAxis(BatchAxis(0, have[0] // n), 0)
        return None

    def _fits(self, want: Shape, have: Sequence[int]) -> bool:
        """Whether sizes agree; a name is the same size everywhere."""
        if len(want) != len(have):
            return False
        sizes = dict(self._sizes)
        for wanted, found in zip(want, have, strict=True):
            size = wanted
            if isinstance(wanted, str):
                size = sizes.setdefault(wanted, found) if wanted.isidentifier() else None
            if size is not None and size != found:
                return False
        self._sizes = sizes
        return True


_FEW = 8
"""Up to so many samples a size may be a multiple of their number by accident."""


def likely_axes(shapes: Mapping[str, Sequence[int]]) -> dict[str, SampleAxis]:
    """Where samples lie where no model tells: along the leading size that most arrays share.

    An array of three or more axes may have it on the second, as states of recurrent layers do.
    What has it nowhere belongs to no sample. A vector of one is a value, and counts nothing.
    """
    ranked = [shape for shape in shapes.values() if len(shape)]
    if not ranked:
        return dict.fromkeys(shapes, WHOLE)
    counting = [shape for shape in ranked if tuple(shape) != (1,)] or ranked
    candidates = sorted(counting, key=len, reverse=True)
    score = {
        shape[0]: sum(_axis_of(other, shape[0]) is not None for other in ranked)
        for shape in candidates
    }
    samples = max(score, key=lambda size: score[size])
    axes = {name: _axis_of(shape, samples) for name, shape in shapes.items()}
    return {
        name: WHOLE if at is None else SampleAxis(BatchAxis(at), at) for name, at in axes.items()
    }


def _axis_of(shape: Sequence[int], samples: int) -> int | None:
    for axis, least in enumerate((1, 3)):
        if len(shape) >= least and shape[axis] == samples:
            return axis
    return None
