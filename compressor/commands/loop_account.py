"""Builds, measures and accounts for the graphs of a loop, and for the loop itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from compressor.commands.account import Finished, account, write_account
from compressor.commands.carrying import at_top
from compressor.commands.final_measurements import (
    INTERRUPTED,
    Measurements,
    measured,
    unmeasured,
)
from compressor.commands.finishing import build_pair, interruption_words
from compressor.commands.goals_met import pipeline_goal
from compressor.commands.loop_job import BATCH, CONFIRMATIONS, WORDS, Graph, Job
from compressor.commands.loop_speed import loop_latency, loop_rates
from compressor.commands.stating import metadata_of, stated
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.graph.shared_weights import DATA, Sharing, saved_bytes, share_weights
from compressor.graph.tensors import Arrays
from compressor.pipelines.drift import errors_by_part
from compressor.pipelines.loop import SEED, Loop
from compressor.pipelines.rates import EACH, FIRST
from compressor.pipelines.sheet import Sheet, sheet
from compressor.pipelines.tracing import recorded
from compressor.plan.plan import Plan
from compressor.results.format import size as bytes_words
from compressor.results.graph_report import GraphReport
from compressor.results.measurements import LatencyResult, Size
from compressor.results.pipeline import LoopGraph, PipelineResult
from compressor.results.report import Report
from compressor.search.candidate import ships_float
from compressor.search.measure import Pair, told
from compressor.system.output_folder import written_aside
from compressor.system.sparing import spared
from compressor.system.stopwatch import Stopwatch
from exporters.base import Artifact

LISTENED = 64
"""Calls of a graph in one run that its error is looked at in, at most."""


def written(
    job: Job, directory: Path, plan: Plan | None, watch: Stopwatch, command: str | None
) -> Report:
    """Build, measure and account for all of it."""
    made = plan or Plan(
        target=job.target.name,
        seed=job.recipe.seed,
        graphs={name: one.decided.plan for name, one in job.graphs.items()},
    )
    with written_aside(directory) as folder:
        pairs = _with_shared(job, {name: _built(job, name, folder) for name in job.graphs}, folder)
        if plan is None:
            made = made.model_copy(update={"metadata": _metadata(job, pairs)})
        pairs = {
            name: pair.moved(stated(pair.result, made.metadata.get(name, {})))
            for name, pair in pairs.items()
        }
        finished = {name: _finished(job, name, pair, made) for name, pair in pairs.items()}
        report = account(
            finished, directory, seconds=0.0, command=command, notices=tuple(job.notices)
        )
        result, goal = _result(job, report.graphs), job.recipe.prune.goal
        if goal is not None:
            met = pipeline_goal(goal, result, report.graphs)
            result = result.model_copy(update={"goal": met})
        report = report.model_copy(update={"pipeline": result, "seconds": watch.seconds})
        report = write_account(
            folder, made, report, job.recipe, job.loop.defaults, beside=job.folder
        )
    if job.interrupted:
        assert job.budget is not None, "without one nothing is written"
        raise KeyboardInterrupt(interruption_words(directory, job.budget))
    return report


def _metadata(job: Job, pairs: Mapping[str, Pair]) -> dict[str, dict[str, str]]:
    """Graph → what its artifact says of itself; the budget is that of all of them together."""
    return {
        name: metadata_of(job.graphs[name].decided, pair, job.budget, job.folder, None)
        for name, pair in pairs.items()
    }


def _built(job: Job, name: str, folder: Path) -> Pair:
    """One graph, built into its own folder."""
    graph = job.graphs[name]
    own, scratch = folder / name, job.scratch / f"built-{name}"
    own.mkdir()
    scratch.mkdir()
    return build_pair(graph.decided, graph.session, own, scratch)


def _with_shared(job: Job, pairs: dict[str, Pair], folder: Path) -> dict[str, Pair]:
    """With what graphs have in common stored once, where the runtime lets them read one file."""
    if not job.target.shares_weights:
        return pairs
    if job.folder is not None:
        places = {name: at_top(name, pair.result, folder) for name, pair in pairs.items()}
        pairs = {name: pair.moved(places[name]) for name, pair in pairs.items()}
    found = share_weights({name: pair.result.model for name, pair in pairs.items()}, folder)
    job.shared_bytes = saved_bytes(found)
    if found:
        job.notices.append(
            f"{', '.join(found)} read their weights from {DATA}, in which what they have in common "
            f"is stored once: {bytes_words(job.shared_bytes)} less"
        )
    return {
        name: pair.moved(_moved(pair.result, found[name])) if name in found else pair
        for name, pair in pairs.items()
    }


def _moved(artifact: Artifact, to: Sharing) -> Artifact:
    """An artifact whose weights lie in a file of several."""
    return replace(artifact, model=to.model, files=(to.model, to.data), own_bytes=to.bytes)


def _finished(job: Job, name: str, pair: Pair, plan: Plan) -> Finished:
    """One graph, measured on its recorded calls."""
    graph = job.graphs[name]
    return Finished(graph.decided, pair, _measured(job, graph, pair), graph.data, None, plan)


def _measured(job: Job, graph: Graph, pair: Pair) -> Measurements:
    """What is measured of a graph by itself, until the user ends a run with a verdict."""
    if not job.interrupted:
        try:
            return measured(graph.decided, pair, graph.data, None)
        except KeyboardInterrupt:
            if job.budget is None:
                raise
            job.interrupted = True
    return unmeasured(pair, None)


def _result(job: Job, graphs: Mapping[str, GraphReport]) -> PipelineResult:
    """What the loop makes of what ships, and what that takes."""
    if not job.interrupted:
        try:
            return _measured_loop(job, graphs)
        except KeyboardInterrupt:
            if job.budget is None:
                raise
            job.interrupted = True
    return _told(job, graphs)


def _told(
    job: Job,
    graphs: Mapping[str, GraphReport],
    rates: Mapping[str, LatencyResult] = MappingProxyType({}),
    **found: Any,
) -> PipelineResult:
    """What is known of the loop; without measurements the run was interrupted."""
    sizes = [(one.baseline_size, one.result_size) for one in graphs.values()]
    before, after = (_together(job, list(which)) for which in zip(*sizes, strict=True))
    missing = {"latency_reason": INTERRUPTED, "quality_reason": INTERRUPTED}
    missing |= {"worst_reason": INTERRUPTED}
    return PipelineResult(
        name=job.loop.name,
        units=job.units.count,
        traced=job.units.traced,
        memory_reason="it is measured of each graph",
        baseline_size=before,
        result_size=after.model_copy(update={"file_bytes": after.file_bytes - job.shared_bytes}),
        shared_bytes=job.shared_bytes,
        budget=job.budget,
        stepped_back=tuple(job.stepped_back),
        graphs=_shares(job, rates, errors=bool(found)),
        **(found or missing),
    )


def _measured_loop(job: Job, graphs: Mapping[str, GraphReport]) -> PipelineResult:
    """Its quality, its latency, and where errors arise."""
    pipeline, yardstick = job.pipeline, job.pipeline.yardstick
    assert yardstick is not None, "the outputs were looked at"
    units, words = job.units, f"{WORDS}, of seeds that no decision has seen"
    data = units.of(CONFIRMATIONS - 1, units.count)
    with (
        job.progress.stage("measure the pipeline's quality"),
        pipeline.original() as one,
        pipeline.opened(pipeline.current) as other,
    ):
        runners = {BASELINE: one, RESULT: other}
        scored = [
            (metric, yardstick.scores(metric, runners, data, BATCH)) for metric in yardstick.metrics
        ]
        outputs = output_results(runners, data, BATCH, yardstick)
        shown = yardstick.primary or next(spec.name for spec in one.outputs)
        seen, unseen = spared(
            lambda: (sheet(one, other, data, shown), None), lambda reason: (Sheet((), ()), reason)
        )
    latency, reason = loop_latency(job)
    rates: dict[str, LatencyResult] = spared(lambda: loop_rates(job), lambda _: {})
    return _told(
        job,
        graphs,
        quality=told(scored, yardstick, words, units.base),
        quality_reason=None if scored else yardstick.reason,
        outputs=outputs,
        latency=() if latency is None else (latency,),
        latency_reason=reason,
        rates=rates,
        worst=seen.worst,
        worst_reason=unseen,
        clusters=seen.clusters,
    )


def _together(job: Job, sizes: Sequence[Size]) -> Size:
    """Sizes of all graphs together; a unit's MACs are those of every call."""
    calls = [job.graphs[name].calls for name in job.graphs]
    macs = [size.macs for size in sizes]
    return Size(
        file_bytes=sum(size.file_bytes for size in sizes),
        parameters=sum(size.parameters for size in sizes),
        macs=None
        if None in macs
        else round(sum(one * count for one, count in zip(macs, calls, strict=True) if one)),
        macs_reason="of one graph they are not known" if None in macs else None,
    )


def _shares(job: Job, rates: Mapping[str, LatencyResult], *, errors: bool) -> dict[str, LoopGraph]:
    """What each graph is to the loop, the costliest first."""
    whole = sum(one.seconds for one in job.graphs.values()) or 1.0
    return {
        name: LoopGraph(
            calls=job.graphs[name].calls,
            share=job.graphs[name].seconds / whole,
            errors=_errors(job, name) if errors else (),
            noun=_noun(job, name),
            first=rates.get(f"{name} {FIRST}"),
            each=rates.get(f"{name} {EACH}"),
        )
        for name in job.order
    }


def _noun(job: Job, name: str) -> str:
    """What a call of a graph makes: a built-in loop says that of the graph that it is about."""
    loop = job.loop.generate
    noun, main = getattr(loop, "noun", None), getattr(loop, "main", None)
    is_main = callable(main) and main(job.graphs) == name
    return noun if isinstance(noun, str) and is_main else "call"


def _errors(job: Job, name: str) -> tuple[float, ...]:
    """Where in a run the graph's error arises."""
    pipeline, graph = job.pipeline, job.graphs[name]
    if ships_float(graph.decided.plan):
        return ()
    calls: list[Arrays] = []

    every, index = max(1, round(graph.calls / LISTENED)), iter(range(10**9))

    def listen(called: str, feeds: Arrays) -> None:
        if called == name and next(index) % every == 0:
            calls.append({key: np.array(array) for key, array in feeds.items()})

    openers = recorded(pipeline.openers(pipeline.originals), listen)
    with Loop(job.loop, openers) as loop:
        loop.run({SEED: np.array(job.looked_into, np.int64)})
    with (
        job.target.open(pipeline.originals[name], threads=0, timed=False) as one,
        job.target.open(pipeline.current[name], threads=0, timed=False) as other,
    ):
        return errors_by_part(one, other, calls)
