"""Measures a built result against the original: speed, quality, memory, size."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.evaluation.changed import Changed, changed_decisions, decides, largest_errors
from compressor.evaluation.latency import compare_latency
from compressor.evaluation.memory import compare_memory
from compressor.evaluation.metrics import default_metrics, find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric, Scores
from compressor.evaluation.quality import summarized
from compressor.evaluation.results import (
    LatencyConfig,
    LatencyResult,
    MemoryResult,
    QualityResult,
    Size,
)
from compressor.graph.cost import macs, parameters
from compressor.graph.tensors import Arrays, TensorSpec
from compressor.prepare import Prepared
from compressor.progress import Progress
from compressor.recipe import Recipe
from compressor.report.schema import NodePlacement
from exporters.base import Artifact, Target


@dataclass(frozen=True)
class Pair:
    """Two built models with the same signature, and how to run them.

    Attributes:
        original: What quality is compared with.
        baseline: What speed is compared with.
        result: What is shipped.
    """

    original: Artifact
    baseline: Artifact
    result: Artifact
    target: Target
    prepared: Prepared
    recipe: Recipe
    progress: Progress

    def feeds(self, batch: int) -> Arrays:
        """Inputs for any of them."""
        return self.prepared.feeds(batch, self.recipe.seed)


def configurations(recipe: Recipe, fixed_batch: int | None) -> list[LatencyConfig]:
    """The deciding configuration, then batch 1 and the calibration batch on one and all threads.

    Threads are counted out (0 becomes the number of cores), so that none is measured twice.
    """
    cores = os.cpu_count() or 1
    deciding = (fixed_batch or recipe.measure.batch, recipe.measure.threads or cores)
    batches = [fixed_batch] if fixed_batch else [1, recipe.quantize.batch]
    grid = [deciding, *((batch, threads) for batch in batches for threads in (1, cores))]
    return [LatencyConfig(batch=b, threads=t) for b, t in dict.fromkeys(grid)]


def measure_latency(pair: Pair) -> tuple[LatencyResult, ...]:
    """Baseline and result in turn, in every configuration; the deciding one gets twice the time."""
    configs = configurations(pair.recipe, pair.prepared.fixed_batch)
    results = []
    with pair.progress.stage("measure latency", total=len(configs)) as advance:
        for index, config in enumerate(configs):
            results.append(_latency(pair, config, deciding=index == 0))
            advance(1)
    return tuple(results)


def _latency(pair: Pair, config: LatencyConfig, *, deciding: bool) -> LatencyResult:
    seconds = pair.recipe.measure.seconds
    with ExitStack() as stack:
        baseline, result = (
            stack.enter_context(pair.target.open(built.model, threads=config.threads))
            for built in (pair.baseline, pair.result)
        )
        return compare_latency(
            baseline,
            result,
            pair.feeds(config.batch),
            config,
            deciding=deciding,
            seconds=seconds if deciding else seconds / 2,
            seed=pair.recipe.seed,
        )


def measure_memory(pair: Pair) -> MemoryResult:
    """Peak resident memory of each in a child process of its own."""
    config = configurations(pair.recipe, pair.prepared.fixed_batch)[0]
    with pair.progress.stage("measure memory"):
        return compare_memory(
            pair.baseline.model,
            pair.result.model,
            pair.feeds(config.batch),
            target=pair.target.name,
            threads=config.threads,
        )


def measure_scores(pair: Pair, data: CalibrationSet) -> tuple[tuple[Metric, Scores], ...]:
    """The metric asked for, or those that fit the data, on original and result.

    Args:
        pair: The models.
        data: Samples that no decision has seen.

    Raises:
        DataError: The metric needs labels that the data does not have.
    """
    with pair.progress.stage("measure quality"), ExitStack() as stack:
        original, result = (
            stack.enter_context(pair.target.open(built.model, threads=0, timed=False))
            for built in (pair.original, pair.result)
        )
        runners = {BASELINE: original, RESULT: result}
        batch = pair.prepared.fixed_batch or pair.recipe.quantize.batch
        metrics = metrics_for(pair.recipe, data, original.outputs)
        return tuple((metric, metric.evaluate(runners, data, batch)) for metric in metrics)


def scores_of(
    metric: Metric,
    original: ir.Model,
    candidate: ir.Model,
    target: Target,
    data: CalibrationSet,
    batch: int,
) -> Scores:
    """Original and candidate on the same samples.

    Args:
        metric: What scores.
        original: As it was captured.
        candidate: What could ship.
        target: Runs both.
        data: The samples.
        batch: How many at a time.
    """
    with (
        target.open(original, threads=0, timed=False) as one,
        target.open(candidate, threads=0, timed=False) as other,
    ):
        return metric.evaluate({BASELINE: one, RESULT: other}, data, batch)


def measure_changed(pair: Pair, data: CalibrationSet, metrics: Sequence[Metric]) -> Changed:
    """Where original and result differ, sample by sample, in a pass of its own over the data.

    Args:
        pair: The models.
        data: The samples that quality was measured on.
        metrics: What it was measured in: they tell whether outputs are decisions.
    """
    with pair.progress.stage("compare decisions"), ExitStack() as stack:
        original, result = (
            stack.enter_context(pair.target.open(built.model, threads=0, timed=False))
            for built in (pair.original, pair.result)
        )
        runners = {BASELINE: original, RESULT: result}
        batch = pair.prepared.fixed_batch or pair.recipe.quantize.batch
        compared = changed_decisions if decides(metrics, data, original.outputs) else largest_errors
        return compared(runners, data, batch)


def measure_quality(pair: Pair, data: CalibrationSet, words: str) -> tuple[QualityResult, ...]:
    """`measure_scores`, told; `words` say which data it is, for the report."""
    return tuple(
        summarized(metric, scores, data_words=words, seed=pair.recipe.seed)
        for metric, scores in measure_scores(pair, data)
    )


def metrics_for(
    recipe: Recipe, data: CalibrationSet, outputs: Sequence[TensorSpec]
) -> tuple[Metric, ...]:
    """The metric that the recipe names, or those that fit data and outputs; the first decides."""
    if recipe.measure.metric is None:
        return default_metrics(data, outputs)
    return (find_metric(recipe.measure.metric),)


def size(built: Artifact, model: ir.Model, feeds: Arrays) -> Size:
    """Bytes on disk with external data, parameters, and MACs of one sample."""
    counted = macs(model, feeds)
    return Size(
        file_bytes=sum(file.stat().st_size for file in built.files),
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
