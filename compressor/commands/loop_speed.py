"""How fast a loop is on what ships: a generation, and the calls in it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from compressor.commands.loop_job import Job
from compressor.evaluation.clocks import Clocks
from compressor.evaluation.parts import race_of_parts
from compressor.evaluation.racing import race
from compressor.graph.tensors import Array
from compressor.pipelines.loop import SEED, Opener, UserLoop
from compressor.pipelines.rates import Rated
from compressor.pipelines.together import Together
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.system.processors import available_processors

L = TypeVar("L", bound=Together)


def loop_latency(job: Job) -> tuple[LatencyResult | None, str | None]:
    """A generation on the graphs that speed is compared with, and on what ships."""
    reason = job.target.why_not_measurable()
    if reason is not None:
        return None, f"nothing runs as it will: {reason}"
    before, after = _timed(job, Together)
    with job.progress.stage("measure the pipeline's latency"):
        found = race(
            before,
            after,
            _seeds(job),
            _configuration(job),
            deciding=True,
            seconds=job.recipe.measure.seconds,
            again=1,
        )
    return (found, None) if found.is_known else (None, found.reason)


def loop_rates(job: Job) -> dict[str, LatencyResult]:
    """Part of a generation → its times: until a graph's first result, and each call after that."""
    if job.target.why_not_measurable() is not None or all(
        g.calls <= 1 for g in job.graphs.values()
    ):
        return {}
    clocks = Clocks()
    before, after = _timed(job, partial(Rated, clocks=clocks))
    with job.progress.stage("measure calls a second"):
        return race_of_parts(
            before,
            after,
            _seeds(job),
            _configuration(job),
            seconds=job.recipe.measure.seconds / 2,
            clocks=clocks,
        )


def _timed(
    job: Job, kind: Callable[[UserLoop, Mapping[str, Opener]], L]
) -> tuple[Callable[[], L], Callable[[], L]]:
    """Opens the loop on what speed is compared with, and on what ships, to be timed."""
    pipeline, threads = job.pipeline, _configuration(job).threads
    before = {name: one.decided.baseline for name, one in job.graphs.items()}

    def opened(models: Mapping[str, ir.Model]) -> L:
        return kind(pipeline.loop, pipeline.openers(models, threads, timed=True))

    return lambda: opened(before), lambda: opened(pipeline.current)


def _configuration(job: Job) -> LatencyConfig:
    measure, cores = job.recipe.measure, available_processors()
    return LatencyConfig(batch=measure.batch, threads=min(measure.threads or cores, cores))


def _seeds(job: Job) -> dict[str, Array]:
    """One generation of as many units as decide."""
    return {SEED: np.full(job.recipe.measure.batch, job.seed, np.int64)}
