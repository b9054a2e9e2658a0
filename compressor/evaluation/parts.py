"""Parts of what is timed: a stretch of an inference, by the same rounds as the whole.

A runner that generates text tells when the first token was there, and how long each one took after
that. Both models are timed in turn as ever; of each sample the parts count in place of the whole,
so that what disturbs a round is known of its parts, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from compressor.evaluation.clocks import Clocks
from compressor.evaluation.latency import PairTimings, result_of, take_session
from compressor.evaluation.pairing import FloatArray
from compressor.evaluation.rounds import kept, logs_of
from compressor.graph.tensors import Arrays
from compressor.results.measurements import LatencyConfig, LatencyResult
from exporters.base import Runner


class Parted(Runner, Protocol):
    """A runner that tells how long parts of its last inference took."""

    def parts(self) -> Mapping[str, tuple[float, float]]:
        """Part → nanoseconds that passed, and of the thread's CPU time."""
        ...


def race_of_parts(
    baseline: Callable[[], Parted],
    result: Callable[[], Parted],
    feeds: Arrays,
    config: LatencyConfig,
    *,
    seconds: float,
    clocks: Clocks | None = None,
) -> dict[str, LatencyResult]:
    """Time both in turn, in one session, and tell of every part what is told of the whole.

    Args:
        baseline: Opens the original with `config.threads`.
        result: Opens what it is compared with, likewise.
        feeds: One batch.
        config: What is being measured.
        seconds: How long to measure at most.
        clocks: What to time with.

    Returns:
        Part → its times; of those that each inference of both had.
    """
    taken: tuple[list[Mapping[str, tuple[float, float]]], ...] = ([], [])
    with baseline() as one, result() as other:
        runners = (one, other)
        whole = take_session(
            one,
            other,
            feeds,
            config,
            seconds=seconds,
            clocks=clocks,
            after=lambda index: taken[index].append(runners[index].parts()),
        )
    everywhere = frozenset.intersection(*(frozenset(p) for side in taken for p in side))
    return {
        part: result_of([_of_part(whole, taken, part)], config, deciding=False)
        for part in taken[0][0]
        if part in everywhere
    }


def _of_part(
    whole: PairTimings, taken: tuple[list[Mapping[str, tuple[float, float]]], ...], part: str
) -> PairTimings:
    """The rounds of the whole with the times of a part."""
    times = np.array([[one[part] for one in side] for side in taken], np.float64)
    shape = whole.walls.shape
    walls, cpus = (times[..., which].reshape(shape) for which in (0, 1))
    counted: FloatArray = cpus if whole.on_thread else walls
    return replace(whole, walls=walls, cpus=cpus, kept=kept(walls, cpus), logs=logs_of(counted))
