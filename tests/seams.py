"""What a search is tested with: a clock and verdicts of the test's own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.prepare import prepare
from compressor.evaluation.acceptance import Judgement
from compressor.evaluation.attribution import NodeSeconds
from compressor.graph.files import initializer_bytes
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyResult, Timing, Verdict
from compressor.results.records import Interval
from compressor.search.acceptance import Acceptance
from compressor.search.baseline import undecided
from compressor.search.candidate import Judged
from compressor.search.measure import yardstick
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.session import Race, Session
from compressor.system.progress import SILENT, Progress
from exporters.base import Target, find_target

TARGET = find_target("ort")
NOISE = 0.02
"""Share by which ratios have to differ from 1 to count."""


def by_size(asked: Race) -> float:
    """A graph is as fast as its weights are few."""
    return initializer_bytes(asked.baseline) / initializer_bytes(asked.challenger)


def always(ratio: float | None) -> Callable[[Race], float | None]:
    """Every race ends alike; None where the machine is too busy for any."""
    return lambda asked: ratio


def images(samples: int, seed: int) -> dict[str, np.ndarray]:
    """Inputs of `graphs.residual`."""
    x = np.random.default_rng(seed).standard_normal((samples, 32, 8, 8))
    return {"x": x.astype(np.float32)}


@dataclass
class Clock:
    """A `Timer` that races by a function, and in which no time passes but what is put in.

    Attributes:
        ratio: Speed of the challenger, in times the baseline's; None where that is not known.
        seconds: What the clock shows; it moves by `tick` whenever it is read.
        verdict: Of every race; None for what the ratio says.
        races: Those that were asked for.
    """

    ratio: Callable[[Race], float | None] = by_size
    seconds: float = 0.0
    tick: float = 0.0
    verdict: Verdict | None = None
    races: list[Race] = field(default_factory=list)

    def now(self) -> float:
        self.seconds += self.tick
        return self.seconds

    def race(self, asked: Race) -> LatencyResult:
        self.races.append(asked)
        ratio = self.ratio(asked)
        verdict: Verdict = "no significant difference"
        if ratio is not None and abs(ratio - 1) > NOISE:
            verdict = "faster" if ratio > 1 else "slower"
        timing = Timing(median_ms=1.0, p95_ms=1.0)
        return LatencyResult(
            config=asked.config,
            deciding=True,
            rounds=9,
            baseline=timing,
            result=timing,
            ratio=ratio,
            interval=None if ratio is None else Interval(low=ratio, high=ratio),
            verdict=self.verdict or verdict,
        )

    def nodes(self, *_: object, **__: object) -> NodeSeconds:
        raise AssertionError("no kernel is timed here")

    def kernels(self, *_: object, **__: object) -> list[dict[str, float]]:
        raise AssertionError("no kernel is timed here")


class Timed(Clock):
    """A clock by which every node takes as long in every precision."""

    def kernels(
        self, models: Sequence[ir.Model], source: ir.Model, *_: object, **__: object
    ) -> list[dict[str, float]]:
        return [{node.name or "": 1e-5 for node in source.graph} for _ in models]


class Told:
    """A `Progress` that keeps what it is told, and may stop the run at a stage.

    Attributes:
        stages: In the order in which they began.
        notices: What the user should know.
    """

    def __init__(self, stop: str | None = None) -> None:
        self._stop = stop
        self.stages: list[str] = []
        self.notices: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        self.stages.append(name)
        if name == self._stop:
            raise KeyboardInterrupt
        yield lambda units: None

    def notice(self, text: str) -> None:
        self.notices.append(text)


class Verdicts:
    """An `Acceptance` whose halves say in turn what the test wants.

    Attributes:
        shown: What was shown to the confirming half.
    """

    words = "evaluation data"
    parameters: Mapping[str, Any] = {}

    def __init__(
        self,
        samples: CalibrationSet | None,
        search: Iterable[bool | Judged] = (),
        confirm: Iterable[bool] = (),
        *,
        asked: str | None = "50pt",
        provable: bool = True,
    ) -> None:
        self.samples, self.asked, self.provable = samples, asked, provable
        self._search: Iterator[bool | Judged] = iter(search)
        self._confirm: Iterator[bool] = iter(confirm)
        self.shown: list[ir.Model] = []

    def accepts(self, model: ir.Model) -> Judged:
        del model
        found = next(self._search)
        return judged(found) if isinstance(found, bool) else found

    def confirms(self, model: ir.Model) -> Judged:
        self.shown.append(model)
        return judged(next(self._confirm))

    def lacking(self, name: str, found: Judged) -> str | None:
        del name, found
        return None


def judged(met: bool, loss: float = 0.1) -> Judged:
    """What a budget of 0.5 says of such a loss, or of any other."""
    held = Judgement(baseline=1.0, allowed=0.5, loss=loss, bound=0.2, met=met, n=40, needed=None)
    return Judged(met, loss, "accepted" if met else "refused", judgement=held)


def session_of(
    model: object,
    recipe: Recipe,
    timer: Clock,
    *,
    calibration: Mapping[str, np.ndarray] | None = None,
    evaluation: Mapping[str, np.ndarray] | None = None,
    target: Target = TARGET,
    progress: Progress = SILENT,
) -> Session:
    """A session of a graph, as `compress` makes it, with a clock of the test's own."""
    prepared = prepare(
        model,
        target=target,
        recipe=recipe,
        calibration=calibration,
        evaluation=evaluation,
        progress=progress,
    )
    return Session(prepared, recipe, target, progress, timer)


def looking(session: Session, data: CalibrationSet) -> Session:
    """The same, with what quality is measured in, by the original's outputs on those samples."""
    found = yardstick(session.prepared, session.recipe, session.target, data)
    return replace(session, prepared=replace(session.prepared, yardstick=found))


def searching(
    session: Session, acceptance: Acceptance, calibrating: CalibrationSet | None, **known: Any
) -> PtqSearch:
    """A search of the float graph that has taken no step yet.

    Args:
        session: The captured graph.
        acceptance: The budget, or none.
        calibrating: What ranges are taken from, and what is replayed unless `known` says that.
        known: Other fields of the search.
    """
    start = undecided(session)
    how = {"data": calibrating, "calibrating": calibrating} | known
    return PtqSearch(session, acceptance, start, start.plan, **how)
