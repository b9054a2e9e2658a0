"""Two models raced: opened as often as their threads ask for, and again where nothing is decided.

On one thread two sessions of one model differ by 0.3 %. On several, small models of fresh sessions
differ by up to 12 %, by where their threads come to lie: there a race opens both anew.
"""

from collections.abc import Callable
from time import perf_counter

from compressor.evaluation.clocks import Clocks
from compressor.evaluation.latency import PairTimings, result_of, take_session
from compressor.graph.tensors import Arrays
from compressor.results.measurements import LatencyConfig, LatencyResult
from exporters.base import Runner

SESSIONS = 3
"""Fresh pairs on several threads."""
LEAST_SECONDS = 0.5
"""Seconds for each of them; with less, one pair has to do, and its interval says so."""

Opener = Callable[[], Runner]


def race(
    baseline: Opener,
    result: Opener,
    feeds: Arrays,
    config: LatencyConfig,
    *,
    deciding: bool,
    seconds: float,
    again: int = 0,
    clocks: Clocks | None = None,
) -> LatencyResult:
    """Time both in turn.

    Args:
        baseline: Opens the original with `config.threads`.
        result: Opens what it is compared with, likewise.
        feeds: One batch.
        config: What is being measured.
        deciding: Whether the verdict of the run rests on it.
        seconds: How long to measure at most, for all sessions together.
        again: How many more sessions to take where the interval decides nothing.
        clocks: What to time with.
    """
    wanted = SESSIONS if config.threads != 1 and seconds >= SESSIONS * LEAST_SECONDS else 1
    each = seconds / wanted
    sessions: list[PairTimings] = []

    def take() -> float:
        """Another session; seconds that opening took."""
        started = perf_counter()
        with baseline() as one, result() as other:
            opened = perf_counter() - started
            taken = take_session(one, other, feeds, config, seconds=each, clocks=clocks)
        sessions.append(taken)
        return opened

    opening = take()
    if 2 * opening <= seconds:
        while len(sessions) < wanted and not _is_hopeless(sessions):
            take()
    found = result_of(sessions, config, deciding=deciding)
    for _ in range(again):
        if found.verdict != "undecided" or _is_hopeless(sessions):
            break
        take()
        found = result_of(sessions, config, deciding=deciding)
    return found


def _is_hopeless(sessions: list[PairTimings]) -> bool:
    """Whether others left no round alone so far, where only such rounds count."""
    return not any(s.on_thread or s.quiet.any() for s in sessions)


def on_one_thread(config: LatencyConfig) -> LatencyConfig:
    """The configuration that can be timed however busy the machine is."""
    return config.model_copy(update={"threads": 1})
