"""Which samples models are right on, as they are and after attacks: small changes of the input.

An attack is made by a model's own gradients. One made by those of the original is *transferred*: it
says less of a model, since what errs otherwise than the original is not hit by it. How an attack is
made is not known here (`compressor.training.attacks`); its inputs are run as all others are.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.errors import DataError
from compressor.evaluation.classification import Classes, class_labels, class_scores, ranks
from compressor.evaluation.feeding import predict
from compressor.evaluation.metrics.base import BASELINE, FloatArray
from compressor.evaluation.views import behind
from compressor.graph.tensors import Array
from exporters.base import Runner

AttackName = Literal["fgsm", "pgd"]
ATTACKS: Final[tuple[AttackName, ...]] = ("fgsm", "pgd")
CLEAN, TRANSFERRED = "clean", "transferred"
COLUMNS: Final = (CLEAN, *ATTACKS, *(f"{name} {TRANSFERRED}" for name in ATTACKS))
"""What is told of a sample: whether it is right as it is, and after each attack."""
KEPT = 256 * 2**20
"""Bytes of attacks on the original that are kept for the next result."""

Attacks = dict[AttackName, dict[str, Array]]
"""Attack → the changed inputs of a batch."""


class Attacker(Protocol):
    """Changes inputs so that a model errs.

    Attributes:
        words: What is allowed, for people.
    """

    @property
    def words(self) -> str:
        """See above."""

    def why_not(self, runner: Runner, data: CalibrationSet) -> str | None:
        """Why a model has no gradients; None where it has."""

    def made(
        self, runner: Runner, step: Batch, labels: Classes, name: AttackName
    ) -> dict[str, Array]:
        """The inputs of a batch, changed so that the model errs on them."""


@dataclass(frozen=True)
class Hits:
    """What models are right on.

    Attributes:
        by_runner: Runner → (samples, `COLUMNS`), 1 for a hit, 0 for a miss; NaN for the attacks
            of a model that has no gradients.
        reasons: Runner → why it has none.
    """

    by_runner: Mapping[str, FloatArray]
    reasons: Mapping[str, str]


@dataclass
class Attacked:
    """Attacks models, each once, whatever number of metrics ask for that.

    Attributes:
        attacker: Makes the attacks.
    """

    attacker: Attacker
    _last: tuple[tuple[object, ...], Hits] | None = None
    _original: tuple[tuple[object, ...], list[Attacks]] | None = None
    _why_not: dict[int, tuple[object, str | None]] = field(default_factory=dict)

    def hits(
        self, metric: str, runners: Mapping[str, Runner], data: CalibrationSet, batch: int
    ) -> Hits:
        """What each is right on.

        Args:
            metric: Who asks, for messages.
            runners: The models; attacks are transferred from `BASELINE`.
            data: Samples with class labels.
            batch: Samples per inference.

        Raises:
            DataError: There are no labels, or they are not class numbers of the scores.
            UsageError: The output is not (samples, classes).
        """
        graphs = [behind(runner) for runner in runners.values()]
        sources = [None if one is None else one[0] for one in graphs]
        key: tuple[object, ...] = (*runners, *sources, data.fingerprint(), batch)
        if self._last is None or not _same(self._last[0], key):
            self._last = key, self._measured(metric, runners, data, batch)
        return self._last[1]

    def _measured(
        self, metric: str, runners: Mapping[str, Runner], data: CalibrationSet, batch: int
    ) -> Hits:
        reasons = {
            name: reason
            for name, runner in runners.items()
            if (reason := self._reason(runner, data)) is not None
        }
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, labels, moved in self._attacks(metric, runners, reasons, data, batch):
            for name, runner in runners.items():
                columns = [_hits(runner, step, step.inputs, labels, metric)]
                for source in (moved.get(name), moved.get(BASELINE)):
                    columns += [
                        np.full(len(step), np.nan)
                        if source is None
                        else _hits(runner, step, source[attack], labels, metric)
                        for attack in ATTACKS
                    ]
                rows[name].append(np.stack(columns, axis=1))
        return Hits({name: np.concatenate(parts) for name, parts in rows.items()}, reasons)

    def _attacks(
        self,
        metric: str,
        runners: Mapping[str, Runner],
        reasons: Mapping[str, str],
        data: CalibrationSet,
        batch: int,
    ) -> Iterator[tuple[Batch, Classes, dict[str, Attacks]]]:
        """Batches, their labels, and by runner its attacks; those on the original are kept."""
        first = runners[BASELINE]
        graph = behind(first)
        key = (None if graph is None else graph[0], data.fingerprint(), batch)
        known = self._original
        kept = known[1] if known is not None and _same(known[0], key) else []
        found: list[Attacks] = []
        size = 0
        for place, step in enumerate(data.batches(batch)):
            labels = _labels(first, step, metric, data)
            moved: dict[str, Attacks] = {}
            for name, runner in runners.items():
                if name in reasons:
                    continue
                if name == BASELINE and place < len(kept):
                    moved[name] = kept[place]
                    continue
                moved[name] = {a: self.attacker.made(runner, step, labels, a) for a in ATTACKS}
            yield step, labels, moved
            if BASELINE in moved:
                found.append(moved[BASELINE])
                size += sum(a.nbytes for one in found[-1].values() for a in one.values())
            if size > KEPT:
                found, size = [], 0
                kept = []
        if found:
            self._original = key, found

    def _reason(self, runner: Runner, data: CalibrationSet) -> str | None:
        """Why a model cannot be attacked; each is asked once."""
        graph = behind(runner)
        if graph is None:
            return "its graph is not known, as of a loop over several"
        known = self._why_not.get(id(graph[0]))
        if known is None or known[0] is not graph[0]:
            self._why_not[id(graph[0])] = known = graph[0], self.attacker.why_not(runner, data)
        return known[1]


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """Whether two keys are of the same graphs; those are told apart by identity."""
    return len(one) == len(other) and all(
        a is b or (isinstance(a, str | int) and a == b) for a, b in zip(one, other, strict=True)
    )


def _labels(first: Runner, step: Batch, metric: str, data: CalibrationSet) -> Classes:
    if step.labels is None and not data.has_labels:
        raise DataError(
            f"metric {metric} needs labels; {data.description} has none",
            hint="Give evaluation data with an array `label` by --eval.",
        )
    scores = class_scores(
        predict(first, step.inputs, len(step), step.sample_axes), len(step), metric
    )
    return class_labels(step.labels, scores.shape, step.start, data.description)


def _hits(
    runner: Runner, step: Batch, inputs: Mapping[str, Array], labels: Classes, metric: str
) -> FloatArray:
    """1 for each sample whose label has the largest score."""
    made = predict(runner, inputs, len(step), step.sample_axes)
    found = ranks(class_scores(made, len(step), metric), labels) == 0
    return np.asarray(found, dtype=np.float64)
