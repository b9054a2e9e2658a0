"""Latency of two runners, compared fairly, also on a machine that others use.

Timing one model after the other compares the minutes in which they ran. Here both are timed in
turn in one process: every round is one sample of each, and the order alternates (A B, B A, ...),
so that drift of the machine and the advantage of going first fall on both alike.

Taking turns has an effect of its own, which is waited out untimed before each sample. The caches
hold the other model. And the idle threads of a runtime spin for tens of milliseconds (38 in ONNX
Runtime) in the hope of more work, on the cores that the other model's threads need now: without
the wait, two copies of one model on all cores take twice the time that either takes alone.

Where others want the processor, a long inference loses it nearly always and a short one seldom, so
that any statistic of the time that passes is wrong by factors, and its spread does not tell. So:

- On one thread the ratio is of the thread's own time, which does not pass while others run, in
  rounds that had the whole core (`pace`); where there are too few of these it is of all, and
  that is said. Times are those of samples that kept the processor; where there are too few,
  the 25th percentile of the thread's time, and the result says that.
- On several threads, on a GPU, or where an inference sleeps, the time that passes is all there is:
  only rounds count in which others took less than a tenth of the machine, and where too few are
  left there is no ratio, with the reason.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.evaluation.clocks import Clocks
from compressor.evaluation.feeding import feeds_for
from compressor.evaluation.intervals import significant
from compressor.evaluation.load import Load
from compressor.evaluation.pace import FULL
from compressor.evaluation.pairing import Estimate, FloatArray, estimate, estimate_of_sessions
from compressor.evaluation.rounds import (
    LEAST_WHOLE,
    WANTED_ROUNDS,
    Course,
    TurnPlan,
    plan_of,
    repeats_of,
    warm_up,
)
from compressor.graph.tensors import Arrays
from compressor.results.measurements import (
    TOO_BUSY,
    Conditions,
    LatencyConfig,
    LatencyResult,
    Timing,
    Verdict,
)
from compressor.results.records import Interval
from exporters.base import Runner

BoolArray = npt.NDArray[np.bool_]

TRACE = 200
CLEAN = 20
"""Samples that kept the processor from which their times are those of the model."""
BUSY = 0.5
"""Share of samples that kept the processor, or of rounds that others left alone, below which the
machine counts as busy."""
OPEN = 1.2
"""How far an interval that holds 1 may reach before it decides nothing."""
LEAST_QUIET = 3
_WARM_UP_SHARE = 0.1


@dataclass(frozen=True)
class PairTimings:
    """Timings of one pair of runners.

    Attributes:
        walls: Nanoseconds, of shape (2, rounds, samples).
        cpus: Nanoseconds of the thread's CPU time, of the same shape.
        kept: Which samples kept the processor, of the same shape.
        quiet: Which rounds others left alone.
        slowness: How much slower the processor was than it can be, of each round.
        logs: log(baseline / result) of each round.
        on_thread: Whether it is CPU time that counts.
        foreign: The share of the machine that others took; None where unknown.
        stolen: The share of the machine that the host took; None where unknown.
        throttled: Seconds that a quota took; None where there is none.
    """

    walls: FloatArray
    cpus: FloatArray
    kept: FloatArray
    quiet: FloatArray
    slowness: FloatArray
    logs: FloatArray
    on_thread: bool
    foreign: float | None
    stolen: float | None
    throttled: float | None


def compare_latency(
    baseline: Runner,
    result: Runner,
    feeds: Arrays,
    config: LatencyConfig,
    *,
    deciding: bool,
    seconds: float,
    clocks: Clocks | None = None,
) -> LatencyResult:
    """Time both runners in turn on the same feeds.

    After a warm-up until times are stable, at most a tenth of `seconds` each, rounds are taken
    until the interval is narrow, or `seconds` are over. Garbage collection waits. A sample is one
    inference, or the mean of as many as fill 200 µs. With several threads a round has a burst of
    samples of each, as it has to wait long before.

    Args:
        baseline: The original, opened with `config.threads`.
        result: What it is compared with, likewise.
        feeds: One batch of `config.batch` samples.
        config: What is being measured.
        deciding: Whether the verdict of the run rests on this configuration.
        seconds: How long to measure at most; twice that where others leave few rounds.
        clocks: What to time with.

    Returns:
        As `result_of`, of one session. On several threads sessions differ: see `racing.race`.
    """
    session = take_session(baseline, result, feeds, config, seconds=seconds, clocks=clocks)
    return result_of([session], config, deciding=deciding)


def take_session(
    baseline: Runner,
    result: Runner,
    feeds: Arrays,
    config: LatencyConfig,
    *,
    seconds: float,
    clocks: Clocks | None = None,
    after: Callable[[int], None] = lambda index: None,
) -> PairTimings:
    """The rounds of one pair of runners; arguments as of `compare_latency`.

    `after` is told, behind each sample, whether it was of the original (0) or the result (1).
    """
    clocks = clocks or Clocks()
    runners = (baseline, result)
    runs = [runner.bind(feeds_for(runner, feeds)) for runner in runners]
    with _gc_paused():
        load = Load(clocks)
        warm = [warm_up(run, _WARM_UP_SHARE * seconds, clocks) for run in runs]
        computes = all(_is_on_caller(runner, config) for runner in runners)
        on_thread = computes and clocks.thread is not None and not any(w.blocks for w in warm)
        course = Course(clocks, load, seconds, on_thread)
        slower = max(one.nanoseconds for one in warm)
        plan = plan_of(slower, threaded=config.threads != 1)
        course.take(runs, [repeats_of(one.nanoseconds) for one in warm], plan, after)
    return PairTimings(
        walls=course.walls(),
        cpus=course.cpus(),
        kept=course.kept_core(),
        quiet=course.quiet(),
        slowness=course.slowness(),
        logs=course.logs(),
        on_thread=on_thread,
        foreign=load.foreign(),
        stolen=load.stolen(),
        throttled=load.throttled(),
    )


def _is_on_caller(runner: Runner, config: LatencyConfig) -> bool:
    """Whether the calling thread does all the work of an inference."""
    return config.threads == 1 and runner.on_caller


def result_of(
    sessions: Sequence[PairTimings], config: LatencyConfig, *, deciding: bool
) -> LatencyResult:
    """What sessions of one pair of models say together.

    Returns:
        Timings, ratio, its 95 % interval (`pairing`) and the verdict: "no significant difference"
        where it holds 1, and "undecided" where it also reaches beyond `OPEN` to either side. On a
        machine too busy for the method there is a reason instead.
    """
    on_thread = all(session.on_thread for session in sessions)
    whole = _whole(np.concatenate([session.slowness for session in sessions]))
    conditions = _conditions(sessions, whole, on_thread=on_thread)
    foreign = _assumed(conditions)
    rounds = sum(len(session.logs) for session in sessions)
    found: Estimate | None
    times: tuple[Timing, Timing] | None
    if on_thread:
        logs = np.concatenate([s.logs for s in sessions])
        found = estimate(logs[whole], foreign)
        times = _thread_timings(sessions, whole)
    else:
        found, times = _of_quiet_rounds(sessions, config, foreign)
    refused = LatencyResult(
        config=config,
        deciding=deciding,
        rounds=rounds,
        baseline=None,
        result=None,
        ratio=None,
        interval=None,
        verdict="undecided",
        sessions=len(sessions),
        method="cpu time" if on_thread else "wall time",
        conditions=conditions,
        reason=_refusal(conditions, config),
    )
    if found is None or times is None:
        return refused
    known = {
        "baseline": times[0],
        "result": times[1],
        "ratio": found.ratio,
        "interval": found.interval,
        "verdict": verdict(found.interval),
        "reason": None,
    }
    return refused.model_copy(update=known)


def time_runner(
    runner: Runner, feeds: Arrays, *, threads: int, seconds: float, clocks: Clocks | None = None
) -> Timing:
    """Time one runner alone, with nobody to wait for: for a profile, not for a comparison."""
    clocks = clocks or Clocks()
    run = runner.bind(feeds_for(runner, feeds))
    with _gc_paused():
        warm = warm_up(run, _WARM_UP_SHARE * seconds, clocks)
        computes = threads == 1 and runner.on_caller
        on_thread = computes and clocks.thread is not None and not warm.blocks
        course = Course(clocks, Load(clocks), seconds, on_thread)
        course.take([run], [repeats_of(warm.nanoseconds)], TurnPlan(wait=0, samples=1))
    whole = _whole(course.slowness())
    walls, cpus = course.walls()[0][whole], course.cpus()[0][whole]
    kept = course.kept_core()[0][whole] > 0
    if not on_thread:
        return _timing(walls, "wall time")
    return _timing(walls[kept], "wall time") if _is_enough(kept) else _thread_timing(cpus, walls)


def verdict(interval: Interval) -> Verdict:
    """What an interval of baseline over result says about the result."""
    if significant(interval, null=1.0):
        return "faster" if interval.low > 1.0 else "slower"
    is_open = interval.high > OPEN or interval.low < 1 / OPEN
    return "undecided" if is_open else "no significant difference"


def _whole(slowness: FloatArray) -> BoolArray:
    """Which rounds had the core to themselves; all, where those are not enough to be of use."""
    whole = np.asarray(slowness <= FULL)
    least = max(_enough(len(whole)), LEAST_WHOLE * len(whole))
    return whole if whole.sum() >= least else np.ones_like(whole)


def _enough(rounds: int) -> int:
    """Undisturbed ones of so many."""
    return max(min(LEAST_QUIET, rounds), min(WANTED_ROUNDS, rounds // 2))


def _thread_timings(sessions: Sequence[PairTimings], whole: BoolArray) -> tuple[Timing, Timing]:
    """Timings of samples that kept the processor, if both models have enough; else CPU times."""
    walls, cpus, kept = (
        [
            np.concatenate([getattr(s, name)[side] for s in sessions])[whole].ravel()
            for side in (0, 1)
        ]
        for name in ("walls", "cpus", "kept")
    )
    if all(_is_enough(one) for one in kept):
        first, second = (_timing(walls[i][kept[i] > 0], "wall time") for i in (0, 1))
    else:
        first, second = (_thread_timing(cpus[i], walls[i]) for i in (0, 1))
    return first, second


def _is_enough(kept: FloatArray) -> bool:
    count = int(np.sum(kept))
    return count >= CLEAN or count >= max(2.0, BUSY * kept.size)


def _of_quiet_rounds(
    sessions: Sequence[PairTimings], config: LatencyConfig, foreign: float
) -> tuple[Estimate | None, tuple[Timing, Timing] | None]:
    """Estimate and timings of rounds that others left alone; None where too few are left."""
    quiet = [session.quiet > 0 for session in sessions]
    total = sum(len(session.quiet) for session in sessions)
    enough = _enough(total)
    used = [(s, q) for s, q in zip(sessions, quiet, strict=True) if q.sum() >= 2]
    if sum(int(q.sum()) for _, q in used) < enough or not used:
        return None, None
    logs = [session.logs[q] for session, q in used]
    if config.threads == 1:
        found = estimate(np.concatenate(logs), foreign)
    else:
        found = estimate_of_sessions(logs, foreign)
    pooled = (np.concatenate([s.walls[side][q].ravel() for s, q in used]) for side in (0, 1))
    first, second = (_timing(times, "wall time") for times in pooled)
    return found, (first, second)


def _conditions(
    sessions: Sequence[PairTimings], whole: BoolArray, *, on_thread: bool
) -> Conditions:
    slowness = 1.0
    if on_thread:
        shares = [np.concatenate([s.kept[i].ravel() for s in sessions]).mean() for i in (0, 1)]
        clean = float(min(shares))
        around = float(np.median(np.concatenate([s.slowness for s in sessions])[whole]))
        slowness = around if around > FULL else 1.0
    else:
        clean = float(np.concatenate([s.quiet for s in sessions]).mean())
    return Conditions(
        busy=clean < BUSY or slowness > 1,
        slowness=slowness,
        foreign=_mean([session.foreign for session in sessions]),
        clean=clean,
        stolen=_mean([session.stolen for session in sessions]),
        throttled_seconds=_sum([session.throttled for session in sessions]),
    )


def _assumed(conditions: Conditions) -> float:
    """The foreign share that widens an interval; where unknown, what samples lost tells of it."""
    return 1 - (conditions.clean or 0.0) if conditions.foreign is None else conditions.foreign


def _refusal(conditions: Conditions, config: LatencyConfig) -> str:
    share = "" if conditions.foreign is None else f"others took {100 * conditions.foreign:.0f} %"
    told = f"{TOO_BUSY}: {share or 'others worked'}, and "
    if config.threads == 1:
        return f"{told}an inference that waits can only be timed on a quiet machine"
    return (
        f"{told}{config.threads} threads can only be timed on a quiet machine; one thread "
        "can be timed on a busy one (--threads 1)"
    )


def _timing(nanoseconds: FloatArray, method: str) -> Timing:
    milliseconds = nanoseconds.ravel() / 1e6
    return _told(milliseconds, float(np.median(milliseconds)), method)


def _thread_timing(cpus: FloatArray, walls: FloatArray) -> Timing:
    """The 25th percentile: what is above is mostly caches that others have emptied.

    Beside it what passed, which an inference that waits has much more of.
    """
    milliseconds = cpus.ravel() / 1e6
    told = _told(milliseconds, float(np.percentile(milliseconds, 25)), "cpu time")
    return told.model_copy(update={"wall_ms": float(np.percentile(walls.ravel() / 1e6, 25))})


def _told(milliseconds: FloatArray, middle: float, method: str) -> Timing:
    count = len(milliseconds)
    picked = np.linspace(0, count - 1, min(count, TRACE)).round().astype(int)
    return Timing.model_validate(
        {
            "median_ms": middle,
            "p95_ms": float(np.percentile(milliseconds, 95)),
            "trace": tuple(float(value) for value in milliseconds[picked]),
            "method": method,
        }
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@contextmanager
def _gc_paused() -> Iterator[None]:
    """No collection in between; whatever was enabled before is enabled after.

    Nor one before: beside torch it takes as long as a short measurement, and changes none.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
