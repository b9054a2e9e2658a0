"""What is not built: by the loss of a quick repair, and by that of a larger share."""

from dataclasses import replace
from math import inf

import pytest
from seams import judged

from compressor.plan.plan import GraphPlan
from compressor.results.measurements import QualityResult
from compressor.search.candidate import Candidate, Judged
from compressor.search.pruning.hopeless import foreseen_without_hope, repaired_without_hope

ALLOWED = 0.5  # of `judged`
MEASURED = QualityResult(
    metric="cosine", unit="", higher_is_better=True, reference="original", baseline=1.0,
    result=0.0, difference=-1.0, samples=8, data="evaluation data", interval=None,
)  # fmt: skip


def half(loss: float, *, met: bool = False) -> Candidate:
    """A candidate of which a half went."""
    said = replace(judged(met, loss), quality=MEASURED)
    return Candidate(
        "50 % pruned, INT8",
        GraphPlan(graph="0", baseline="folded", ship="int8"),
        judged=said,
        share=0.5,
    )


def squared(share: float) -> float:
    return share**2


def foreseen(*made: Candidate, share: float = 0.25) -> Judged | None:
    return foreseen_without_hope(made, share, squared)


@pytest.mark.parametrize(("loss", "refused"), [(2.9, False), (3.1, True)])
def test_a_quick_repair_rules_out_what_loses_three_times_the_budget(loss: float, refused: bool):
    found = repaired_without_hope(judged(False, loss * ALLOWED))
    assert (found is not None) == refused
    assert found is None or found.words.startswith("refused before it was built")


@pytest.mark.parametrize(("loss", "refused"), [(59, False), (61, True)])
def test_a_quarter_of_the_damage_is_foreseen_to_lose_a_quarter(loss: float, refused: bool):
    """Fifteen times the budget rule it out."""
    found = foreseen(half(loss * ALLOWED))
    assert (found is not None) == refused
    if found is not None:
        assert found.loss == pytest.approx(loss * ALLOWED / 4)
        assert not found.accepted and found.quality is None
        assert "by what 50 % pruned, INT8 lost" in found.words
        assert "15 times what is allowed" in found.words


def test_only_a_larger_share_that_was_measured_and_refused_foretells():
    much = half(1000.0)
    assert foreseen(much) is not None
    assert foreseen(much, share=0.6) is None
    assert foreseen(half(1000.0, met=True)) is None
    assert foreseen(half(inf)) is None, "how much it lost is no number"
    told = foreseen(much)
    assert foreseen(replace(much, judged=told)) is None, "it was itself foreseen"
    nearer = replace(half(1.0), share=0.4)
    assert foreseen(much, nearer) is None, "the nearest share tells more"


@pytest.mark.parametrize("damage", [lambda _: None, lambda _: 0.0])
def test_scores_that_tell_nothing_rule_out_nothing(damage):
    assert foreseen_without_hope([half(1000.0)], 0.25, damage) is None
