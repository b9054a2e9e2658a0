"""What ships after pruning was tried, and what the report tells of the others."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import onnx_ir as ir
import pytest
from graphs import residual
from seams import Clock, always, judged, session_of

from compressor.plan.plan import GraphPlan
from compressor.recipe.recipe import Recipe
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.measurements import LatencyResult, QualityResult, Verdict
from compressor.results.records import Decision, StageRecord
from compressor.search.baseline import started
from compressor.search.candidate import Candidate, Judged, Outcome
from compressor.search.pruning.candidates import PrunedCandidates
from compressor.search.pruning.outcome import Why, ships_pruned, ships_whole, speed_words

PLAN = GraphPlan(graph="-", baseline="captured", ship="float")
QUANTIZED = PLAN.model_copy(update={"ship": "int8", "integer": ("Conv_0",)})
INT8 = ToldCandidate(name="INT8", shipped=True, reason="it pays")
WHY = Why("--prune 30%", "it was cut", notices=("look",))
QUALITY = QualityResult(
    metric="cosine", unit="", higher_is_better=True, reference="original", baseline=1.0,
    result=0.9, difference=-0.1, interval=None, samples=9, data="data",
)  # fmt: skip


def stage(name: str, seconds: float = 1.0) -> StageRecord:
    return StageRecord(name=name, seconds=seconds)


def tried(start: Outcome, share: float, met: bool | None) -> Outcome:
    """A pruned candidate, made of the start."""
    found = start.then(stage("select", 2.0), stage("repair", 3.0), shipped=residual())
    verdict = None if met is None else judged(met)
    candidate = replace(
        found.candidate, name=f"{share:.0%} pruned", share=share, judged=verdict, reason="so"
    )
    return replace(found, candidate=candidate)


def candidates(
    *made: bool | None, asked: str | None = None, quantized: bool = True, seconds: float = 60.0
) -> PrunedCandidates:
    """INT8 of the whole graph, and pruned ones that were judged so."""
    start = started(residual(), PLAN, (stage("fold"),))
    whole = start.then(
        stage("quantize"), plan=QUANTIZED, name="INT8", reason="INT8 pays", shipped=residual()
    )
    whole = replace(whole, considered=(INT8,), quantized=whole.candidate if quantized else None)
    pruned = [tried(start, 0.1 * (i + 1), met) for i, met in enumerate(made)]
    known = SimpleNamespace(
        start=start, whole=whole, made=pruned, seconds=seconds,
        acceptance=SimpleNamespace(asked=asked),
        whole_quantized=residual,
        gauged=lambda graph: Judged(accepted=True, loss=0.0, words="", quality=QUALITY),
    )  # fmt: skip
    return cast(PrunedCandidates, known)


def test_the_whole_graph_ships_as_it_was_with_one_more_stage():
    made = candidates(True, False, asked="1%")
    found = ships_whole(made, WHY)
    whole = made.whole
    assert (found.plan, found.shipped, found.raced) == (whole.plan, whole.shipped, whole.raced)
    assert found.reason == "it was cut; INT8 pays"
    assert [record.name for record in found.records] == [
        "fold",
        "quantize",
        "compare pruned graphs",
    ]
    record = found.records[-1]
    assert record.notices == ("look",)
    assert record.parameters == {"asked": "--prune 30%", "attempts": 2}
    told = [(one.subject, one.verdict) for one in record.decisions]
    assert told == [("10% pruned", "accepted"), ("20% pruned", "refused"), ("pruning", "none")]
    assert found.considered[0] == INT8
    assert [one.shipped for one in found.considered] == [True, False, False]


def test_a_reason_of_its_own_and_what_held_it_back_are_kept():
    found = ships_whole(candidates(), replace(WHY, reason="because", held_back="the budget"))
    assert (found.reason, found.held_back) == ("because", "the budget")


def test_a_pruned_graph_ships_and_what_the_whole_went_through_is_told_before():
    made = candidates(False, True, asked="1%")
    best = made.made[1]
    finding = Decision(subject="whole", verdict="confirmed", reason="so")
    found = ships_pruned(made, best, replace(WHY, findings=(finding,)))
    assert found.shipped is best.shipped
    assert found.candidate.name == "20% pruned"
    names = ["fold", "quantize, whole graph", "select", "repair", "compare pruned graphs"]
    assert [record.name for record in found.records] == names
    assert found.records[-1].decisions[-2:] == (
        finding,
        Decision(subject="pruning", verdict="kept", reason="it was cut"),
    )
    assert [one.shipped for one in found.considered] == [False, False, True]
    assert found.considered[0].reason == "it pays; then a pruned one took its place"
    assert made.whole.considered == (INT8,), "what was decided of the whole is not changed"


def test_the_comparison_took_what_no_other_stage_tells():
    made = candidates(True)
    assert ships_whole(made, WHY).records[-1].seconds == 60.0
    assert ships_pruned(made, made.made[0], WHY).records[-1].seconds == 55.0
    short = candidates(True, seconds=1.0)
    assert ships_pruned(short, short.made[0], WHY).records[-1].seconds == 0.0


@pytest.mark.parametrize(
    ("how", "measured"),
    [
        ({}, True),
        ({"asked": "1%"}, False),
        ({"quantized": False}, False),
    ],
    ids=["no budget", "a budget", "float"],
)
def test_without_a_budget_what_the_whole_loses_is_measured_beside_the_pruned(how, measured):
    found = ships_whole(candidates(None, **how), WHY)
    assert (found.considered[0].quality is not None) == measured
    none = ships_whole(candidates(**how), WHY)
    assert none.considered[0].quality is None, "there is nothing to compare with"


def race(ratio: float, verdict: Verdict | None = None) -> LatencyResult | None:
    clock = Clock(always(ratio), verdict=verdict)
    model: ir.Model = residual()
    return session_of(model, Recipe(), clock).race(model, model, seconds=0.1)


def test_speed_is_told_against_the_whole_graph():
    told = speed_words(race(1.25), "INT8")
    assert told.startswith("pruned it ran at 1.25× the speed of INT8 alone (1.25–1.25 at batch 1")
    assert told.endswith("thread)")
    wide = speed_words(race(1.25, "undecided"), "INT8")
    assert wide.endswith(": no decision, as the interval is too wide)")
    assert speed_words(None, "INT8") == "speed unproven: nothing can be timed here"


def test_candidates_are_no_ancestors_of_each_other():
    made = candidates(True, True, asked="1%")
    found = ships_pruned(made, made.made[1], WHY)
    one: Candidate | None = found.candidate
    names = []
    while one is not None:
        names.append(one.name)
        one = one.parent
    assert "10% pruned" not in names
