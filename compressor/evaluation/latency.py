"""Latency of two runners, compared fairly.

Timing one model after the other compares the minutes in which they ran. Here both are timed in
turn in one process: every round is one sample of each, and the order alternates (A B, B A, ...),
so that drift of the machine and the advantage of going first fall on both alike.

Taking turns has an effect of its own, which is waited out untimed before each sample. The caches
hold the other model. And the idle threads of a runtime spin for tens of milliseconds (38 in ONNX
Runtime) in the hope of more work, on the cores that the other model's threads need now: without
the wait, two copies of one model on all cores take twice the time that either takes alone.
"""

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from compressor.evaluation.feeding import feeds_for
from compressor.evaluation.intervals import FloatArray, median_ratio, significant, widened
from compressor.evaluation.results import LatencyConfig, LatencyResult, Timing, Verdict
from compressor.graph.tensors import Arrays
from compressor.records import Interval
from exporters.base import Runner

MAX_ROUNDS = 2000
WANTED_ROUNDS = 20
"""Taken even where `seconds` are over, by up to a half."""
MIN_ROUNDS = 5
"""Taken even then: fewer say nothing about spread."""
PATIENCE = 15
"""Times `seconds`, after which even `MIN_ROUNDS` are not waited for."""
TRACE = 200
SESSION_SPREAD = 0.02
"""Two sessions of one model differ by up to so much (95 %), by where memory came to lie. Rounds of
one pair of sessions cannot show it, so that it is added to the interval."""

_MS = 1_000_000
_SPIN = 50 * _MS
"""Nanoseconds that a runner works untimed while the other one's threads spin out."""
_SHORTEST = 50_000
"""Nanoseconds of a sample. Reading the clock costs about 50: a thousandth of this."""
_BURST = 20 * _MS
"""Nanoseconds of samples taken once the other one's threads are at rest."""
_MOST_IN_BURST = 20
_WARM_UP_SHARE = 0.1
_WINDOW = 5
_STABLE = 0.05

Inference = Callable[[], None]


def compare_latency(
    baseline: Runner,
    result: Runner,
    feeds: Arrays,
    config: LatencyConfig,
    *,
    deciding: bool,
    seconds: float,
    seed: int,
) -> LatencyResult:
    """Time both runners in turn on the same feeds.

    After a warm-up until times are stable, at most a tenth of `seconds` each, rounds are taken
    until `seconds` are over or there are `MAX_ROUNDS`. Garbage collection waits. A sample is one
    inference, or the mean of as many as fill 50 µs. With several threads a round has a burst of
    samples of each, as it has to wait long before.

    Args:
        baseline: The original, opened with `config.threads`.
        result: What it is compared with, likewise.
        feeds: One batch of `config.batch` samples.
        config: What is being measured.
        deciding: Whether the verdict of the run rests on this configuration.
        seconds: How long to measure.
        seed: Of the bootstrap.

    Returns:
        Both timings, ratio = median(baseline) / median(result), its 95 % interval
        (`intervals.median_ratio`, widened by `SESSION_SPREAD`) and the verdict: "no significant
        difference" when it holds 1.
    """
    runs = [runner.bind(feeds_for(runner, feeds)) for runner in (baseline, result)]
    with _gc_paused():
        estimates = [_warm_up(run, _WARM_UP_SHARE * seconds) for run in runs]
        plan = _plan(max(estimates), threaded=config.threads != 1)
        repeats = [_repeats(estimate) for estimate in estimates]
        samples = _interleave(runs, repeats, plan, seconds)
    timings = [_timing(of_one) for of_one in samples]
    ratio = timings[0].median_ms / timings[1].median_ms
    resampled = median_ratio(samples[0], samples[1], seed=seed)
    interval = widened(resampled, ratio, SESSION_SPREAD)
    return LatencyResult(
        config=config,
        deciding=deciding,
        rounds=samples.shape[1],
        baseline=timings[0],
        result=timings[1],
        ratio=ratio,
        interval=interval,
        verdict=verdict(interval),
    )


def time_runner(runner: Runner, feeds: Arrays, *, seconds: float) -> Timing:
    """Time one runner alone, with nobody to wait for: for a profile, not for a comparison."""
    run = runner.bind(feeds_for(runner, feeds))
    with _gc_paused():
        repeats = _repeats(_warm_up(run, _WARM_UP_SHARE * seconds))
        samples = _interleave([run], [repeats], _Plan(wait=0, samples=1), seconds)
    return _timing(samples[0])


def verdict(interval: Interval) -> Verdict:
    """What an interval of median(baseline) / median(result) says about the result."""
    if not significant(interval, null=1.0):
        return "no significant difference"
    return "faster" if interval.low > 1.0 else "slower"


def _warm_up(run: Inference, limit: float) -> float:
    """Run until the median of five inferences is within 5 % of that of the five before.

    Returns:
        Nanoseconds of one inference, near enough to choose the length of a sample.
    """
    deadline = perf_counter_ns() + limit * 1e9
    times: list[float] = []
    while True:
        times.append(_sample(run, 1))
        if perf_counter_ns() >= deadline:
            break
        if len(times) >= 2 * _WINDOW:
            before, now = np.median(times[-2 * _WINDOW : -_WINDOW]), np.median(times[-_WINDOW:])
            if abs(now - before) <= _STABLE * before:
                break
    return float(np.median(times[-_WINDOW:]))


@dataclass(frozen=True)
class _Plan:
    """A turn: the runner works untimed for `wait` nanoseconds, then for so many `samples`."""

    wait: float
    samples: int


def _plan(slower: float, *, threaded: bool) -> _Plan:
    """For inferences of so many nanoseconds. Long ones do not wait: on them little weighs."""
    if not threaded:
        return _Plan(wait=1 if slower < 10 * _MS else 0, samples=1)  # one inference warms caches
    burst = min(_MOST_IN_BURST, math.ceil(_BURST / max(slower, _SHORTEST)))
    return _Plan(wait=_SPIN if slower < 1000 * _MS else 0, samples=burst)


def _repeats(nanoseconds: float) -> int:
    return max(1, math.ceil(_SHORTEST / max(nanoseconds, 1.0)))


def _interleave(
    runs: Sequence[Inference], repeats: Sequence[int], plan: _Plan, seconds: float
) -> FloatArray:
    """Give every runner a turn per round, in alternating order.

    Returns:
        Nanoseconds, of shape (runners, rounds, samples).
    """
    order = list(range(len(runs)))
    rounds: list[list[list[float]]] = []
    start = perf_counter_ns()
    while not _enough(len(rounds), (perf_counter_ns() - start) / 1e9, seconds):
        times: list[list[float]] = [[] for _ in runs]
        for index in order:
            _work_untimed(runs[index], plan.wait)
            times[index] = [_sample(runs[index], repeats[index]) for _ in range(plan.samples)]
        rounds.append(times)
        order.reverse()
    return np.asarray(rounds).swapaxes(0, 1)


def _work_untimed(run: Inference, wait: float) -> None:
    """At least one inference, unless there is nothing to wait for."""
    if not wait:
        return
    begun = perf_counter_ns()
    run()
    while perf_counter_ns() - begun < wait:
        run()


def _enough(rounds: int, elapsed: float, seconds: float) -> bool:
    if rounds < 2:
        return False
    if rounds < MIN_ROUNDS:
        return elapsed >= PATIENCE * seconds
    if rounds < WANTED_ROUNDS:
        return elapsed >= 1.5 * seconds
    return elapsed >= seconds or rounds >= MAX_ROUNDS


def _sample(run: Inference, repeats: int) -> float:
    """Mean nanoseconds of `repeats` inferences in a row."""
    start = perf_counter_ns()
    for _ in range(repeats):
        run()
    return (perf_counter_ns() - start) / repeats


def _timing(nanoseconds: FloatArray) -> Timing:
    milliseconds = nanoseconds.ravel() / 1e6
    count = len(milliseconds)
    picked = np.linspace(0, count - 1, min(count, TRACE)).round().astype(int)
    return Timing(
        median_ms=float(np.median(milliseconds)),
        p95_ms=float(np.percentile(milliseconds, 95)),
        trace=tuple(float(value) for value in milliseconds[picked]),
    )


@contextmanager
def _gc_paused() -> Iterator[None]:
    """No collection in between; whatever was enabled before is enabled after."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
