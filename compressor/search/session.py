"""What a search is made with: the prepared model, the recipe, the target, and what measures them.

Whatever passes, seconds or a race, comes from the `Timer`, so that a test brings its own and
decides what is fast and when time is over.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import onnx_ir as ir

from compressor.checkpoint.prepared import Prepared
from compressor.evaluation.attribution import NodeSeconds, node_seconds
from compressor.evaluation.ceilings import measure_ceilings
from compressor.evaluation.cycling import mean_of, over
from compressor.evaluation.racing import on_one_thread, race
from compressor.evaluation.turns import kernel_seconds, own_kernel_seconds
from compressor.graph.tensors import Arrays
from compressor.recipe.recipe import Recipe
from compressor.results.effects import speed_effects
from compressor.results.format import threads
from compressor.results.measurements import Ceilings, LatencyConfig, LatencyResult
from compressor.results.records import Decision, Effect, StageRecord
from compressor.search.measure import beyond_memory, configurations
from compressor.system.progress import Progress
from exporters.base import Runner, Target

AGAIN = 2
"""How often a decision is raced again where its interval is too wide to decide anything."""


@dataclass(frozen=True)
class Race:
    """Two graphs to be timed in turn.

    Attributes:
        baseline: What is compared with.
        challenger: What may be faster.
        target: Opens both.
        feeds: One inference.
        config: The batch, the threads, the sizes.
        seconds: How long to measure at most, unless it has to be raced again.
        again: How often to race again where the interval decides nothing.
        calls: Other inferences, of which all are timed together where time depends on the sample.
    """

    baseline: ir.Model
    challenger: ir.Model
    target: Target
    feeds: Arrays
    config: LatencyConfig
    seconds: float
    again: int
    calls: Sequence[Arrays] = ()


class Timer(Protocol):
    """What passes while a search runs."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    def race(self, asked: Race) -> LatencyResult:
        """The latencies of both graphs; a machine that is too busy gives no ratio."""
        ...

    def nodes(
        self,
        shipped: ir.Model,
        source: ir.Model,
        feeds: Arrays,
        *,
        target: Target,
        threads: int,
        seconds: float,
    ) -> NodeSeconds:
        """What each node of `source` takes in a form of it; see `attribution.node_seconds`."""
        ...

    def kernels(
        self,
        models: Sequence[ir.Model],
        source: ir.Model,
        feeds: Arrays,
        *,
        target: Target,
        threads: int,
        seconds: float,
    ) -> list[dict[str, float]]:
        """What each node of `source` takes in several forms of it; see `turns.kernel_seconds`."""
        ...


class MachineTimer:
    """The clock and the processors of this machine."""

    def __init__(self) -> None:
        """Nothing is measured yet."""
        self._ceilings: dict[int, Ceilings] = {}

    def now(self) -> float:
        """Seconds since some moment."""
        return perf_counter()

    def race(self, asked: Race) -> LatencyResult:
        """Both in turn, as `racing.race` does."""
        config, target, calls = asked.config, asked.target, asked.calls

        def opened(model: ir.Model) -> Runner:
            return over(target.open(model, threads=config.threads), calls)

        found = race(
            lambda: opened(asked.baseline),
            lambda: opened(asked.challenger),
            asked.feeds,
            config,
            deciding=True,
            seconds=asked.seconds,
            again=asked.again,
        )
        return mean_of(found, len(calls))

    def nodes(
        self,
        shipped: ir.Model,
        source: ir.Model,
        feeds: Arrays,
        *,
        target: Target,
        threads: int,
        seconds: float,
    ) -> NodeSeconds:
        """Profiled; what the machine can do at best is measured once."""
        own = own_kernel_seconds(target, [shipped], source, feeds, threads=threads, seconds=seconds)
        if own is not None:
            rest = own[0].pop("", 0.0)
            return NodeSeconds(own[0], rest)
        if threads not in self._ceilings:
            self._ceilings[threads] = measure_ceilings(threads)
        ceilings = self._ceilings[threads]
        return node_seconds(
            shipped, source, feeds, threads=threads, seconds=seconds, ceilings=ceilings
        )

    def kernels(
        self,
        models: Sequence[ir.Model],
        source: ir.Model,
        feeds: Arrays,
        *,
        target: Target,
        threads: int,
        seconds: float,
    ) -> list[dict[str, float]]:
        """Profiled in turn."""
        own = own_kernel_seconds(target, models, source, feeds, threads=threads, seconds=seconds)
        return own or kernel_seconds(models, source, feeds, threads=threads, seconds=seconds)


@dataclass
class Stage:
    """A stage of the search while it runs; what it finds is put in, and the record made of it."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    seconds: float = 0.0
    clock: Callable[[], float] = perf_counter
    started: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.started

    def decide(self, subject: str, verdict: str, reason: str) -> None:
        """Put in what was decided, and why."""
        self.decisions.append(Decision(subject=subject, verdict=verdict, reason=reason))

    def timed(self, race: LatencyResult | None) -> None:
        """Put in what a race says about the speed, if there was one."""
        self.effects += speed_effects(race)

    @property
    def record(self) -> StageRecord:
        """What the stage did; with its seconds once it is over."""
        return StageRecord(
            name=self.name,
            seconds=self.seconds,
            parameters=self.parameters,
            changed=self.changed,
            decisions=tuple(self.decisions),
            notices=tuple(self.notices),
            effects=tuple(self.effects),
        )


@dataclass(frozen=True)
class Session:
    """What all steps of a search share.

    Attributes:
        prepared: The captured graph, its data, and what quality is measured in.
        recipe: What is asked for.
        target: What it is for.
        progress: Where the user sees how far it is.
        timer: What measures time.
    """

    prepared: Prepared
    recipe: Recipe
    target: Target
    progress: Progress
    timer: Timer = field(default_factory=MachineTimer)

    @contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """A stage to put findings in, whose record knows how long it took."""
        stage = Stage(name, clock=self.timer.now, started=self.timer.now())
        try:
            yield stage
        finally:
            stage.seconds = stage.elapsed

    @property
    def deciding(self) -> LatencyConfig:
        """The deciding configuration; a batch that the graph has baked in goes before it."""
        return configurations(self.recipe, self.prepared)[0]

    @property
    def batch(self) -> int:
        """Samples per run where nothing is timed."""
        return self.prepared.fixed_batch or self.recipe.quantize.batch

    def feeds(self) -> Arrays:
        """One inference of the deciding configuration."""
        return self.prepared.timed(self.deciding, self.recipe.seed)

    def why_not_measurable(self, *models: ir.Model) -> str | None:
        """Why the speed of these models side by side is not measured; None where it is."""
        return self.target.why_not_measurable() or beyond_memory(self.recipe, *models)

    def untimed(self, *models: ir.Model) -> str:
        """Why a race of these models came to nothing."""
        return self.why_not_measurable(*models) or "the machine was too busy to time it"

    def race(
        self, baseline: ir.Model, challenger: ir.Model, *, seconds: float, again: int = AGAIN
    ) -> LatencyResult | None:
        """Both models in turn, in the deciding configuration.

        On a machine too busy for several threads, on one: that can always be timed.

        Args:
            baseline: What is compared with.
            challenger: What may be faster.
            seconds: How long to measure at most, unless it has to be raced again.
            again: How often to race again where the interval decides nothing.

        Returns:
            A race whose ratio is known; None where nothing can be timed.
        """
        if self.why_not_measurable(baseline, challenger) is not None:
            return None
        found = self._raced(baseline, challenger, self.deciding, seconds, again)
        if not found.is_known and self.deciding.threads != 1:
            self.progress.notice(
                f"{threads(self.deciding.threads)} could not be timed, as others use the machine: "
                "it is decided on one thread"
            )
            one = on_one_thread(self.deciding)
            found = self._raced(baseline, challenger, one, seconds, again)
        return found if found.is_known else None

    def race_at(
        self,
        config: LatencyConfig,
        baseline: ir.Model,
        challenger: ir.Model,
        *,
        seconds: float,
        again: int = AGAIN,
    ) -> LatencyResult | None:
        """Both models in turn in another configuration than the deciding one; else as `race`."""
        if self.why_not_measurable(baseline, challenger) is not None:
            return None
        found = self._raced(baseline, challenger, config, seconds, again)
        return found if found.is_known else None

    def race_over(
        self,
        baseline: ir.Model,
        challenger: ir.Model,
        calls: Sequence[Arrays],
        *,
        seconds: float,
        again: int = AGAIN,
    ) -> LatencyResult | None:
        """Both models in turn over many inferences, whose time depends on the sample; as `race`.

        Args:
            baseline: What is compared with.
            challenger: What may be faster in the mean.
            calls: The feeds of each inference, in the deciding configuration.
            seconds: How long to measure at most, unless it has to be raced again.
            again: How often to race again where the interval decides nothing.

        Returns:
            Times are means of one inference.
        """
        if self.why_not_measurable(baseline, challenger) is not None:
            return None
        found = self._raced(baseline, challenger, self.deciding, seconds, again, calls)
        if not found.is_known and self.deciding.threads != 1:
            one = on_one_thread(self.deciding)
            found = self._raced(baseline, challenger, one, seconds, again, calls)
        return found if found.is_known else None

    def _raced(
        self,
        baseline: ir.Model,
        challenger: ir.Model,
        config: LatencyConfig,
        seconds: float,
        again: int,
        calls: Sequence[Arrays] = (),
    ) -> LatencyResult:
        before, after = map(self.prepared.as_shipped, (baseline, challenger))
        feeds = self.prepared.timed(config, self.recipe.seed)
        return self.timer.race(
            Race(before, after, self.target, feeds, config, seconds, again, calls)
        )
