"""What counts as ruined, by the scores alone."""

import pytest

from compressor.evaluation.ruin import why_ruined
from compressor.results.measurements import OutputResult, QualityResult

WRITTEN = ("tokens", "logits")


def agreement(value: float, output: str) -> QualityResult:
    return QualityResult(
        metric="agreement",
        unit="%",
        higher_is_better=True,
        reference="original",
        baseline=100.0,
        result=value,
        difference=value - 100.0,
        interval=None,
        samples=64,
        data="generated units",
        output=output,
    )


@pytest.mark.parametrize(("value", "ruined"), [(30.0, False), (5.0, True)])
def test_texts_that_have_parted_are_not_ruined_by_it(value: float, ruined: bool):
    logits = OutputResult(name="logits", role="output", metric="cosine", value=0.4)
    found = why_ruined([agreement(value, "tokens")], [logits], WRITTEN)
    assert (found is not None) == ruined
    assert why_ruined([agreement(value, "tokens")], [logits]) is not None


def test_what_does_not_go_on_by_itself_is_judged_as_ever():
    other = OutputResult(name="image", role="output", metric="cosine", value=0.4)
    assert why_ruined([agreement(90.0, "tokens")], [other], WRITTEN) is not None
    assert why_ruined([agreement(40.0, "classes")], [], WRITTEN) is not None
