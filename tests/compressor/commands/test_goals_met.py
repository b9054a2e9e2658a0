"""Whether what was asked for was reached, and what the command makes of that."""

from dataclasses import replace
from typing import Any

import pytest
from graphs import residual

from compressor.commands.goals_met import goal_result, require_kept
from compressor.errors import BudgetError, GoalError
from compressor.plan.plan import GraphPlan
from compressor.recipe.goal import parse_goal
from compressor.results.graph_report import BudgetResult, GraphReport
from compressor.results.measurements import LatencyConfig, LatencyResult, Size, Timing
from compressor.results.pruning import GoalResult, PrunedGroup, PruningResult
from compressor.results.records import Interval
from compressor.search.candidate import Candidate, Outcome

BEFORE = Size(file_bytes=8000, parameters=2000, macs=1_000_000)


def after(**change: Any) -> Size:
    return BEFORE.model_copy(update=change)


def latency(ratio: float) -> tuple[LatencyResult, ...]:
    result = Timing(median_ms=4.0 / ratio, p95_ms=5.0, trace=())
    return (
        LatencyResult(
            config=LatencyConfig(batch=1, threads=1), deciding=True, rounds=9,
            baseline=Timing(median_ms=4.0, p95_ms=5.0, trace=()), result=result, ratio=ratio,
            interval=Interval(low=ratio, high=ratio), verdict="faster",
        ),
    )  # fmt: skip


def decided(*, held_back: str | None = None, pruned: bool = True) -> Outcome:
    whole = residual()
    shipped = residual() if pruned else whole
    plan = GraphPlan(graph="abc", baseline="captured", ship="float")
    return Outcome(Candidate("float", plan), whole, whole, whole, shipped, held_back=held_back)


@pytest.mark.parametrize(
    ("kind", "text", "size", "ratio", "measured", "met"),
    [
        ("macs", "30%", after(macs=700_000), 1.0, 0.3, True),
        ("macs", "30%", after(macs=705_000), 1.0, 0.295, False),
        ("macs", "30%", after(macs=560_000), 1.0, 0.44, True),
        ("macs", "30%", after(macs=410_000), 1.0, 0.59, False),
        ("macs", "30%", after(macs=260_000), 1.0, 0.74, False),
        ("params", "10%", after(parameters=1500), 1.0, 0.25, False),
        ("params", "50%", after(parameters=900), 1.0, 0.55, True),
        ("params", "50%", after(parameters=1100), 1.0, 0.45, False),
        ("size", "5kB", after(file_bytes=5000), 1.0, 5000, True),
        ("size", "5kB", after(file_bytes=5001), 1.0, 5001, False),
        ("speedup", "1.5x", BEFORE, 1.36, 1.36, True),
        ("speedup", "1.5x", BEFORE, 1.34, 1.34, False),
        ("latency", "2ms", BEFORE, 1.9, 4 / 1.9, True),
        ("latency", "2ms", BEFORE, 1.8, 4 / 1.8, False),
    ],
)
def test_the_final_figures_decide(
    kind: str, text: str, size: Size, ratio: float, measured: float, met: bool
):
    found = goal_result(parse_goal(kind, text), decided(), latency(ratio), BEFORE, size)
    assert found.measured == pytest.approx(measured)
    assert found.met == met
    assert found.reason
    assert not found.held_back


def test_the_baseline_itself_is_as_fast_as_the_baseline():
    goal = parse_goal("speedup", "1.05x")
    found = goal_result(goal, decided(pruned=False), (), BEFORE, BEFORE)
    assert (found.measured, found.met) == (1.0, True)


def test_an_interrupted_run_met_nothing():
    found = goal_result(parse_goal("latency", "9ms"), decided(), (), BEFORE, BEFORE)
    assert (found.measured, found.met) == (None, False)
    assert "interrupted" in found.reason


def graph(goal: GoalResult | None, *, budget_met: bool | None = None) -> GraphReport:
    budget = None
    if budget_met is not None:
        budget = BudgetResult(
            asked="1%", metric="accuracy", unit="%", accept="bound", met=budget_met, n=10,
            method="", reason="so",
        )  # fmt: skip
    return GraphReport(
        shipped="float", shipped_reason="", goal=goal, budget=budget, baseline_size=BEFORE,
        result_size=BEFORE,
    )  # fmt: skip


def result(kind: str, *, met: bool = False, held_back: bool = False) -> GoalResult:
    return GoalResult(
        asked="--x 1", kind=kind, wanted=1.0, measured=0.5, met=met, held_back=held_back,
        reason="so it is",
    )  # fmt: skip


def test_what_is_kept_is_no_error():
    require_kept(graph(None))
    require_kept(graph(result("speedup", met=True), budget_met=True))


@pytest.mark.parametrize("kind", ["macs", "params", "speedup", "latency", "size"])
def test_a_goal_that_is_not_met_ends_with_3(kind: str):
    with pytest.raises(GoalError, match="--x 1 was not met: so it is") as error:
        require_kept(graph(result(kind)))
    assert error.value.exit_code == 3


@pytest.mark.parametrize("kind", ["macs", "params"])
def test_a_share_that_the_budget_held_back_is_no_failure(kind: str):
    require_kept(graph(result(kind, held_back=True), budget_met=True))


def test_a_speed_that_the_budget_held_back_is_one():
    with pytest.raises(GoalError) as error:
        require_kept(graph(result("speedup", held_back=True), budget_met=True))
    assert "--max-drop" in (error.value.hint or "")


def test_the_budget_comes_first():
    with pytest.raises(BudgetError):
        require_kept(graph(result("size"), budget_met=False))


@pytest.mark.parametrize(
    ("macs", "said"),
    [
        (650_000, ""),
        (610_000, ", 1.3 times what was asked for: no smaller steps lead there with groups of 2"),
        (410_000, ", 2 times what was asked for: no smaller steps lead there with groups of 2"),
    ],
)
def test_what_took_more_than_was_asked_for_says_how_much_and_why(macs, said):
    group = PrunedGroup(name="heads", units_before=2, units_after=1, weights=())
    made = replace(decided(), pruning=PruningResult(cost="macs", groups=(group,)))
    found = goal_result(parse_goal("macs", "30%"), made, latency(1.0), BEFORE, after(macs=macs))
    gone = f"{100 - macs / 1e4:.1f} % of the multiply-accumulates were removed"
    assert found.reason == gone + said + (" units" if said else "")


def test_biases_that_the_repair_added_do_not_count_against_a_share():
    cut = PruningResult(cost="params", share=0.52)
    made = replace(decided(), pruning=cut)
    goal, size = parse_goal("params", "50%"), after(parameters=1010)
    found = goal_result(goal, made, latency(1.0), BEFORE, size)
    assert found.met
    assert found.reason.endswith(
        "49.5 % of the parameters were removed, 52.0 % before the repair added biases"
    )
    made = replace(decided(), pruning=cut.model_copy(update={"share": 0.48}))
    assert not goal_result(goal, made, latency(1.0), BEFORE, size).met
