import pytest

from compressor.report.stages import effect_words, waterfall
from compressor.results.records import Effect, StageRecord
from compressor.results.report import Report


def test_bars_follow_each_other_and_fill_the_run(int8_report: Report) -> None:
    bars = waterfall(int8_report)
    assert [bar.name for bar in bars] == [stage.name for stage in int8_report.stages]
    end = 0.0
    for bar in bars:
        assert bar.start == pytest.approx(end)
        end = bar.start + bar.width
    assert end == pytest.approx(100, abs=0.5), "a rest below half a per cent is not told"


def test_what_no_stage_accounts_for_is_told(int8_report: Report) -> None:
    longer = int8_report.model_copy(update={"seconds": 2 * int8_report.seconds})
    bars = waterfall(longer)
    assert bars[-1].name == "outside the stages"
    assert bars[-1].seconds == pytest.approx(
        longer.seconds - sum(stage.seconds for stage in longer.stages)
    )


def test_stages_that_overlap_stay_within_the_picture(int8_report: Report) -> None:
    shorter = int8_report.model_copy(update={"seconds": 1.0})
    assert sum(bar.width for bar in waterfall(shorter)) == pytest.approx(100)


def test_no_stages_no_bars(int8_report: Report) -> None:
    assert waterfall(int8_report.model_copy(update={"stages": ()})) == ()


@pytest.mark.parametrize(
    ("effect", "words"),
    [
        (Effect(amount="nodes", after=143), "nodes 143"),
        (Effect(amount="nodes", before=143, after=72), "nodes 143 → 72"),
        (
            Effect(amount="weight_bytes", before=1_094_000, after=280_000),
            "weights 1.09 MB → 280 kB",
        ),
        (Effect(amount="weight_bytes", before=1_094_000, after=1_094_001), "weights 1.09 MB"),
        (Effect(amount="latency_ms", before=1.31, after=0.8), "latency 1.31 ms → 0.800 ms"),
    ],
)
def test_effects_in_words(effect: Effect, words: str) -> None:
    assert effect_words(effect).replace("\N{NO-BREAK SPACE}", " ") == words


def test_one_count_is_told_and_a_list_of_rules_is_not(int8_report: Report) -> None:
    stages = (
        StageRecord(name="search", seconds=1, changed={"candidates": 5}),
        StageRecord(name="fold", seconds=1, changed={"a": 1, "b": 2}),
    )
    bars = waterfall(int8_report.model_copy(update={"stages": stages}))
    assert [bar.effects for bar in bars[:2]] == [("candidates 5",), ()]
