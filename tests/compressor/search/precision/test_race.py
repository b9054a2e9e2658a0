"""Which precision ships where speeds are compared; whole runs are in test_pipeline.py."""

import pytest

from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.results.records import Interval
from compressor.search.precision.race import verdict as verdict_of

SPEEDS = {"faster": (1.3, 1.2), "no significant difference": (1.1, 0.9), "slower": (0.8, 0.7)}
SPEEDS |= {"undecided": (3.9, 0.93)}


def race(verdict: str) -> LatencyResult:
    middle, low = SPEEDS[verdict]
    return LatencyResult.model_construct(
        ratio=middle,
        interval=Interval(low=low, high=2 * middle - low),
        verdict=verdict,
        config=LatencyConfig(batch=1, threads=1),
    )


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ({}, {"faster"}),
        ({"favoured": True}, {"faster", "no significant difference", "undecided"}),
        ({"keep_slower": True}, set(SPEEDS)),
    ],
    ids=["plain", "favoured", "keep slower"],
)
def test_int8_ships_where_it_pays_or_was_faster_on_the_whole_graph(how, kept: set[str]):
    told = {
        verdict: verdict_of(race(verdict), **({"keep_slower": False} | how)) for verdict in SPEEDS
    }
    assert {verdict for verdict, (ships, _) in told.items() if ships} == kept
    if "favoured" in how:
        assert told["no significant difference"][1].endswith("as it was faster on the whole graph")


def test_a_wide_interval_is_called_no_decision():
    kept, reason = verdict_of(race("undecided"), keep_slower=False)
    assert not kept
    assert "no decision, as the interval is too wide" in reason
    assert "no significant difference" not in reason
