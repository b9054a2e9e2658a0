"""Races in both phases of a decoder, as one use of it."""

import pytest

from compressor.recipe.usage import Usage
from compressor.results.measurements import LatencyConfig, LatencyResult, Phase, Timing
from compressor.results.records import Interval
from compressor.search.in_use import in_words, use_of


def raced(phase: Phase, before: float, after: float, spread: float = 0.1) -> LatencyResult:
    ratio = before / after
    return LatencyResult(
        config=LatencyConfig(batch=1, threads=1, phase=phase),
        deciding=True,
        rounds=9,
        baseline=Timing(median_ms=before, p95_ms=before),
        result=Timing(median_ms=after, p95_ms=after),
        ratio=ratio,
        interval=Interval(low=ratio - spread, high=ratio + spread),
        verdict="faster",
    )


RACES = [raced("decode", 1.0, 0.5), raced("prefill", 64.0, 32.0 * 4)]


def test_a_use_is_the_time_of_its_prompt_and_of_its_new_tokens() -> None:
    use = use_of(RACES, Usage(32, 100), 128)
    assert use is not None
    assert use.baseline_ms == pytest.approx(32 / 128 * 64 + 100)
    assert use.result_ms == pytest.approx(32 / 128 * 128 + 100 * 0.5)
    assert use.ratio == pytest.approx(116 / 82)
    assert use.interval.low == pytest.approx(116 / 82 - 0.1)
    assert use.verdict == "faster"
    assert "for a prompt of 32 tokens and 100 new: 2.00× in decode, 0.50× in prefill" in in_words(
        use
    )


def test_who_only_reads_is_slower() -> None:
    use = use_of(RACES, Usage(100, 1), 128)
    assert use is not None
    assert use.verdict == "slower"
    none = use_of([raced("decode", 1, 1), raced("prefill", 2, 2)], Usage(), 64)
    assert none is not None
    assert none.verdict == "no significant difference"


def test_without_both_phases_there_is_no_use() -> None:
    assert use_of(RACES[:1], Usage(), 1) is None
    unknown = RACES[1].model_copy(update={"ratio": None})
    assert use_of([RACES[0], unknown], Usage(), 1) is None
