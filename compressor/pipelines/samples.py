"""The data that a built-in loop makes its units from, a sample a seed.

What searches, what confirms and what is measured at the end must not see the same samples. So
samples are dealt like cards: of as many purposes as there are, each gets every so-maniest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from calibration.dataset import CalibrationSet, open_dataset
from calibration.preprocess import Preprocess
from compressor.graph.tensors import Array, TensorSpec
from compressor.pipelines.prompts import texts_of, tokenized

MOST = 2**15
"""Samples that are kept, at most; of more they are drawn."""
MOST_BYTES = 2**30
"""Bytes of the samples that are kept, at most."""

Sample = dict[str, Array]


@dataclass
class Samples:
    """The samples of `--calib` and `--eval`.

    Attributes:
        calibration: For the seeds that calibrate; also for those that judge where there is no
            other.
        evaluation: For the seeds that judge.
        preprocess: How stored values become inputs.
        seed: By which they are drawn and ordered.
        tokenizer: Reads text, where the data is text.
        specs: Inputs that the data is bound to; none where its arrays are taken as stored.
        calibrating: Seeds that calibrate.
        judging: Seeds of each purpose beside that.
    """

    calibration: object
    evaluation: object
    preprocess: Preprocess
    seed: int
    tokenizer: Path | None = None
    specs: tuple[TensorSpec, ...] = ()
    calibrating: range = range(0)
    judging: tuple[range, ...] = ()
    _read: dict[str, list[Sample]] = field(default_factory=dict, init=False)
    _opened: dict[str, CalibrationSet] = field(default_factory=dict, init=False)

    @property
    def given(self) -> bool:
        """Whether there is any data."""
        return self.calibration is not None or self.evaluation is not None

    def of(self, seed: int) -> Sample:
        """The sample of a seed, its arrays without an axis of samples."""
        own, place, purposes = self._place(seed)
        dealt = range(place, len(own), purposes) if place < len(own) else range(len(own))
        first = self._purpose(seed)
        return own[dealt[(seed - first.start) % len(dealt)]]

    def bind(self, specs: tuple[TensorSpec, ...]) -> None:
        """Give samples as these inputs take them, once a graph has told what it takes."""
        if _fixed(specs) != _fixed(self.specs):
            self.specs = specs
            self._read.clear()

    def most_distinct(self) -> int:
        """How many units of a purpose have a sample of their own, at least; after `deal`."""
        seeds = self.judging or (range(1),)
        return min(self._dealt(one.start) for one in seeds)

    def deal(self, calibrating: range, judging: Sequence[range]) -> None:
        """Say which seeds serve which purpose."""
        self.calibrating, self.judging = calibrating, tuple(judging)

    def _dealt(self, seed: int) -> int:
        own, place, purposes = self._place(seed)
        return len(range(place, len(own), purposes))

    def _place(self, seed: int) -> tuple[list[Sample], int, int]:
        """The samples that a seed's purpose has its share of, which share, of how many."""
        calibrates = seed in self.calibrating
        apart = self.calibration is not None and self.evaluation is not None
        if apart:
            purposes = (self.calibrating,) if calibrates else self.judging
        else:
            purposes = (*((self.calibrating,) if self.calibrating else ()), *self.judging)
        first = self.evaluation is None or (calibrates and apart)
        own = self._samples("calibration" if first else "evaluation")
        place = next((i for i, seeds in enumerate(purposes) if seed in seeds), None)
        return (own, 0, 1) if place is None else (own, place, len(purposes))

    def _purpose(self, seed: int) -> range:
        purposes = (self.calibrating, *self.judging)
        return next((seeds for seeds in purposes if seed in seeds), range(1))

    def _samples(self, role: str) -> list[Sample]:
        """The samples of a role, in the order of the seed, as long as they are bound alike."""
        if role not in self._read:
            texts = texts_of(getattr(self, role), role, self.tokenizer)
            data = self._stored(role) if texts is None else None
            if data is not None:
                found = list(_kept(data.bind(self.specs) if self.specs else data))
            else:
                found = tokenized(texts or [], self.tokenizer, role)
            order = np.random.default_rng(self.seed).permutation(len(found))
            self._read[role] = [found[i] for i in order]
        return self._read[role]

    def _stored(self, role: str) -> CalibrationSet:
        """The data as it is stored; what can be read once is kept."""
        if role not in self._opened:
            source = getattr(self, role)
            self._opened[role] = open_dataset(
                source, role=role, preprocess=self.preprocess, seed=self.seed
            )
        return self._opened[role]


def _fixed(specs: tuple[TensorSpec, ...]) -> list[tuple[object, ...]]:
    """What decides how data is read: not the names of open sizes, which a rewritten graph loses."""
    return [
        (one.name, one.dtype, *(size if isinstance(size, int) else None for size in one.shape))
        for one in specs
    ]


def of_units(spec: TensorSpec) -> TensorSpec:
    """An input as data is bound to it: a sample at a time, however many a call has baked in."""
    return spec if spec.fixed_batch is None else replace(spec, shape=("batch", *spec.shape[1:]))


def _kept(data: CalibrationSet) -> Iterator[Sample]:
    """Samples one by one, as far as there is room."""
    size = 0
    for batch in data.take(MOST).batches(1):
        axes = batch.sample_axes
        sample = {}
        for name, array in batch.inputs.items():
            lies = axes[name]
            whole = lies is None or array.shape[lies.axis] != 1
            sample[name] = np.asarray(array if whole or lies is None else array.take(0, lies.axis))
        size += sum(array.nbytes for array in sample.values())
        if size > MOST_BYTES:
            return
        yield sample
