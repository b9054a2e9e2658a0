"""Timing over many inferences."""

import numpy as np
from graphs import residual

from compressor.evaluation.cycling import mean_of, over
from compressor.graph.tensors import Arrays
from compressor.results.measurements import LatencyConfig, LatencyResult, Timing
from exporters.base import find_target


def test_a_bound_call_runs_every_inference() -> None:
    seen: list[float] = []
    with find_target("ort").open(residual()) as inner:
        bind = inner.bind

        def counted(feeds: Arrays):
            run = bind(feeds)
            return lambda: (seen.append(float(feeds["x"].flat[0])), run())

        inner.bind = counted  # type: ignore[method-assign]
        calls = [{"x": np.full((1, 32, 8, 8), i, np.float32)} for i in range(3)]
        assert over(inner, []) is inner
        run = over(inner, calls).bind({})
        run()
    assert seen == [0, 1, 2]


def test_times_are_those_of_one_inference() -> None:
    timing = Timing(median_ms=8.0, p95_ms=12.0, trace=(8.0, 4.0))
    found = LatencyResult(
        config=LatencyConfig(batch=1, threads=1), deciding=True, rounds=1, baseline=timing,
        result=None, ratio=None, interval=None, verdict="undecided",
    )  # fmt: skip
    mean = mean_of(found, 4).baseline
    assert mean == Timing(median_ms=2.0, p95_ms=3.0, trace=(2.0, 1.0))
    assert mean_of(found, 0) is found
