"""Measures a built result against the original: speed, quality, memory, size."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.features import asked_metric
from compressor.checkpoint.prepared import Prepared
from compressor.evaluation.changed import Changed, changed_decisions, decides, largest_errors
from compressor.evaluation.cycling import mean_of, over
from compressor.evaluation.memory import compare_memory
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric, Scores
from compressor.evaluation.outputs import require_alike
from compressor.evaluation.per_output import output_results
from compressor.evaluation.quality import summarized
from compressor.evaluation.racing import race
from compressor.evaluation.roles import roles_of
from compressor.evaluation.rounds import PATIENCE
from compressor.evaluation.views import OfGraph, only
from compressor.evaluation.yardstick import Yardstick, choose
from compressor.graph.cost import macs, parameters
from compressor.graph.files import initializer_bytes
from compressor.graph.tensors import Arrays
from compressor.recipe.recipe import Recipe
from compressor.results.format import plural, threads
from compressor.results.format import size as size_words
from compressor.results.graph_report import NodePlacement
from compressor.results.measurements import (
    LatencyConfig,
    LatencyResult,
    MemoryResult,
    OutputResult,
    QualityResult,
    Size,
)
from compressor.search.kept_measurements import latency_once, measured_key, memory_once
from compressor.search.robustness import PLAIN, under_attack
from compressor.system.processors import available_processors
from compressor.system.progress import Progress
from compressor.system.versions import version_of
from exporters.base import Artifact, Runner, Target

MOST_VARIED, LEAST_CALLS = 256, 8
"""Samples that time is measured over where it depends on them, and calls that is at least."""
FEWEST, LONGEST = 3, 60.0
"""Inferences of each model that any timing takes, one to warm up and two rounds; and the seconds
that they may take where they decide nothing, unless `--measure-seconds` asks for more."""
BESIDE = 4
"""Times less that a configuration is measured which decides nothing."""


@dataclass(frozen=True)
class Pair:
    """Two built models with the same signature, and how to run them.

    Attributes:
        original: What quality is compared with.
        baseline: What speed is compared with.
        result: What is shipped.
        drawn: Original and result with what they draw as inputs; None where they draw nothing.
        varied: Samples that time is measured over, as it depends on them; None where it does not.
    """

    original: Artifact
    baseline: Artifact
    result: Artifact
    target: Target
    prepared: Prepared
    recipe: Recipe
    progress: Progress
    drawn: tuple[Artifact, Artifact] | None = None
    varied: CalibrationSet | None = None

    @property
    def compared(self) -> tuple[Artifact, Artifact]:
        """Original and result as they are compared: on the same random numbers."""
        return self.drawn or (self.original, self.result)

    def moved(self, result: Artifact) -> "Pair":
        """The same with what ships in another place; it may be original or baseline, too."""
        places = (self.original, self.baseline, self.result)
        first, second, third = (result if one is self.result else one for one in places)
        return replace(self, original=first, baseline=second, result=third)

    def feeds(self, batch: int) -> Arrays:
        """Inputs for any of them."""
        return self.prepared.feeds(batch, self.recipe.seed)

    def timed(self, config: LatencyConfig) -> Arrays:
        """Inputs of a configuration."""
        return self.prepared.timed(config, self.recipe.seed)

    def calls(self, config: LatencyConfig) -> list[Arrays]:
        """Inferences whose mean time is measured; none where all take the same."""
        return varied_calls(self.prepared, self.varied, config)


def configurations(recipe: Recipe, prepared: Prepared) -> list[LatencyConfig]:
    """The deciding configuration, then batch 1 and the calibration batch on one and all threads.

    Threads are counted out (0 becomes the number of processors that may be used), so that none is
    measured twice, and more than that are never timed: they would wait for each other. Of a
    decoder with a cache both phases are timed at the deciding batch, elsewhere the deciding one.
    """
    cores, fixed = available_processors(), prepared.fixed_batch
    deciding = prepared.deciding(recipe)
    batches = [fixed] if fixed else [1, recipe.quantize.batch]
    grid = dict.fromkeys(
        [
            (deciding.batch, deciding.threads),
            *((b, count) for b in batches for count in (1, cores)),
        ]
    )
    first, *others = prepared.phases.names
    return [
        LatencyConfig(batch=b, threads=t, phase=phase, sizes=prepared.timed_sizes[phase])
        for b, t in grid
        for phase in (first, *(others if b == deciding.batch else ()))
    ]


def varied_calls(
    prepared: Prepared, data: CalibrationSet | None, config: LatencyConfig
) -> list[Arrays]:
    """Different inferences of a configuration: 256 samples, in at least 8 calls where they last."""
    if data is None:
        return []
    batch = config.batch
    count = max(LEAST_CALLS, MOST_VARIED // batch)
    found = [step for step in data.take(count * batch).batches(batch) if len(step) == batch]
    if not found and len(data):
        return [data.head(batch).filled(batch)]
    fixed = prepared.fixed_batch
    return [dict(step.inputs if fixed is None else step.filled(fixed)) for step in found]


def beyond_memory(recipe: Recipe, *models: ir.Model) -> str | None:
    """Why models are not timed side by side: they would take more than `--memory` was given.

    Each has its weights once as they are stored, and as the kernels want them once more. Without
    --memory only what calibration takes is limited.
    """
    memory = recipe.quantize.memory
    sizes = [initializer_bytes(model) for model in models]
    if memory is None or 2 * sum(sizes) <= memory + max(sizes):
        return None
    return (
        f"timed side by side the models take about {size_words(2 * sum(sizes))}, and --memory "
        f"allows {size_words(memory)} beside the model: give more, or leave it out"
    )


def surplus_threads(recipe: Recipe) -> tuple[str, ...]:
    """A notice where more threads are asked for than there are processors for."""
    asked, there = recipe.measure.threads, available_processors()
    if asked <= there:
        return ()
    return (
        f"{asked} threads were asked for and are not timed: affinity and quota leave this process "
        f"{plural(there, 'processor')}, so that {threads(there)} decide"
        + ("s" if there == 1 else ""),
    )


def measure_latency(pair: Pair, known: LatencyResult | None = None) -> tuple[LatencyResult, ...]:
    """Baseline and result in turn, in every configuration.

    Those that decide nothing get a fourth of the time at most, and on several threads one session.

    Args:
        pair: The models.
        known: What decided, where it raced these very two: a configuration has one speed-up.
    """
    configs = configurations(pair.recipe, pair.prepared)
    results: list[LatencyResult] = []
    with pair.progress.stage("measure latency", total=len(configs)) as advance:
        for index, config in enumerate(configs):
            endless = _too_long(results[0], config, pair.recipe) if results else None
            if known is not None and known.config == config:
                results.append(known.model_copy(update={"deciding": index == 0}))
            else:
                results.append(endless or _latency(pair, config, deciding=index == 0))
            advance(1)
    return tuple(results)


def _too_long(
    decided: LatencyResult, config: LatencyConfig, recipe: Recipe
) -> LatencyResult | None:
    """A configuration that decides nothing, and whose fewest inferences would last for minutes.

    Foreseen of what decided: time in proportion to the batch, divided by threads. None where it is
    to be timed.
    """
    if decided.baseline is None or decided.result is None or config.phase != decided.config.phase:
        return None
    work = config.batch / decided.config.batch
    share = max(1.0, config.threads / decided.config.threads)
    each = work / share * (decided.baseline.median_ms + decided.result.median_ms) / 1e3
    if FEWEST * each <= max(LONGEST, PATIENCE * recipe.measure.seconds):
        return None
    return LatencyResult(
        config=config, deciding=False, rounds=0, baseline=None, result=None, ratio=None,
        interval=None, verdict="undecided",
        reason=f"not timed: {FEWEST} inferences of each, the fewest, would take about "
        f"{FEWEST * each / 60:.0f} min, and decide nothing",
    )  # fmt: skip


def _latency(pair: Pair, config: LatencyConfig, *, deciding: bool) -> LatencyResult:
    """One configuration; one that decides nothing may be known of these files."""
    if deciding or pair.varied is not None:
        return _raced(pair, config, deciding=deciding)
    models, feeds = (pair.baseline, pair.result), pair.timed(config)
    key = measured_key(pair.recipe, models, feeds, *_runtime_of(pair.target), repr(config))
    return latency_once(pair.recipe, key, lambda: _raced(pair, config, deciding=False))


def _runtime_of(target: Target) -> tuple[str, str]:
    """What figures depend on of a runtime."""
    return target.name, f"{target.runtime} {version_of(target.runtime)}"


def _raced(pair: Pair, config: LatencyConfig, *, deciding: bool) -> LatencyResult:
    seconds, calls = pair.recipe.measure.seconds, pair.calls(config)

    def opened(built: Artifact) -> Runner:
        return over(pair.target.open(built.model, threads=config.threads), calls)

    found = race(
        lambda: opened(pair.baseline),
        lambda: opened(pair.result),
        pair.timed(config),
        config,
        deciding=deciding,
        seconds=seconds if deciding else seconds / BESIDE,
        again=1 if deciding else 0,
    )
    return mean_of(found, len(calls))


def why_no_memory(pair: Pair) -> str | None:
    """Why peak memory is not measured; None where it is."""
    if not pair.recipe.measure.memory:
        return "--no-memory leaves it out"
    return pair.target.why_not_memory_measurable()


def measure_memory(pair: Pair) -> MemoryResult:
    """Peak resident memory of each in a child process of its own."""
    config = configurations(pair.recipe, pair.prepared)[0]
    models, feeds = (pair.baseline, pair.result), pair.timed(config)
    key = measured_key(pair.recipe, models, feeds, *_runtime_of(pair.target), repr(config))
    with pair.progress.stage("measure memory"):
        return memory_once(
            pair.recipe,
            key,
            lambda: compare_memory(
                pair.baseline.model,
                pair.result.model,
                feeds,
                target=pair.target.name,
                threads=config.threads,
            ),
        )


def yardstick(
    prepared: Prepared, recipe: Recipe, target: Target, data: CalibrationSet
) -> Yardstick:
    """What quality is measured in, from the original's outputs on a few samples.

    Raises:
        DataError: The metric needs labels that the data does not have.
        UsageError: There is no such metric or output, or the metric fits none.
        RecipeError: A budget is of attacks, and the original cannot be attacked.
    """
    options, metric = recipe.measure, asked_metric(recipe)
    attacks = metric is not None and metric.needs_gradients
    batch = prepared.fixed_batch or recipe.quantize.batch
    opened = target.open(prepared.model, threads=0, timed=False)
    with OfGraph(opened, prepared.model) as original:
        found = choose(
            original,
            data,
            batch,
            roles=roles_of(prepared.model),
            metric=find_metric(PLAIN) if attacks else metric,
            output=options.output,
        )
        return under_attack(found, original, data, recipe, batch) if attacks else found


def measure_scores(
    pair: Pair, data: CalibrationSet, yardstick: Yardstick
) -> tuple[tuple[tuple[Metric, Scores], ...], tuple[OutputResult, ...]]:
    """The metrics of the yardstick on original and result, and every output by itself.

    Args:
        pair: The models.
        data: Samples that no decision has seen.
        yardstick: What is measured.

    Raises:
        DataError: The metric needs labels that the data does not have.
    """
    with pair.progress.stage("measure quality"), ExitStack() as stack:
        original, result = (
            stack.enter_context(OfGraph(opened, built.model))
            for built in pair.compared
            for opened in (pair.target.open(built.model, threads=0, timed=False),)
        )
        runners = {BASELINE: original, RESULT: result}
        batch = pair.prepared.fixed_batch or pair.recipe.quantize.batch
        scored = tuple(
            (metric, yardstick.scores(metric, runners, data, batch)) for metric in yardstick.metrics
        )
        return scored, output_results(runners, data, batch, yardstick)


def measure_changed(pair: Pair, data: CalibrationSet, yardstick: Yardstick) -> Changed:
    """Where original and result differ, sample by sample, in a pass of its own over the data.

    Args:
        pair: The models.
        data: The samples that quality was measured on.
        yardstick: What it was measured in: that tells whether outputs are decisions.
    """
    if yardstick.primary is None or not yardstick.seen[yardstick.primary].floating:
        return Changed(reason="samples are not told apart by values of one output")
    with pair.progress.stage("compare decisions"), ExitStack() as stack:
        original, result = (
            stack.enter_context(pair.target.open(built.model, threads=0, timed=False))
            for built in pair.compared
        )
        runners = only({BASELINE: original, RESULT: result}, [yardstick.primary])
        batch = pair.prepared.fixed_batch or pair.recipe.quantize.batch
        compared = changed_decisions if decides(yardstick) else largest_errors
        return compared(runners, data, batch)


def measure_quality(
    pair: Pair, data: CalibrationSet, words: str, yardstick: Yardstick
) -> tuple[tuple[QualityResult, ...], tuple[OutputResult, ...]]:
    """`measure_scores`, told; `words` say which data it is, for the report.

    Raises:
        UsageError: The outputs of the two models do not correspond.
    """
    with ExitStack() as stack:
        models = [
            stack.enter_context(pair.target.open(built.model, threads=0, timed=False)).outputs
            for built in pair.compared
        ]
    require_alike(models, "quality")
    scored, outputs = measure_scores(pair, data, yardstick)
    return told(scored, yardstick, words, pair.recipe.seed), outputs


def told(
    scored: Sequence[tuple[Metric, Scores]], yardstick: Yardstick, words: str, seed: int
) -> tuple[QualityResult, ...]:
    """Scores of several metrics for the report."""
    return tuple(
        summarized(metric, scores, data_words=words, seed=seed, output=yardstick.output_of(metric))
        for metric, scores in scored
    )


def size(built: Artifact, model: ir.Model, feeds: Arrays) -> Size:
    """Bytes on disk with external data, parameters, and MACs of one sample."""
    counted = macs(model, feeds)
    return Size(
        file_bytes=built.file_bytes,
        parameters=parameters(model),
        macs=counted.macs,
        macs_reason=counted.reason,
    )


def placement(target: Target, built: Artifact) -> tuple[NodePlacement, ...]:
    """What runs as integer and what as float in the graph that the runtime really executes."""
    integer, floating = target.integer_nodes(built.model)
    return tuple(
        NodePlacement(operator=op, integer=integer.get(op, 0), floating=floating.get(op, 0))
        for op in sorted(integer.keys() | floating.keys())
    )
