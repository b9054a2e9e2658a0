"""Pruned to a goal: approached where only a measurement tells, stepped back where refused."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seams import Clock, always, judged

from compressor.errors import PruningError
from compressor.plan.plan import GraphPlan
from compressor.recipe.goal import Goal, Kind, parse_goal
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyConfig, LatencyResult, Timing
from compressor.search.baseline import started
from compressor.search.candidate import Outcome
from compressor.search.pruning.to_goal import CLOSE, ROUNDS, STEPS, cost_of, reach
from compressor.search.session import Race
from exporters.base import Artifact

FULL = 100.0


def graph(cost: float) -> ir.Model:
    """Stands for a graph of such a cost."""
    made = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[1] x) => (float[1] y) { y = Relu(x) }'
    )
    made.graph.name = repr(cost)
    return made


def cost_in(made: ir.Model) -> float:
    return float(made.graph.name or "")


@dataclass
class Ground:
    """Candidates of a graph whose speed and bytes follow from its cost.

    Attributes:
        speed: Of a cost, in times the float baseline's.
        allowed: The greatest share that the budget accepts.
        longest: What a race at length says of a pruned graph against the whole one.
        step: Costs that can be had are multiples of it.
        gained: What training adds to that share.
    """

    speed: Callable[[float], float | None] = lambda cost: FULL / cost
    allowed: float = 1.0
    longest: float | None = 1.5
    step: float = 1.0
    gained: float = 0.0
    keep_slower: bool = False
    made: list[Outcome] = field(default_factory=list)
    drafts: list[float] = field(default_factory=list)
    full: float = FULL
    precision: str = "float"
    unit: str = "of the predicted time"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.session = SimpleNamespace(
            recipe=Recipe(quantize=QuantizeOptions(keep_slower=self.keep_slower)),
            target=SimpleNamespace(draft=self._draft),
            untimed=lambda shipped: "it is too large",
        )
        plan = GraphPlan(graph="-", baseline="captured", ship="float")
        self.start = self.whole = started(graph(FULL), plan, ())
        self.acceptance = SimpleNamespace(asked=None)

    def _draft(self, made: ir.Model, folder: Path) -> Artifact:
        """Ten bytes for each unit of cost."""
        path = folder / "model"
        path.write_bytes(bytes(round(10 * cost_in(made))))
        return Artifact(path, (path,))

    @property
    def race(self) -> LatencyResult | None:
        return self.raced(self.whole.shipped)

    def raced(self, shipped: ir.Model) -> LatencyResult | None:
        ratio = self.speed(cost_in(shipped))
        if ratio is None:
            return None
        found = timed(ratio)
        return found.model_copy(update={"result": Timing(median_ms=6.0 / ratio, p95_ms=9.0)})

    def against_whole(self, best: Outcome) -> LatencyResult | None:
        del best
        return None if self.longest is None else timed(self.longest)

    def _near(self, target: float) -> float:
        """The cost that can be had: at most the target, if anything is."""
        return max(self.step, target // self.step * self.step)

    def drafted(self, target: float) -> tuple[Any, ir.Model]:
        self.drafts.append(target)
        cost = self._near(target)
        return SimpleNamespace(cost=cost), graph(cost)

    def at(self, target: float) -> Outcome:
        cost = self._near(target)
        share = 1 - cost / FULL
        verdict = judged(share <= self.allowed)
        candidate = replace(self.start.candidate, name=f"{share:.3f}", judged=verdict, share=share)
        self.made.append(replace(self.start.then(shipped=graph(cost)), candidate=candidate))
        return self.made[-1]

    def trained(self, one: Outcome, part: float = 1.0) -> Outcome:
        share = one.candidate.share or 0.0
        verdict = judged(share <= self.allowed + self.gained)
        found = replace(one, candidate=replace(one.candidate, judged=verdict))
        self.made[:] = [found if made is one else made for made in self.made]
        return found

    def gauged(self, made: ir.Model) -> None:
        del made

    def reach(self, kind: Kind, text: str) -> Outcome:
        return reach(cast(Any, self), parse_goal(kind, text))

    @property
    def shares(self) -> list[float]:
        return [round(one.candidate.share or 0.0, 4) for one in self.made]


def test_what_training_brings_back_need_not_be_stepped_back_from() -> None:
    refused = Ground(allowed=0.2).reach("macs", "40%")
    assert refused.held_back is not None
    ground = Ground(allowed=0.2, gained=0.3)
    assert ground.reach("macs", "40%").held_back is None
    assert ground.shares == [0.4]


def timed(ratio: float) -> LatencyResult:
    asked = SimpleNamespace(config=LatencyConfig(batch=1, threads=1))
    return Clock(always(ratio)).race(cast(Race, asked))


@pytest.mark.parametrize(
    ("kind", "text", "cost"),
    [
        ("macs", "30%", "macs"),
        ("params", "30%", "params"),
        ("size", "5MB", "params"),
        ("speedup", "2x", "latency"),
        ("latency", "4ms", "latency"),
        ("threshold", "0.1", "macs"),
    ],
)
def test_the_allocation_goes_by_what_is_nearest_to_the_goal(kind: Kind, text: str, cost: str):
    assert cost_of(parse_goal(kind, text)) == cost


# Shares are counted, and need no attempt


def test_a_share_is_removed_at_once():
    ground = Ground()
    found = ground.reach("macs", "30%")
    assert (ground.shares, ground.drafts) == ([0.3], [])
    assert cost_in(found.shipped) == 70
    assert found.reason.startswith("30 % of the predicted time removed: pruned it ran at 1.50×")
    assert [one.shipped for one in found.considered] == [True]


def test_below_a_threshold_goes_all_that_may():
    ground = Ground(step=5.0)
    assert cost_in(ground.reach("threshold", "0.1").shipped) == 5.0


# Measured goals are approached by drafts


@pytest.mark.parametrize(("kind", "text", "cost"), [("speedup", "2x", 50), ("latency", "2ms", 33)])
def test_what_is_measured_is_drafted_first_and_made_once(kind: Kind, text: str, cost: int):
    ground = Ground()
    found = ground.reach(kind, text)
    assert ground.drafts
    assert len(ground.made) == 1
    assert cost * (1 - 2 * CLOSE) <= cost_in(found.shipped) <= cost * (1 + CLOSE)


def test_bytes_are_those_of_a_draft_and_never_more_than_asked():
    ground = Ground(speed=lambda cost: None, longest=None)
    found = ground.reach("size", "700B")
    assert 70 * (1 - 2 * CLOSE) <= cost_in(found.shipped) <= 70
    assert "speed unproven" in found.reason


@settings(max_examples=30)
@given(st.floats(0.05, 0.9), st.floats(1.1, 3.0), st.sampled_from([1.0, 3.0, 8.0]))
def test_a_goal_in_reach_is_met_within_a_few_drafts(fixed: float, ratio: float, step: float):
    """Only a part of the time falls with the cost."""

    def speed(cost: float) -> float:
        return 1 / (fixed + (1 - fixed) * cost / FULL)

    ground = Ground(speed=speed, step=step)
    found = ground.reach("speedup", f"{ratio:.3f}x")
    assert 1 <= len(ground.drafts) <= ROUNDS
    assert len(ground.made) == 1
    reached = [speed(ground._near(target)) / ratio for target in ground.drafts]
    shipped = speed(cost_in(found.shipped)) / ratio
    goal = Goal("speedup", "", ratio)
    met = [one for one in reached if goal.is_met(one)]
    nearest = min(met or reached, key=lambda one: abs(one - 1))
    assert shipped == pytest.approx(nearest), "of the drafts the best, those that meet it first"


def test_what_cannot_be_timed_gives_up_and_says_why():
    found = Ground(speed=lambda cost: None).reach("speedup", "2x")
    assert found.pruning is None
    assert "pruning was given up: --speedup 2x cannot be held: it is too large" in found.reason


def test_what_is_reached_already_is_not_pruned():
    ground = Ground(speed=lambda cost: 3.0)
    found = ground.reach("speedup", "2x")
    assert found.shipped is ground.whole.shipped
    assert found.reason.startswith("--speedup 2x is reached without pruning")
    assert (ground.made, ground.drafts) == ([], [])


# A budget may refuse


def test_where_it_is_refused_less_is_removed_by_bisection():
    ground = Ground(allowed=0.4)
    found = ground.reach("macs", "60%")
    assert ground.shares == [0.6, 0.3, 0.45, 0.38]
    assert cost_in(found.shipped) == 62
    assert found.held_back == "the budget allows 38 % of the predicted time to be removed"
    assert found.records[-1].notices == (f"--prune 60% was not met: {found.held_back}",)
    assert [one.shipped for one in found.considered] == [False, False, False, True]


@given(st.floats(0.0, 0.7))
@settings(max_examples=25)
def test_what_ships_is_the_largest_share_that_was_accepted(allowed: float):
    ground = Ground(allowed=allowed)
    found = ground.reach("macs", "70%")
    accepted = [one for one in ground.made if not one.candidate.refused]
    assert len(ground.made) <= 1 + STEPS
    if accepted:
        assert found.candidate.parent is not None
        most = max(accepted, key=lambda one: one.candidate.share or 0.0)
        assert found.shipped is most.shipped
    else:
        assert found.shipped is ground.whole.shipped
        assert found.held_back == "no pruned graph kept the budget, so that nothing was pruned"


# In the end the whole graph may be faster


@pytest.mark.parametrize(
    ("longest", "keep_slower", "pruned"),
    [(0.5, False, False), (0.5, True, True), (1.0, False, True), (None, False, True)],
    ids=["slower", "asked for", "no difference", "not timed"],
)
def test_a_goal_is_kept_unless_the_whole_graph_is_faster(longest, keep_slower, pruned):
    ground = Ground(longest=longest, keep_slower=keep_slower)
    found = ground.reach("macs", "30%")
    assert (found.shipped is not ground.whole.shipped) == pruned
    if not pruned:
        assert "so the pruning was reverted (--keep-slower keeps it)" in found.reason


def test_what_cannot_be_cut_is_given_up_and_told():
    class Broken(Ground):
        def at(self, target: float) -> Outcome:
            raise PruningError("the cut graph differs from the original at 'Conv_2'")

    found = Broken().reach("macs", "30%")
    assert "pruning was given up: the cut graph differs" in found.reason
    (decision,) = found.records[-1].decisions
    assert (decision.subject, decision.verdict) == ("pruning", "none")
