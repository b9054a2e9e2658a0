"""`compress compare A B --pipeline ...`: one loop on the graphs of two results."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from compressor.checkpoint.features import asked_metric
from compressor.commands.loop_data import dealt
from compressor.commands.loop_job import BATCH, WORDS, Units
from compressor.commands.loop_tracing import (
    JUDGING_SECONDS,
    LEAST_UNITS,
    MOST_UNITS,
    require_target,
)
from compressor.errors import UsageError
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.racing import race
from compressor.evaluation.roles import Roles
from compressor.evaluation.yardstick import choose
from compressor.pipelines.judgeable import require_judgeable
from compressor.pipelines.loading import defaults_in, graphs_of
from compressor.pipelines.loop import SEED, Builtin, Loop, Opener, UserLoop
from compressor.recipe.recipe import Recipe
from compressor.report.files import load_report
from compressor.results.environment import environment
from compressor.results.measurements import LatencyConfig, LatencyResult, Size
from compressor.results.report import Comparison
from compressor.search.measure import told
from compressor.system.processors import available_processors
from compressor.system.progress import Progress
from compressor.system.stopwatch import Stopwatch
from exporters.base import Target

BLOCK = 98
"""The block of seeds that two results are compared on: none that a run decides on."""


def compare_pipelines(
    a: object,
    b: object,
    loop: UserLoop,
    *,
    target: Target,
    recipe: Recipe,
    units: int | None,
    progress: Progress,
) -> Comparison:
    """Measure what a loop makes of two results: B's gain and loss over A.

    Args:
        a: The folder of the baseline, as `compress` wrote it.
        b: That of what it is compared with.
        loop: The loop, which both folders have the graphs of.
        target: What runs them.
        recipe: Metric, features, threads and seed.
        units: How many judge; as many as a minute makes without.
        progress: Where progress is shown.

    Raises:
        OutputError: A folder is no result of ours.
        UsageError: They have other graphs, or the loop fails.
    """
    first, second = (graphs_of(_folder(one)) for one in (a, b))
    loop, again = (replace(loop, defaults=defaults_in(_folder(one))) for one in (a, b))
    _require_same(a, first, b, second)
    one, other = (_openers(target, graphs) for graphs in (first, second))
    seeds = Units(recipe.seed, units or _as_time_allows(loop, one, recipe.seed), 0)
    notices: list[str] = []
    if isinstance(loop, Builtin):
        seeds, notices = dealt(loop, seeds, [BLOCK], recipe, asked=units)
    data = seeds.of(BLOCK, seeds.count)
    with Loop(loop, one) as before, Loop(again, other) as after:
        with progress.stage("look at outputs"):
            made = before.run({SEED: np.array([recipe.seed], np.int64)})
            require_target(recipe, made, loop)
            metric = asked_metric(recipe)
            output = recipe.measure.output or (loop.judged if metric is None else None)
            notices += require_judgeable(loop.name, made, output)
            yardstick = choose(
                before,
                data,
                BATCH,
                roles=Roles(),
                metric=metric,
                output=output,
                reseeded=seeds.reseeded,
            )
        runners = {BASELINE: before, RESULT: after}
        with progress.stage("measure the pipeline's quality"):
            scored = [
                (metric, yardstick.scores(metric, runners, data, BATCH))
                for metric in yardstick.metrics
            ]
            outputs = output_results(runners, data, BATCH, yardstick)
    latency, reason = _latency((loop, again), (first, second), target, recipe, progress)
    return Comparison(
        baseline=str(a),
        result=str(b),
        latency=latency,
        latency_reason=reason,
        quality=told(scored, yardstick, WORDS, recipe.seed),
        quality_reason=None if scored else yardstick.reason,
        outputs=outputs,
        memory_reason="it is measured of each graph",
        baseline_size=_size(_folder(a)),
        result_size=_size(_folder(b)),
        notices=(*notices, *yardstick.notices),
        environment=environment(),
    )


def _require_same(a: object, first: Iterable[str], b: object, second: Iterable[str]) -> None:
    if set(first) != set(second):
        raise UsageError(
            f"{a} has graphs {', '.join(first)}, and {b} has {', '.join(second)}",
            hint="Compare results of the same loop.",
        )


def _folder(given: object) -> Path:
    if not isinstance(given, str | Path):
        raise UsageError(
            f"expected the folder of a result, found {type(given).__name__}",
            hint="Two results of a pipeline are compared by the folders that `compress` wrote.",
        )
    return Path(given)


def _openers(
    target: Target, graphs: Mapping[str, Path], threads: int = 0, *, timed: bool = False
) -> dict[str, Opener]:
    def opener(path: Path) -> Opener:
        return lambda: target.open(path, threads=threads, timed=timed)

    return {name: opener(path) for name, path in graphs.items()}


def _as_time_allows(loop: UserLoop, openers: Mapping[str, Opener], seed: int) -> int:
    """As many units as a run makes in a minute."""
    with Loop(loop, openers) as opened:
        watch = Stopwatch()
        opened.run({SEED: np.array([seed], np.int64)})
        fitting = JUDGING_SECONDS / max(watch.seconds, 1e-6)
    return int(min(max(fitting, LEAST_UNITS), MOST_UNITS))


def _latency(
    loops: tuple[UserLoop, UserLoop],
    graphs: tuple[Mapping[str, Path], Mapping[str, Path]],
    target: Target,
    recipe: Recipe,
    progress: Progress,
) -> tuple[tuple[LatencyResult, ...], str | None]:
    """One unit on both in turn."""
    reason = target.why_not_measurable()
    if reason is not None:
        return (), f"nothing runs as it will: {reason}"
    threads = min(recipe.measure.threads or available_processors(), available_processors())
    before, after = (_openers(target, one, threads, timed=True) for one in graphs)
    with progress.stage("measure the pipeline's latency"):
        found = race(
            lambda: Loop(loops[0], before),
            lambda: Loop(loops[1], after),
            {SEED: np.array([recipe.seed], np.int64)},
            LatencyConfig(batch=1, threads=threads),
            deciding=True,
            seconds=recipe.measure.seconds,
            again=1,
        )
    return ((found,), None) if found.is_known else ((), found.reason)


def _size(folder: Path) -> Size:
    """What the report of a folder says of its size."""
    report = load_report(folder)
    if report.pipeline is not None:
        return report.pipeline.result_size
    return next(iter(report.graphs.values())).result_size
