"""Calibration and evaluation data: finite, re-iterable, fingerprinted, streamed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from calibration.batch import Batch
from calibration.binding import bound, unbound
from calibration.chunks import CallShape, Chunk, numbered, rebatched
from calibration.conversion import Conversion
from calibration.digest import Digest
from calibration.encoders.base import NONE, Encoders
from calibration.fields import Binding, Signature, Stored
from calibration.labels import is_class_label
from calibration.noise import NoiseInputs
from calibration.preprocess import Preprocess, undo_normalization
from calibration.selection import (
    ClassPart,
    OfShape,
    Part,
    SampleSelection,
    Shard,
    Take,
    apportioned,
)
from calibration.sources import find_source
from calibration.sources.base import SampleSource
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

SEED = 0
"""Seed of draws, unless told otherwise."""

READ = 64
"""Samples in memory during a pass that only looks at them."""

ENDLESS = 4096
"""Samples of a stream that may be endless whose shapes are looked at."""

KEPT_BYTES = 2**25
"""Drawn samples that are kept in memory, at most."""

WINDOW = 64
"""Samples of a stream that may be endless from which one is drawn: times the number to draw."""


class CalibrationSet:
    """Samples that can be read again and again, in the same order, a batch at a time.

    Memory is bounded by one batch and one chunk of a few MB, whatever the number of samples.
    Made by `open_dataset`; `bind`, `take` and `split` give other views of the same data.
    """

    def __init__(
        self,
        source: SampleSource,
        preprocess: Preprocess,
        role: str,
        binding: Binding | None = None,
        selections: tuple[SampleSelection, ...] = (),
        seed: int = SEED,
    ) -> None:
        self._source = source
        self._preprocess = preprocess
        self._role = role
        self._where = f"{role} data {source.description}"
        self._stored = Stored(source.specs, source.calls, source.survey, self._where)
        self._binding = binding or unbound(self._stored, preprocess)
        self._conversion = Conversion(self._binding, preprocess, self._where)
        self._selections = selections
        self._seed = seed
        self._noise: NoiseInputs | None = None
        self._shapes: Counter[CallShape] | None = None
        self._calls: dict[int, int] = {}
        self._samples: dict[int, Batch] = {}
        self._taken: dict[int, CalibrationSet] = {}
        self._kept: list[Chunk] | None = None
        self._keeps = False
        self._count: int | None = None
        self._classes: Counter[int] | None = None
        self._fingerprint: str | None = None

    @property
    def fields(self) -> tuple[TensorSpec, ...]:
        """The inputs as the model will see them; the size that counts samples is "batch"."""
        return tuple(field.spec for field in self._binding.inputs)

    @property
    def fixed(self) -> int | None:
        """How many samples a call has, where the model that it is bound to has it baked in."""
        return self._binding.fixed

    @property
    def made_by(self) -> str | None:
        """How its inputs were made of texts, pictures or sound, in words; None of arrays."""
        said: str | None = getattr(self._source, "made_by", None)
        return said

    @property
    def has_labels(self) -> bool:
        """Whether batches carry labels."""
        return self._binding.label is not None

    @property
    def description(self) -> str:
        """The data in messages: the path or what it is, and which of its samples."""
        parts = ", of these ".join(map(str, self._selections))
        return f"{self._source.description} ({parts})" if parts else self._source.description

    def __len__(self) -> int:
        """The number of samples, by one pass where the source cannot say."""
        if self._count is None:
            count = self._source_count()
            for selection in self._selections:
                count = selection.count(count)
            self._count = sum(map(len, self._selected())) if count is None else count
        return self._count

    def __bool__(self) -> bool:
        """A set is never empty, and asking must not count it."""
        return True

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield every sample once, in calls of `size` samples of one shape.

        A batch is smaller where no more samples of its shape come, or none with the same values of
        an input that a call has one of.

        Raises:
            DataError: A value is NaN or Inf or does not fit the model's integer type, the data is
                damaged, or a second pass differs from the first.
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one sample, not {size}")
        digest = None if self._fingerprint else Digest()
        start = 0
        for chunk in rebatched(self._selected(), size, self._each):
            batch = self._conversion.batch(chunk, start)
            if digest is not None:
                digest.update(batch, chunk.alike)
            yield batch if self._noise is None else self._with_noise(batch, self._noise)
            start += len(batch)
        self._count = start
        if digest is not None:
            self._fingerprint = digest.hexdigest()

    def head(self, n: int) -> Batch:
        """The first call of `n` samples, or of fewer where there are no more of one shape.

        For what the shapes tell: values come from `sample`.
        """
        return next(self.batches(n))

    def calls(self, size: int) -> int:
        """How many batches of `size` there are: more than all by `size` where shapes differ."""
        if not self._source.calls and not self._binding.each:
            return -(-len(self) // size)
        if size not in self._calls:
            self._calls[size] = sum(1 for _ in rebatched(self._selected(), size, self._each))
        return self._calls[size]

    @property
    def _each(self) -> tuple[str, ...]:
        return self._binding.each

    def sample(self, n: int) -> Batch:
        """A call of `n` samples drawn by seed among those of the shape that most have, or fewer."""
        if n not in self._samples:
            shape = self._commonest()
            data = self if shape is None else self._view(OfShape(shape))
            self._samples = {n: data.take(n).head(n)}  # the same is asked for again and again
        return self._samples[n]

    def unnormalized(self, name: str, sample: Array) -> Array | None:
        """One sample of an input in the values that its source stores, in the model's layout.

        Returns:
            None where preprocessing did not change the values.
        """
        field = next((f for f in self._binding.inputs if f.spec.name == name), None)
        if field is None or not field.preprocessed or not self._preprocess.normalizes:
            return None
        what = f"{self._where}, {field.stored!r}"
        return undo_normalization(sample[np.newaxis], self._preprocess, what).squeeze(0)

    def fingerprint(self) -> str:
        """SHA-256, in hex, of names, types, shapes and preprocessed values, in order.

        It does not depend on how the data is cut into chunks or batches. The first whole pass
        computes it on the way; without one, this is one.
        """
        if self._fingerprint is None:
            for _ in self.batches(READ):
                pass
        assert self._fingerprint is not None
        return self._fingerprint

    def bind(self, inputs: Sequence[TensorSpec]) -> "CalibrationSet":
        """The samples under the names and in the types of a model's inputs.

        A single input binds by position whatever its name, several bind by name. Floating types
        convert among each other, and so do integer types as long as the values fit.

        Raises:
            DataError: Names, types or shapes do not fit; the message says what was expected and
                found, and which option would change it.
        """
        binding = bound(self._stored, inputs, self._preprocess)
        return self._bound_by(binding)

    def drawing(self, noise: NoiseInputs) -> "CalibrationSet":
        """The samples, each with numbers of its own for what a model draws."""
        view = self._bound_by(self._binding)
        view._noise = noise
        return view

    def _with_noise(self, batch: Batch, noise: NoiseInputs) -> Batch:
        drawn = noise.of(batch.inputs, batch.index, self._seed)
        return replace(
            batch,
            inputs={**batch.inputs, **drawn},
            axes={**batch.sample_axes, **noise.sample_axes},
        )

    def told(self, signature: Signature) -> "CalibrationSet":
        """The samples, with labels told from inputs by what a model takes.

        Raises:
            DataError: There are several arrays of labels.
        """
        return self._bound_by(unbound(self._stored, self._preprocess, signature))

    def take(self, n: int) -> "CalibrationSet":
        """`n` samples drawn by the seed of the set, in their order; all when there are fewer.

        Data is often sorted, and its first samples like no others. Of a stream that may be endless
        they are drawn among the first `WINDOW` · n.

        Raises:
            DataError: `n` is less than one.
        """
        if n < 1:
            raise DataError(f"{self._where}: expected to use one sample or more, found {n}")
        if n not in self._taken:
            total, view = self._countable(WINDOW * n)
            if total > n:
                view = view._view(Part(total, n, self._seed, complement=False))
                view._keeps = True
            self._taken[n] = view
        return self._taken[n]

    def shard(self, index: int, of: int, block: int) -> "CalibrationSet":
        """Shard `index` of `of`, counted from 1: every `of`-th block of `block` samples.

        The shards are disjoint, cover the set, and hold whole blocks of it but for the last.

        Raises:
            DataError: There is no such shard.
        """
        if not 1 <= index <= of:
            raise DataError(
                f"{self._where}: expected a shard from 1/{of} to {of}/{of}, found {index}/{of}"
            )
        return self._view(Shard(index - 1, of, block))

    def split(
        self, share: float, seed: int, *, stratified: bool = True
    ) -> tuple["CalibrationSet", "CalibrationSet"]:
        """Divide the samples at random into (used, held out).

        The sides are disjoint, cover the set, keep its order and are the same for the same seed.
        `used` has round(share · n) samples, but neither side is ever empty. Where the labels are
        classes (integers that repeat), each side has its share of every class, rounded up or
        down; counting them takes a pass where the source does not know its labels. Not so where
        `stratified` is false.

        Raises:
            DataError: There is one sample only, or `share` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise DataError(f"{self._where}: expected a share between 0 and 1, found {share}")
        classes = self._counted_classes() if stratified else None
        total = len(self)
        if total < 2:
            raise DataError(
                f"{self._where}: expected at least two samples to divide, found {total}",
                hint="add samples",
            )
        chosen = min(max(round(share * total), 1), total - 1)
        parts: Iterable[Part | ClassPart]
        if classes and self._binding.label and 2 * len(classes) <= total:
            strata = apportioned(classes, chosen, seed)
            parts = (ClassPart(self._binding.label, strata, seed, side) for side in (False, True))
        else:
            parts = (Part(total, chosen, seed, side) for side in (False, True))
        used, held_out = (self._view(part) for part in parts)
        return used, held_out

    @property
    def classes(self) -> Mapping[int, int]:
        """Label → samples, where labels are integers, one a sample; empty elsewhere.

        Counting them takes a pass where the source does not know its labels.
        """
        return self._counted_classes()

    def _counted_classes(self) -> Counter[int]:
        """Label → samples, where labels are integers, one a sample; empty elsewhere."""
        if self._classes is None:
            self._classes = Counter()
            name = self._binding.label
            spec = next((spec for spec in self._source.specs if spec.name == name), None)
            if name is None or spec is None or not is_class_label(spec):
                return self._classes
            known = self._source.labels
            chunks = self._chunks() if known is None else numbered([{name: known}])
            for selection in self._selections:
                chunks = selection(chunks)
            for chunk in chunks:
                self._classes.update(chunk.fields[name].reshape(-1).tolist())
            self._count = self._classes.total()
        return self._classes

    def _view(self, selection: SampleSelection) -> "CalibrationSet":
        """Some of the samples."""
        view = self._bound_by(self._binding)
        view._selections = (*self._selections, selection)
        view._count = None
        return view

    def _bound_by(self, binding: Binding) -> "CalibrationSet":
        view = CalibrationSet(
            self._source, self._preprocess, self._role, binding, self._selections, self._seed
        )
        view._noise = self._noise
        if binding.axes == self._binding.axes:
            view._count = self._count
        return view

    def _source_count(self) -> int | None:
        binding = self._binding
        length = self._source.count(binding.stored_axes)
        first = next((f.lies for f in binding.inputs if f.lies.stored is not None), None)
        return length if length is None or first is None else length // first.stored_multiple

    def _countable(self, most: int) -> tuple[int, "CalibrationSet"]:
        """How many samples there are, and these; of what may be endless the first `most`."""
        if self._count is not None or not self._source.endless or self._selections:
            return len(self), self
        count = 0
        for chunk in self._selected():
            count += len(chunk)
            if count > most:
                return most, self._view(Take(most))
        self._count = count
        return count, self

    @property
    def varied(self) -> frozenset[str]:
        """The inputs whose sizes, but for the number of samples, differ from call to call."""
        if self._commonest() is None:
            return frozenset()
        shapes = [dict(shape) for shape in self._shapes or ()]
        return frozenset(
            field.spec.name
            for field in self._binding.inputs
            if len({shape.get(field.stored) for shape in shapes}) > 1
        )

    @property
    def has_lengths(self) -> bool:
        """Whether calls differ in shape beside their number of samples."""
        return self._commonest() is not None

    def _commonest(self) -> CallShape | None:
        """The shape that most samples have; None where they can only have one."""
        if not self._source.calls:
            return None
        if self._shapes is None:
            self._shapes = Counter()
            for chunk in self._selected():
                self._shapes[chunk.shape] += len(chunk)
                if self._source.endless and self._shapes.total() > ENDLESS:
                    break
        (most, _), *others = self._shapes.most_common()
        return most if others else None

    def _chunks(self) -> Iterator[Chunk]:
        binding = self._binding
        return numbered(self._source.chunks(binding.stored_axes), binding.axes, self._where)

    def _selected(self) -> Iterator[Chunk]:
        if self._kept is not None:
            return iter(self._kept)
        chunks = self._chunks()
        for selection in self._selections:
            chunks = selection(chunks)
        return self._keeping(chunks) if self._keeps else chunks

    def _keeping(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks as they are; few samples of many are kept, so that the many are read once."""
        kept: list[Chunk] | None = []
        size = 0
        for chunk in chunks:
            size += chunk.nbytes
            kept = None if kept is None or size > KEPT_BYTES else [*kept, chunk]
            yield chunk
        self._kept = kept


def open_dataset(
    source: object,
    *,
    preprocess: Preprocess | None = None,
    role: str = "calibration",
    seed: int = SEED,
    encoders: Encoders = NONE,
) -> CalibrationSet:
    """Open calibration or evaluation data.

    Args:
        source: A path (`.npz`, `.npy`, a folder of `.npz`, of images or of sounds, a table such as
            `reviews.csv` or `reviews.csv:text,label`), `file.py:function` or
            `package.module:function`, an array, a dict of arrays, a tuple of arrays, a list of
            batches, a DataLoader, a function without arguments that returns any of these or yields
            batches, an iterator (kept on disk as it is consumed), or a CalibrationSet, which is
            returned as it is.
        preprocess: How stored values become inputs; by default they are.
        role: "calibration" or "evaluation", for messages.
        seed: Seed of what is drawn from it.
        encoders: What makes inputs of texts, pictures and sound.

    Raises:
        DataError: It cannot be read, is empty, or its arrays do not belong together.
    """
    if isinstance(source, CalibrationSet):
        return source
    found, effective = find_source(source, preprocess or Preprocess(), role, encoders)
    made = CalibrationSet(found, effective, role, seed=seed)
    if not found.calls and len(made) == 0:
        raise DataError(f"{role} data {found.description}: expected samples, the set is empty")
    return made
