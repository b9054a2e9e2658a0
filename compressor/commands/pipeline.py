"""`compress --graph NAME=FILE ... --pipeline FILE:FUNCTION`: several graphs and the loop over them.

The loop is run on the graphs as they are; what it feeds them calibrates them. Then each graph is
decided with the others as they are by then, the costliest first, by what the loop generates. What
all of them make together is confirmed on seeds that no decision has seen.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet, open_dataset
from compressor.capture.eager import runs_as_it_is
from compressor.checkpoint import ModelSource, load_checkpoint, source_of
from compressor.checkpoint.prepare import prepare
from compressor.commands.account import Finished, account, write_account
from compressor.commands.compress import (
    available_target,
    build_pair,
    interruption_words,
    samples_of,
)
from compressor.commands.final_measurements import (
    INTERRUPTED,
    Measurements,
    measured,
    unmeasured,
)
from compressor.errors import CompressorError, RecipeError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.racing import race
from compressor.evaluation.roles import Roles
from compressor.evaluation.yardstick import Yardstick, choose
from compressor.graph.tensors import Arrays
from compressor.layerwise.factor import own_threads
from compressor.pipelines.drift import errors_by_part
from compressor.pipelines.loop import SEED, Loop, Memory, Opener, Remembered, UserLoop
from compressor.pipelines.sheet import worst_units
from compressor.pipelines.tracing import Trace, recorded
from compressor.plan.plan import Plan
from compressor.recipe.paths import read_by
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements import require_sense
from compressor.report.pipeline import calls_words
from compressor.results.measurements import LatencyConfig, LatencyResult, Size
from compressor.results.report import (
    BudgetResult,
    GraphReport,
    LoopGraph,
    PipelineResult,
    Report,
)
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome, ships_float
from compressor.search.data_split import DataSplit, examined, looked_at, split_data
from compressor.search.measure import Pair, told
from compressor.search.quality_budget import Halves, QualityBudget
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.search.strategy import decide
from compressor.system.output_folder import prepare as prepare_output
from compressor.system.output_folder import written_aside
from compressor.system.processors import available_processors
from compressor.system.progress import Progress
from compressor.system.sparing import spared
from compressor.system.stopwatch import Stopwatch
from compressor.system.userfile import load_object
from exporters.base import Runner, Target

JUDGING_SECONDS = 60.0
"""What generating the units that judge may take, once."""
TRACING_SECONDS = 20.0
"""What generating those that calibrate may take."""
LEAST_UNITS, MOST_UNITS = 64, 2048
LEAST_TRACED, MOST_TRACED = 8, 64
LISTENED = 64
"""Calls of a graph in one run that its error is looked at in, at most."""
CALLS = 512
"""Calls of a graph that are kept to calibrate it, unless told otherwise."""
BATCH = 8
"""Units that are held at a time where they are compared."""
_BLOCK = 10**6
"""Seeds of one purpose."""
_SEEDS = 2**32
"""How many there are: more than that NumPy's older generators do not take."""
_CONFIRMATIONS = 100
"""The first block of seeds that confirm."""
WORDS = "generated units"


@dataclass(frozen=True)
class Units:
    """Which seeds serve which purpose; no two share one.

    Attributes:
        base: The seed of the run.
        count: Units that judge, in each half.
        traced: Units that calibrate.
    """

    base: int
    count: int
    traced: int

    def of(self, block: int, count: int) -> CalibrationSet:
        """Seeds of a purpose."""
        first = (self.base * 1000 + block) * _BLOCK
        seeds = np.arange(first, first + count, dtype=np.int64) % _SEEDS
        return open_dataset({SEED: seeds}, role="evaluation", seed=self.base)


@dataclass
class Pipeline:
    """The graphs of a run and their loop.

    Attributes:
        loop: The user's function.
        target: Runs the graphs.
        originals: Name → the graph as captured.
        current: Name → what ships of it so far.
        yardstick: What the final outputs are judged in.
    """

    loop: UserLoop
    target: Target
    originals: Mapping[str, ir.Model]
    current: dict[str, ir.Model]
    yardstick: Yardstick | None = None
    memory: Memory = field(default_factory=Memory)

    def opened(
        self, models: Mapping[str, ir.Model], threads: int = 0, *, timed: bool = False
    ) -> Loop:
        """The loop on some graphs."""
        return Loop(self.loop, self.openers(models, threads, timed=timed))

    def original(self) -> Runner:
        """The loop on the graphs as captured, which makes each unit once."""
        return Remembered(self.loop, self.openers(self.originals), self.memory)

    def openers(
        self, models: Mapping[str, ir.Model], threads: int = 0, *, timed: bool = False
    ) -> dict[str, Opener]:
        """What opens some graphs on the target."""

        def opener(model: ir.Model) -> Opener:
            return lambda: self.target.open(model, threads=threads, timed=timed)

        return {name: opener(model) for name, model in models.items()}


@dataclass(frozen=True)
class PipelineJudge:
    """Judges a form of one graph by what the loop makes with the others as they are."""

    pipeline: Pipeline
    name: str
    batch: int = BATCH

    @property
    def yardstick(self) -> Yardstick | None:
        """What the final outputs are judged in."""
        return self.pipeline.yardstick

    def original(self) -> Runner:
        """The loop on the graphs as captured."""
        return self.pipeline.original()

    def opened(self, model: ir.Model) -> Runner:
        """The loop with a form of this graph."""
        return self.pipeline.opened({**self.pipeline.current, self.name: model})


@dataclass
class Graph:
    """One graph of the run.

    Attributes:
        session: Its own calibration, its own progress.
        data: Recorded calls.
        calls: How often one unit calls it.
        seconds: What that takes, as captured.
        outcome: What ships of it; None before that is decided.
    """

    session: Session
    data: DataSplit
    calls: float = 0.0
    seconds: float = 0.0
    outcome: Outcome | None = None

    @property
    def decided(self) -> Outcome:
        """What ships of it, once that is known."""
        assert self.outcome is not None, "it has been decided"
        return self.outcome


def compress_pipeline(  # noqa: PLR0913 - the front door of several graphs
    graphs: Mapping[str, object],
    pipeline: object,
    *,
    recipe: Recipe,
    units: int | None,
    output: Path,
    plan: Plan | None,
    files: tuple[Path | None, ...],
    force: bool,
    progress: Progress,
    command: str | None,
) -> Report:
    """Compress the graphs of a loop by what the loop makes of them.

    Args:
        graphs: Name → model: a path, `path@factory`, or a live module.
        pipeline: The function, or `file.py:function`.
        recipe: What is asked for, of all graphs alike.
        units: How many judge; as many as a minute makes without.
        output: The folder to write: one sub-folder a graph.
        plan: Decisions to replay.
        files: What else was read: the recipe, the plan.
        force: Replace a folder that was not written by this tool.
        progress: Where progress is shown.
        command: The command line, for the report.

    Raises:
        CompressorError: As for `compress`; UsageError where the loop fails, is not deterministic
            in its seed, or calls a graph wrongly.
    """
    watch = Stopwatch()
    target = available_target(recipe)
    require_sense(recipe, target, find_metric)
    _require_names(graphs, plan, target)
    _require_fitting(recipe)
    named = [one for model in graphs.values() for one in _files_of(model, recipe)]
    inputs = read_by(recipe, *named, pipeline, *files)
    prepare_output(output, force=force, inputs=inputs, room=0)
    loop = _loop(pipeline)
    with tempfile.TemporaryDirectory(prefix="compressor-") as scratch:
        run = _Run(loop, target, recipe, progress, Path(scratch))
        run.trace(graphs, units)
        with own_threads():
            run.decide(plan)
        return run.written(output, plan, watch, command)


def _loop(pipeline: object) -> UserLoop:
    """The function, by its own name or by that of its file."""
    if isinstance(pipeline, str):
        found, name = load_object(pipeline, "pipeline"), pipeline
    else:
        found, name = pipeline, getattr(pipeline, "__name__", type(pipeline).__name__)
    if not callable(found):
        raise UsageError(
            f"pipeline {name} is no function, but {type(found).__name__}",
            hint="Name a function generate(models, seed, count), as sample.py:generate.",
        )
    return UserLoop(found, name)


def _files_of(model: object, recipe: Recipe) -> tuple[object, ...]:
    """What is read of a graph: its file, and that of its factory."""
    path, own = _named(model, recipe)
    return path, own.model.factory


def _require_fitting(recipe: Recipe) -> None:
    """Refuse what needs labels: a loop generates, and nothing says what would be right."""
    metric = recipe.measure.metric
    if metric is not None and find_metric(metric).needs_labels:
        raise UsageError(
            f"metric {metric} needs labels, and what a pipeline generates has none",
            hint="Choose one that compares with the original, such as psnr or cosine, or write "
            "file.py:function.",
        )
    if recipe.prune.method == "taylor":
        raise UsageError(
            "importance by 'taylor' needs a loss of labelled data, and a pipeline has none",
            hint="Choose --prune-method obs.",
        )


def _require_names(graphs: Mapping[str, object], plan: Plan | None, target: Target) -> None:
    if not graphs:
        raise UsageError("there are no graphs", hint="Name those that the loop calls.")
    for name in graphs:
        if not name.replace("-", "_").isidentifier():
            raise UsageError(
                f"a graph cannot be called {name!r}: the name becomes a folder",
                hint="Use letters, digits, _ and -.",
            )
    if plan is not None and plan.target != target.name:
        raise RecipeError(f"the plan is for target {plan.target!r}, not {target.name!r}")
    if plan is not None and set(plan.graphs) != set(graphs):
        raise RecipeError(
            f"the plan is of graphs {', '.join(plan.graphs)}, and there are {', '.join(graphs)}",
            hint="Replay it with the graphs that it was made of.",
        )


class _Run:
    """One run, from the loop as it is to the folder."""

    def __init__(
        self, loop: UserLoop, target: Target, recipe: Recipe, progress: Progress, scratch: Path
    ) -> None:
        self._loop, self._target, self._recipe = loop, target, recipe
        self._progress, self._scratch = progress, scratch
        self._graphs: dict[str, Graph] = {}
        self._stepped_back: list[str] = []
        self._interrupted = False
        self._budget: BudgetResult | None = None
        self._notices: list[str] = []

    def trace(self, models: Mapping[str, object], units: int | None) -> None:
        """Run the loop on the graphs as they are, and prepare them on what it feeds them.

        Raises:
            UsageError: Two runs of one seed differ, or a graph is never called.
        """
        recipe, seed = self._recipe, self._recipe.seed
        named = {name: _named(model, recipe) for name, model in models.items()}
        sources = {name: _source(*one) for name, one in named.items()}

        def opener(name: str) -> Opener:
            return lambda: runs_as_it_is(sources[name], self._target)

        openers = {name: opener(name) for name in sources}
        with self._progress.stage("run the pipeline twice"):
            calls, seconds = self._twice(openers)
        self._units = _units(seed, units, seconds)
        folder = self._scratch / "calls"
        folder.mkdir()
        trace = Trace(folder, recipe.data.samples or CALLS, seed, calls)
        total = self._units.traced
        with (
            self._progress.stage("record its calls", total=total) as advance,
            Loop(self._loop, recorded(openers, trace.record)) as tracing,
        ):
            for batch in self._units.of(0, total).batches(1):
                trace.began()
                tracing.run(batch.inputs)
                advance(1)
        unused = [name for name in named if not trace.seen[name]]
        if unused:
            raise UsageError(
                f"pipeline {self._loop.name} never calls graph {unused[0]!r}",
                hint="Leave it out, or call it as models[NAME](...).",
            )
        for name, (model, own) in named.items():
            with _of_graph(name):
                self._graphs[name] = self._prepared(name, model, own, trace)
            self._graphs[name].calls = trace.seen[name] / total
        originals = {name: one.session.prepared.model for name, one in self._graphs.items()}
        self._pipeline = Pipeline(self._loop, self._target, originals, dict(originals))
        self._look()

    def _twice(self, openers: Mapping[str, Opener]) -> tuple[dict[str, int], float]:
        """Calls of each graph in one unit, and what a unit takes; the same seed gives the same."""
        made = []
        for _ in range(2):
            watch = Stopwatch()
            with Loop(self._loop, openers) as loop:
                made.append(loop.run({SEED: np.array([self._recipe.seed], np.int64)}))
                calls, seconds = loop.calls, watch.seconds
        first, second = made
        for name, array in first.items():
            other = second.get(name)
            if other is None or not np.array_equal(array, other, equal_nan=array.dtype.kind == "f"):
                raise UsageError(
                    f"pipeline {self._loop.name} returns another {name!r} for the same seed: what "
                    "ships could not be compared with the original",
                    hint="Draw all randomness from the seed: np.random.default_rng(seed), or "
                    "torch.Generator().manual_seed(seed).",
                )
        return calls, seconds

    def _prepared(self, name: str, model: object, recipe: Recipe, trace: Trace) -> Graph:
        """A graph and its recorded calls; its own quality is in the metric that fits it."""
        options = recipe.measure.model_copy(update={"metric": None, "output": None})
        recipe = recipe.model_copy(update={"measure": options})
        prepared = prepare(
            model,
            target=self._target,
            recipe=recipe,
            calibration=trace.calls(name),
            progress=self._progress,
        )
        self._target.require_buildable(prepared.model)
        data = examined(prepared, split_data(prepared, recipe.seed), self._progress)
        prepared = looked_at(prepared, data, recipe, self._target, self._progress)
        return Graph(Session(prepared, recipe, self._target, self._progress), data)

    def _look(self) -> None:
        """What the final outputs are judged in, and what each graph costs."""
        pipeline, options = self._pipeline, self._recipe.measure
        metric = None if options.metric is None else find_metric(options.metric)
        data = self._units.of(1, min(self._units.count, LEAST_UNITS))
        with self._progress.stage("look at outputs"), pipeline.opened(pipeline.originals) as loop:
            found = choose(loop, data, BATCH, roles=Roles(), metric=metric, output=options.output)
        with pipeline.opened(pipeline.originals, options.threads) as loop:
            loop.run({SEED: np.array([self._recipe.seed], np.int64)})
            for name, graph in self._graphs.items():
                graph.seconds = loop.seconds[name]
        pipeline.yardstick = found
        for notice in found.notices:
            self._progress.notice(notice)
        self._notices += found.notices

    @cached_property
    def _order(self) -> list[str]:
        """The costliest first."""
        return sorted(self._graphs, key=lambda name: -self._graphs[name].seconds)

    def decide(self, plan: Plan | None) -> None:
        """Each graph with the others as they are; then all together.

        Where the user ends it and something has kept the budget, that is the best so far: what was
        not decided by then ships in float.
        """
        for name in self._order:
            with _of_graph(name):
                self._decide(name, plan)
        if self._recipe.budget.allowed is None:
            return
        try:
            if not self._interrupted:
                self._confirm(may_step_back=plan is None)
        except KeyboardInterrupt:
            self._interrupted = True
        if self._interrupted and self._budget is None:
            acceptance = self._acceptance(self._order[0], 1, 2)
            assert isinstance(acceptance, QualityBudget), "there is a budget"
            self._budget = acceptance.unconfirmed()

    def _decide(self, name: str, plan: Plan | None) -> None:
        graph = self._graphs[name]
        if not self._interrupted:
            try:
                graph.outcome = self._decided(name, plan)
                self._interrupted = graph.outcome.interrupted
            except KeyboardInterrupt:
                if not self._has_best:
                    raise
                self._interrupted = True
        if graph.outcome is None:
            reason = "the run was interrupted before it was decided"
            graph.outcome = undecided(graph.session).then(reason=reason)
        self._pipeline.current[name] = graph.session.prepared.as_shipped(graph.outcome.shipped)

    @property
    def _has_best(self) -> bool:
        """Whether something has kept a budget so far, which is written if the user ends the run."""
        done = [one.outcome for one in self._graphs.values() if one.outcome is not None]
        held = self._recipe.budget.allowed is not None
        return held and any(not ships_float(one.plan) for one in done)

    def _decided(self, name: str, plan: Plan | None) -> Outcome:
        graph = self._graphs[name]
        if len(self._graphs) > 1:
            self._progress.notice(f"now graph {name}: {calls_words(graph.calls)} a unit")
        if plan is not None:
            return replay(graph.session, plan.graphs[name])
        return decide(graph.session, graph.data, self._acceptance(name, 1, 2))

    def _acceptance(self, name: str, search: int, confirm: int) -> Acceptance:
        """What judges a graph of the loop, on blocks of seeds of its own."""
        session, judge = self._graphs[name].session, PipelineJudge(self._pipeline, name)
        budget, count = self._recipe.budget.allowed, self._units.count
        if budget is None:
            return NoBudget(session, self._units.of(search, count), WORDS, judge)
        return QualityBudget.announced(session, budget, self._halves(search, confirm), judge)

    def _halves(self, search: int, confirm: int) -> Halves:
        count = self._units.count
        found = self._units.of(search, count), self._units.of(confirm, count)
        return Halves(*found, WORDS, "generated", 1.0)

    def _confirm(self, *, may_step_back: bool) -> None:
        """All together, on seeds that nothing has seen; what damages most goes back to float.

        Every verdict is on a block of its own, so that asking again proves as much as asking once.
        """
        budget = self._recipe.budget.allowed
        assert budget is not None, "there is one"
        for step in range(len(self._graphs) + 1):
            name = self._order[0]
            judge = PipelineJudge(self._pipeline, name)
            halves = self._halves(1, _CONFIRMATIONS + step)
            held = QualityBudget.announced(self._graphs[name].session, budget, halves, judge)
            with (
                self._progress.stage("confirm the pipeline"),
                judge.original() as one,
                judge.opened(self._pipeline.current[name]) as other,
            ):
                yardstick = held.yardstick
                runners = {BASELINE: one, RESULT: other}
                scores = yardstick.scores(held.metric, runners, halves.confirm, BATCH)
            is_float = all(ships_float(one.decided.plan) for one in self._graphs.values())
            self._budget = held.confirmed(held.metric, scores, is_float=is_float)
            if self._budget.met or not may_step_back or is_float:
                return
            self._step_back(held)

    def _step_back(self, held: QualityBudget) -> None:
        """The graph without which the loop loses least goes back to float."""
        current, losses = self._pipeline.current, dict[str, float]()
        for name in self._order:
            graph = self._graphs[name]
            if ships_float(graph.decided.plan):
                continue
            judge = PipelineJudge(self._pipeline, name)
            held = replace(held, judge=judge)
            losses[name] = held.accepts(self._pipeline.originals[name]).loss
        worst = min(losses, key=lambda name: losses[name])
        session = self._graphs[worst].session
        notice = (
            f"graph {worst} went back to float: together with the others it broke the budget of "
            f"{held.asked}"
        )
        self._progress.notice(notice)
        self._notices.append(notice)
        self._stepped_back.append(worst)
        outcome = undecided(session).then(reason=notice)
        self._graphs[worst].outcome = outcome
        current[worst] = session.prepared.as_shipped(outcome.shipped)

    def written(
        self, directory: Path, plan: Plan | None, watch: Stopwatch, command: str | None
    ) -> Report:
        """Build, measure and account for all of it."""
        made = plan or Plan(
            target=self._target.name,
            seed=self._recipe.seed,
            graphs={name: one.decided.plan for name, one in self._graphs.items()},
        )
        with written_aside(directory) as folder:
            finished = {name: self._finished(name, folder / name, made) for name in self._graphs}
            report = account(
                finished, directory, seconds=0.0, command=command, notices=tuple(self._notices)
            )
            result = self._result(report.graphs)
            report = report.model_copy(update={"pipeline": result, "seconds": watch.seconds})
            report = write_account(folder, made, report, self._recipe)
        if self._interrupted:
            assert self._budget is not None, "without one nothing is written"
            raise KeyboardInterrupt(interruption_words(directory, self._budget))
        return report

    def _finished(self, name: str, folder: Path, plan: Plan) -> Finished:
        """One graph, built into its own folder and measured on its recorded calls."""
        graph, session = self._graphs[name], self._graphs[name].session
        folder.mkdir()
        scratch = self._scratch / f"built-{name}"
        scratch.mkdir()
        shipped = session.prepared.as_shipped(graph.decided.shipped)
        samples = samples_of(session.prepared, session.recipe)
        artifact = self._target.build(shipped, folder, samples=samples, progress=self._progress)
        pair = build_pair(graph.decided, artifact, session, scratch)
        found = self._measured(graph, pair)
        return Finished(graph.decided, pair, found, graph.data, None, plan)

    def _measured(self, graph: Graph, pair: Pair) -> Measurements:
        """What is measured of a graph by itself, until the user ends a run with a verdict."""
        if not self._interrupted:
            try:
                return measured(graph.decided, pair, graph.data, None)
            except KeyboardInterrupt:
                if self._budget is None:
                    raise
                self._interrupted = True
        return unmeasured(pair, None)

    def _result(self, graphs: Mapping[str, GraphReport]) -> PipelineResult:
        """What the loop makes of what ships, and what that takes."""
        if not self._interrupted:
            try:
                return self._measured_loop(graphs)
            except KeyboardInterrupt:
                if self._budget is None:
                    raise
                self._interrupted = True
        return self._told(graphs)

    def _told(
        self,
        graphs: Mapping[str, GraphReport],
        shares: dict[str, LoopGraph] | None = None,
        **found: Any,
    ) -> PipelineResult:
        """What is known of the loop; without measurements the run was interrupted."""
        sizes = [(one.baseline_size, one.result_size) for one in graphs.values()]
        before, after = (self._together(list(which)) for which in zip(*sizes, strict=True))
        whole = sum(one.seconds for one in self._graphs.values()) or 1.0
        plain = {
            name: LoopGraph(
                calls=self._graphs[name].calls, share=self._graphs[name].seconds / whole
            )
            for name in self._order
        }
        missing = {"latency_reason": INTERRUPTED, "quality_reason": INTERRUPTED}
        missing |= {"worst_reason": INTERRUPTED}
        known = {"graphs": shares or plain, **(found or missing)}
        return PipelineResult(
            name=self._loop.name,
            units=self._units.count,
            traced=self._units.traced,
            memory_reason="it is measured of each graph",
            baseline_size=before,
            result_size=after,
            budget=self._budget,
            stepped_back=tuple(self._stepped_back),
            **known,
        )

    def _measured_loop(self, graphs: Mapping[str, GraphReport]) -> PipelineResult:
        """Its quality, its latency, and where errors arise."""
        pipeline, yardstick = self._pipeline, self._pipeline.yardstick
        assert yardstick is not None, "the outputs were looked at"
        units, words = self._units, f"{WORDS}, of seeds that no decision has seen"
        data = units.of(_CONFIRMATIONS - 1, units.count)
        with (
            self._progress.stage("measure the pipeline's quality"),
            pipeline.original() as one,
            pipeline.opened(pipeline.current) as other,
        ):
            runners = {BASELINE: one, RESULT: other}
            scored = [
                (metric, yardstick.scores(metric, runners, data, BATCH))
                for metric in yardstick.metrics
            ]
            outputs = output_results(runners, data, BATCH, yardstick)
            shown = yardstick.primary or next(spec.name for spec in one.outputs)
            worst, worst_reason = spared(
                lambda: (worst_units(one, other, data, shown), None), lambda reason: ((), reason)
            )
        latency, reason = self._latency()
        shares = self._shares()
        return self._told(
            graphs,
            shares=shares,
            quality=told(scored, yardstick, words, units.base),
            quality_reason=None if scored else yardstick.reason,
            outputs=outputs,
            latency=() if latency is None else (latency,),
            latency_reason=reason,
            worst=worst,
            worst_reason=worst_reason,
        )

    def _together(self, sizes: Sequence[Size]) -> Size:
        """Sizes of all graphs together; a unit's MACs are those of every call."""
        calls = [self._graphs[name].calls for name in self._graphs]
        macs = [size.macs for size in sizes]
        return Size(
            file_bytes=sum(size.file_bytes for size in sizes),
            parameters=sum(size.parameters for size in sizes),
            macs=None
            if None in macs
            else round(sum(one * count for one, count in zip(macs, calls, strict=True) if one)),
            macs_reason="of one graph they are not known" if None in macs else None,
        )

    def _latency(self) -> tuple[LatencyResult | None, str | None]:
        """One unit on the graphs that speed is compared with, and on what ships."""
        reason = self._target.why_not_measurable()
        if reason is not None:
            return None, f"nothing runs as it will: {reason}"
        pipeline, measure = self._pipeline, self._recipe.measure
        threads = min(measure.threads or available_processors(), available_processors())
        before = {name: one.decided.baseline for name, one in self._graphs.items()}
        with self._progress.stage("measure the pipeline's latency"):
            found = race(
                lambda: pipeline.opened(before, threads, timed=True),
                lambda: pipeline.opened(pipeline.current, threads, timed=True),
                {SEED: np.array([self._recipe.seed], np.int64)},
                LatencyConfig(batch=1, threads=threads),
                deciding=True,
                seconds=measure.seconds,
                again=1,
            )
        return (found, None) if found.is_known else (None, found.reason)

    def _shares(self) -> dict[str, LoopGraph]:
        """What each graph is to the loop, the costliest first."""
        whole = sum(one.seconds for one in self._graphs.values()) or 1.0
        return {
            name: LoopGraph(
                calls=self._graphs[name].calls,
                share=self._graphs[name].seconds / whole,
                errors=self._errors(name),
            )
            for name in self._order
        }

    def _errors(self, name: str) -> tuple[float, ...]:
        """Where in a run the graph's error arises."""
        pipeline, graph = self._pipeline, self._graphs[name]
        if ships_float(graph.decided.plan):
            return ()
        calls: list[Arrays] = []

        every, index = max(1, round(graph.calls / LISTENED)), iter(range(10**9))

        def listen(called: str, feeds: Arrays) -> None:
            if called == name and next(index) % every == 0:
                calls.append({key: np.array(array) for key, array in feeds.items()})

        openers = recorded(pipeline.openers(pipeline.originals), listen)
        with Loop(self._loop, openers) as loop:
            loop.run({SEED: np.array([self._recipe.seed], np.int64)})
        with (
            self._target.open(pipeline.originals[name], threads=0, timed=False) as one,
            self._target.open(pipeline.current[name], threads=0, timed=False) as other,
        ):
            return errors_by_part(one, other, calls)


@contextmanager
def _of_graph(name: str) -> Iterator[None]:
    """Let an error say which graph it is of."""
    try:
        yield
    except CompressorError as error:
        raise type(error)(f"graph {name}: {error.message}", hint=error.hint) from error


def _named(model: object, recipe: Recipe) -> tuple[object, Recipe]:
    """The model, and the recipe with its factory: `unet.pt@net.py:build` names both."""
    if not isinstance(model, str) or "@" not in model or Path(model).exists():
        return model, recipe
    path, _, factory = model.partition("@")
    own = recipe.model.model_copy(update={"factory": factory})
    return path, recipe.model_copy(update={"model": own})


def _source(model: object, recipe: Recipe) -> ModelSource:
    if isinstance(model, str | Path):
        return load_checkpoint(Path(model), recipe.model)
    return source_of(model)


def _units(seed: int, asked: int | None, seconds: float) -> Units:
    """As many as time allows, of one unit's seconds."""

    def fitting(time: float, least: int, most: int) -> int:
        return int(min(max(time / max(seconds, 1e-6), least), most))

    count = asked or fitting(JUDGING_SECONDS, LEAST_UNITS, MOST_UNITS)
    return Units(seed, count, fitting(TRACING_SECONDS, LEAST_TRACED, MOST_TRACED))
