"""Calibration and evaluation data: finite, re-iterable, fingerprinted, streamed."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.binding import Binding, bound, is_class_label, unbound
from calibration.chunks import Chunk, numbered, rebatched
from calibration.preprocess import Preprocess, apply_preprocess, undo_normalization
from calibration.selection import ClassPart, Part, Selection, Shard, Take, apportioned
from calibration.sources import find_source
from calibration.sources.base import Source, rows_per_chunk
from calibration.values import check_finite, converted
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec


@dataclass(frozen=True)
class Batch:
    """Samples as the model sees them: preprocessed, contiguous, along the first dimension.

    Attributes:
        inputs: Input name → array.
        labels: One entry per sample, as stored; integers of shape [n, 1] become [n].
        start: Index of the first sample in its set.
        index: Place of each sample in the source, of which the set may be a part.
        text: What each sample says, where the data has an array `text` of strings.
    """

    inputs: dict[str, Array]
    labels: Array | None
    start: int
    index: npt.NDArray[np.int64]
    text: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


class CalibrationSet:
    """Samples that can be read again and again, in the same order, a batch at a time.

    Memory is bounded by one batch and one chunk of a few MB, whatever the number of samples.
    Made by `open_dataset`; `bind`, `take` and `split` give other views of the same data.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Preprocess,
        role: str,
        binding: Binding | None = None,
        selections: tuple[Selection, ...] = (),
    ) -> None:
        self._source = source
        self._preprocess = preprocess
        self._role = role
        self._where = f"{role} data {source.description}"
        self._binding = binding or unbound(source.specs, preprocess, self._where)
        self._selections = selections
        self._count: int | None = None
        self._classes: Counter[int] | None = None
        self._fingerprint: str | None = None

    @property
    def fields(self) -> tuple[TensorSpec, ...]:
        """The inputs as the model will see them; shape[0] is "batch"."""
        return tuple(field.spec for field in self._binding.inputs)

    @property
    def has_labels(self) -> bool:
        """Whether batches carry labels."""
        return self._binding.label is not None

    @property
    def description(self) -> str:
        """For messages: the path or what it is, and which of its samples."""
        return ", ".join([self._source.description, *map(str, self._selections)])

    def __len__(self) -> int:
        """The number of samples, by one pass where the source cannot say."""
        if self._count is None:
            count = self._source.count
            for selection in self._selections:
                count = selection.count(count)
            self._count = sum(map(len, self._selected())) if count is None else count
        return self._count

    def __bool__(self) -> bool:
        """A set is never empty, and asking must not count it."""
        return True

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield every sample once; every batch has `size` samples but the last.

        Raises:
            DataError: A value is NaN or Inf or does not fit the model's integer type, the data is
                damaged, or a second pass differs from the first.
        """
        if size < 1:
            raise ValueError(f"a batch holds at least one sample, not {size}")
        digest = None if self._fingerprint else _Fingerprint()
        start = 0
        for chunk in rebatched(self._selected(), size):
            batch = self._prepare(chunk, start)
            if digest is not None:
                digest.update(batch)
            yield batch
            start += len(batch)
        self._count = start
        if digest is not None:
            self._fingerprint = digest.hexdigest()

    def head(self, n: int) -> Batch:
        """The first `n` samples, or all when there are fewer."""
        return next(self.take(n).batches(n))

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
            for _ in self.batches(rows_per_chunk(self.fields)):
                pass
        assert self._fingerprint is not None
        return self._fingerprint

    def bind(self, inputs: Sequence[TensorSpec]) -> "CalibrationSet":
        """The same samples under the names and in the types of a model's inputs.

        A single input binds by position whatever its name, several bind by name. Floating types
        convert among each other, and so do integer types as long as the values fit.

        Raises:
            DataError: Names, types or shapes do not fit; the message says what was expected and
                found, and which option would change it.
        """
        binding = bound(self._source.specs, inputs, self._preprocess, self._where)
        return self._view(binding, self._selections, self._count)

    def take(self, n: int) -> "CalibrationSet":
        """The first `n` samples, or all when there are fewer.

        Raises:
            DataError: `n` is less than one.
        """
        if n < 1:
            raise DataError(f"{self._where}: expected to use one sample or more, found {n}")
        return self._view(self._binding, (*self._selections, Take(n)), None)

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
        return self._view(self._binding, (*self._selections, Shard(index - 1, of, block)), None)

    def split(self, share: float, seed: int) -> tuple["CalibrationSet", "CalibrationSet"]:
        """Divide the samples at random into (used, held out).

        The sides are disjoint, cover the set, keep its order and are the same for the same seed.
        `used` has round(share · n) samples, but neither side is ever empty. Where the labels are
        classes (integers that repeat), each side has its share of every class, rounded up or
        down; counting them takes a pass where the source does not know its labels.

        Raises:
            DataError: There is one sample only, or `share` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise DataError(f"{self._where}: expected a share between 0 and 1, found {share}")
        classes = self._counted_classes()
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
        used, held_out = (
            self._view(self._binding, (*self._selections, part), part.count(total))
            for part in parts
        )
        return used, held_out

    def _counted_classes(self) -> Counter[int]:
        """Label → samples, where labels are integers, one a sample; empty elsewhere."""
        if self._classes is None:
            self._classes = Counter()
            name = self._binding.label
            spec = next((spec for spec in self._source.specs if spec.name == name), None)
            if name is None or spec is None or not is_class_label(spec):
                return self._classes
            known = self._source.labels
            chunks = numbered(self._source.chunks() if known is None else iter([{name: known}]))
            for selection in self._selections:
                chunks = selection(chunks)
            for chunk in chunks:
                self._classes.update(chunk.fields[name].reshape(-1).tolist())
            self._count = self._classes.total()
        return self._classes

    def _view(
        self, binding: Binding, selections: tuple[Selection, ...], count: int | None
    ) -> "CalibrationSet":
        view = CalibrationSet(self._source, self._preprocess, self._role, binding, selections)
        view._count = count
        return view

    def _selected(self) -> Iterator[Chunk]:
        chunks = numbered(self._source.chunks())
        for selection in self._selections:
            chunks = selection(chunks)
        return chunks

    def _prepare(self, chunk: Chunk, start: int) -> Batch:
        inputs = {}
        for field in self._binding.inputs:
            what = f"{self._where}, {field.stored!r}"
            array = chunk.fields[field.stored]
            if field.preprocessed:
                array = apply_preprocess(array, self._preprocess, what)
            array = np.ascontiguousarray(converted(array, field.spec.dtype, chunk.index, what))
            check_finite(array, chunk.index, what)
            inputs[field.spec.name] = array
        text = None if self._binding.text is None else chunk.fields[self._binding.text]
        return Batch(inputs, self._labels(chunk), start, chunk.index, text)

    def _labels(self, chunk: Chunk) -> Array | None:
        name = self._binding.label
        if name is None:
            return None
        labels = np.ascontiguousarray(chunk.fields[name])
        check_finite(labels, chunk.index, f"{self._where}, {name!r}")
        if labels.dtype.kind in "iu" and labels.shape[1:] == (1,):
            return labels.reshape(-1)
        return labels


def open_dataset(
    source: object, *, preprocess: Preprocess | None = None, role: str = "calibration"
) -> CalibrationSet:
    """Open calibration or evaluation data.

    Args:
        source: A path (`.npz`, `.npy`, a folder of `.npz`, an image folder),
            `file.py:function` or `package.module:function`, an array, a dict of arrays, a tuple
            of arrays, a list of batches, a DataLoader, a function without arguments that returns
            any of these or yields batches, an iterator (kept on disk as it is consumed), or a
            CalibrationSet, which is returned as it is.
        preprocess: How stored values become inputs; by default they are.
        role: "calibration" or "evaluation", for messages.

    Raises:
        DataError: It cannot be read, is empty, or its arrays do not belong together.
    """
    if isinstance(source, CalibrationSet):
        return source
    found, effective = find_source(source, preprocess or Preprocess(), role)
    if found.count == 0:
        raise DataError(f"{role} data {found.description}: expected samples, the set is empty")
    return CalibrationSet(found, effective, role)


class _Fingerprint:
    """A digest per array, so that values hash the same however they are cut into batches."""

    def __init__(self) -> None:
        self._digests: dict[str, hashlib._Hash] = {}
        self._samples = 0

    def update(self, batch: Batch) -> None:
        self._samples += len(batch)
        arrays = {f"input {name}": array for name, array in batch.inputs.items()}
        if batch.labels is not None:
            arrays["labels"] = batch.labels
        for name, array in sorted(arrays.items()):
            key = f"{name} {array.dtype.name} {array.shape[1:]}"
            digest = self._digests.setdefault(key, hashlib.sha256())
            digest.update(array.reshape(-1).view(np.uint8).data)

    def hexdigest(self) -> str:
        whole = hashlib.sha256(f"{self._samples} samples".encode())
        for key, digest in self._digests.items():
            whole.update(f"{key} {digest.hexdigest()}".encode())
        return whole.hexdigest()
