"""The loop over the steps of quantization: which are taken, what is kept, what ends it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, Told, Verdicts, always, judged, searching, session_of

from compressor.errors import GraphError
from compressor.plan.plan import GraphPlan
from compressor.quantization.mixed import Costs
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.records import Decision
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.candidate import Judged
from compressor.search.precision.latency_placement import Placed
from compressor.search.precision.ptq_search import (
    AS_INTEGER,
    RACE,
    Kind,
    PtqSearch,
    Refinement,
    Step,
)
from compressor.search.precision.region_latency import RegionTimes
from compressor.search.precision.regions import CHOICES, mixed
from exporters.ort.target import TARGET

X = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)


def net() -> ir.Model:
    return model(
        """g (float[n,64] x, float[64,64] w, float[64,64] v) => (float[n,64] y)
        {
            h = MatMul(x, w)
            t = Tanh(h)
            y = MatMul(t, v)
        }""",
        w=[64, 64], v=[64, 64],
    )  # fmt: skip


BOTH, FIRST, SECOND = ("MatMul_0", "MatMul_2"), ("MatMul_0",), ("MatMul_2",)


def search(
    *verdicts: bool | Judged,
    clock: Clock | None = None,
    acceptance: Acceptance | None = None,
    time: str | None = None,
    told: Told | None = None,
) -> PtqSearch:
    """With a budget whose search samples say that in turn."""
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.25),
        budget=BudgetOptions(max_drop="50pt", time=time),
    )
    session = session_of(
        net(), recipe, clock or Clock(), calibration={"x": X}, progress=told or Told()
    )
    data = session.prepared.calibration
    return searching(session, acceptance or Verdicts(data, verdicts), data)


def unbudgeted() -> PtqSearch:
    made = search()
    made.acceptance = NoBudget(made.session, None, "")
    return made


def dynamic(made: PtqSearch, nodes: tuple[str, ...] = BOTH) -> GraphPlan:
    update = {"ship": "int8", "cpu": "avx2", "weight_bits": 7, "dynamic": nodes}
    return made.start.plan.model_copy(update=update)


# Which steps are taken


def listed(taken: list[str], does: Callable[[PtqSearch], object] | None = None) -> tuple[Step, ...]:
    """Steps that tell their name; the one called free does something, too."""

    def step(name: str, kind: Kind) -> Step:
        def take(made: PtqSearch) -> None:
            taken.append(name)
            if name == "free" and does is not None:
                does(made)

        return Step(name, take, kind)

    return (
        step("costs early", Kind.COSTS),
        step("prepares", Kind.PREPARES),
        step("free", Kind.FREE),
        step("costs", Kind.COSTS),
        step("also free", Kind.FREE),
        step("also prepares", Kind.PREPARES),
    )


def test_preparations_come_first_and_all_is_tried_until_something_is_accepted():
    taken: list[str] = []
    search().run(listed(taken))
    assert taken == ["prepares", "also prepares", "costs early", "free", "costs", "also free"]


def test_with_a_budget_the_first_accepted_ends_it():
    taken: list[str] = []
    made = search(True)
    made.run(listed(taken, lambda found: found.attempt("INT8", dynamic(found))))
    assert taken == ["prepares", "also prepares", "costs early", "free"]
    assert made.best is made.trials[0]


def test_without_a_budget_what_is_free_is_done_all_the_same():
    taken: list[str] = []
    made = unbudgeted()
    made.plan = dynamic(made)
    made.run(listed(taken, PtqSearch.propose))
    assert taken == ["prepares", "also prepares", "costs early", "free", "also free"]
    assert made.best is not None
    assert (made.best.plan, made.best.judged, made.trials) == (made.plan, None, [])
    assert [record.name for record in made.start.records] == ["fold"], "there was no search"


def test_what_stays_float_takes_no_further_step():
    taken: list[str] = []
    made = search()

    def stop(found: PtqSearch) -> None:
        found.stays_float = "so"

    made.run((Step("stop", stop, Kind.PREPARES), *listed(taken)))
    assert taken == []
    assert [record.name for record in made.start.records] == ["fold"]


# Candidates


def test_a_candidate_is_judged_and_raced_in_short():
    clock = Clock(always(1.5))
    made = search(True, clock=clock)
    plan = dynamic(made, FIRST)
    tried = made.attempt("some", plan, SECOND)
    assert made.trials == [tried]
    assert (tried.name, tried.plan, tried.parent) == ("some", plan, made.start.candidate)
    assert (tried.accepted, tried.reason, tried.speed) == (True, "accepted", 1.5)
    assert tried.float_reasons == {"MatMul_2": AS_INTEGER}
    race = clock.races[-1]
    assert (race.seconds, race.again) == (min(RACE, 0.25), 0)
    assert race.baseline is made.graph
    assert "DynamicQuantizeLinear" in {node.op_type for node in race.challenger.graph}
    assert made.plan.quantized == (), "only `change` builds on it"


def test_of_the_accepted_the_one_with_most_integers_is_the_best():
    made = search(True, True, False, True)
    one = made.attempt("one", dynamic(made, FIRST))
    both = made.attempt("both", dynamic(made))
    assert made.best is both
    made.attempt("refused", dynamic(made))
    made.attempt("again", dynamic(made, SECOND))
    assert made.best is both
    assert (one.accepted, len(made.trials)) == (True, 4)


def placed(made: PtqSearch, first: float, second: float) -> Placed:
    """Seconds of the two products with ranges found at run time; 10 µs in float."""
    mix = mixed(made.graph, dynamic(made), TARGET.policy("avx2"))
    time = np.array([[1e-5, np.inf, first], [1e-5, np.inf, second]])
    pair = np.zeros((len(mix.edges), len(CHOICES), len(CHOICES)))
    return Placed(dynamic(made), mix, RegionTimes(Costs(time, mix.edges, pair), 0.0))


def test_where_the_times_of_regions_are_known_the_fastest_is_the_best():
    made = search(True, True, True)
    made.placed = placed(made, 2e-6, 2e-5)
    made.attempt("both", dynamic(made))
    fast = made.attempt("first", dynamic(made, FIRST))
    made.attempt("second", dynamic(made, SECOND))
    assert made.best is fast


def test_later_steps_build_on_what_loses_less():
    made = search(judged(False, 0.8), judged(False, 0.9), judged(False, 0.7), judged(True, 0.2))
    made.change("one", dynamic(made))
    assert (made.named, made.loss, made.plan) == ("one", 0.8, dynamic(made))
    made.change("worse", dynamic(made, FIRST))
    assert (made.named, made.loss) == ("one", 0.8)
    made.change("better", dynamic(made, SECOND))
    assert (made.named, made.loss, made.plan.dynamic) == ("better", 0.7, SECOND)
    made.change("accepted", dynamic(made))
    assert made.best is not None and made.best.name == "accepted"
    assert made.named == "better", "what is built on was refused"


@pytest.mark.parametrize(("second", "goes_on"), [(2e-6, True), (9.5e-6, False)])
def test_what_was_accepted_ends_it_unless_what_was_refused_is_much_faster(
    second: float, goes_on: bool
):
    """The first product alone keeps the budget; the second one saves much, or next to nothing."""
    made = search(judged(False, 0.8), judged(True, 0.2), judged(False, 0.7))
    made.placed = placed(made, 2e-6, second)
    made.plan = dynamic(made)
    taken: list[str] = []

    def tries(name: str, nodes: tuple[str, ...]) -> Step:
        def take(found: PtqSearch) -> None:
            taken.append(name)
            found.change(name, dynamic(found, nodes))

        return Step(name, take, Kind.COSTS)

    made.run((tries("both", BOTH), tries("first", FIRST), tries("both again", BOTH)))
    assert taken == ["both", "first", "both again"][: 3 if goes_on else 2]
    assert made.best is not None and made.best.name == "first"


def test_the_allowed_loss_is_that_of_the_last_judgement():
    made = search(True)
    assert made.allowed == 0.0
    made.attempt("one", dynamic(made))
    assert made.allowed == 0.5


class Lacking(Verdicts):
    """More samples would be needed."""

    def lacking(self, name: str, found: Judged) -> str:
        return f"{name} would take more"


def test_what_the_first_candidate_takes_to_prove_is_said_once():
    told = Told()
    made = search(acceptance=Lacking(None, [False, False]), told=told)
    made.attempt("one", dynamic(made))
    made.attempt("other", dynamic(made))
    assert told.notices == made.notices == ["INT8 would take more"]


# What ends it


def test_time_that_is_over_ends_it_and_races_nothing_more():
    clock = Clock()
    made = search(False, clock=clock, time="10s")

    def slow(found: PtqSearch) -> None:
        clock.seconds += 11
        found.attempt("INT8", dynamic(found))

    races, taken = len(clock.races), list[str]()
    made.run(listed(taken, slow))
    assert taken[-1] == "free"
    assert made.ended == "the time budget of 10s ended the search"
    assert len(clock.races) == races
    assert made.trials[0].latency is None
    assert made.start.records[-1].notices == (made.ended,)


def test_time_counts_from_the_search_on_and_only_within_a_budget():
    clock = Clock()
    made = search(clock=clock, time="10s")
    clock.seconds += 60
    assert not made.out_of_time(), "preparations take what they take"
    made.acceptance = NoBudget(made.session, None, "")

    def later(found: PtqSearch) -> None:
        clock.seconds += 60
        assert not found.out_of_time()

    made.run(listed([], later))
    assert made.ended is None


def interrupted(found: PtqSearch) -> None:
    found.attempt("INT8", dynamic(found))
    raise KeyboardInterrupt


def test_the_best_so_far_survives_an_interrupt():
    made = search(True)
    made.run(listed([], interrupted))
    assert made.interrupted
    assert made.best is not None
    assert made.start.records[-1].notices == ("the search was interrupted",)


@pytest.mark.parametrize("budget", [True, False])
def test_without_one_the_interrupt_goes_on(budget: bool):
    made = search(False)
    if not budget:
        made.acceptance = NoBudget(made.session, None, "")
    with pytest.raises(KeyboardInterrupt):
        made.run(listed([], interrupted))
    assert not made.interrupted


def test_the_record_tells_what_was_tried_and_found():
    made = search(False, True)
    found = Decision(subject="x", verdict="mse", reason="so")

    def tries(known: PtqSearch) -> None:
        known.attempt("one", dynamic(known))
        known.attempt("other", dynamic(known, FIRST))
        known.findings.append(found)

    made.run(listed([], tries))
    record = made.start.records[-1]
    assert (record.name, record.changed) == ("search within the budget", {"candidates": 2})
    told = [(one.subject, one.verdict) for one in record.decisions]
    assert told == [("one", "refused"), ("other", "accepted"), ("x", "mse")]


# Refinements


def refining(make: Callable[..., GraphPlan]) -> Refinement:
    return Refinement("round weights", "weights", "rounded together", make)


def test_with_a_budget_a_refined_plan_is_a_candidate():
    made = search(judged(False, 0.8), judged(False, 0.2))
    made.change("INT8", dynamic(made))
    seen: list[Any] = []

    def make(session: object, graph: ir.Model, plan: GraphPlan, data: Any, over: Any) -> GraphPlan:
        seen.append((graph, plan, len(data), over()))
        return dynamic(made, FIRST)

    made.refine(refining(make))
    assert seen == [(made.graph, dynamic(made), 16, False)]
    assert [one.name for one in made.trials] == ["INT8", "INT8, weights rounded together"]
    assert (made.plan.dynamic, made.named) == (FIRST, "INT8, weights rounded together")


def test_what_refines_nothing_is_no_candidate():
    made = search(judged(False, 0.8))
    made.change("INT8", dynamic(made))
    made.refine(refining(lambda session, graph, plan, *_: plan))
    assert len(made.trials) == 1


GOOD, BAD = (-4.0, 4.0), (-0.1, 0.1)


def static(made: PtqSearch, span: tuple[float, float]) -> GraphPlan:
    """The first product with a range of its input that is calibrated."""
    update = {"integer": FIRST, "dynamic": (), "ranges": {"x": span}}
    return dynamic(made).model_copy(update=update)


@pytest.mark.parametrize(("before", "after", "kept"), [(BAD, GOOD, True), (GOOD, BAD, False)])
def test_without_a_budget_the_signal_at_the_outputs_decides(before, after, kept):
    made = unbudgeted()
    made.plan, changed = static(made, before), static(made, after)
    made.refine(refining(lambda *_: changed))
    assert made.plan is changed if kept else made.plan == static(made, before)
    assert made.best is not None
    assert made.best.plan is made.plan
    record = made.start.records[-1]
    assert (record.name, record.parameters) == ("round weights", {"samples": 8})
    (decision,) = record.decisions
    assert decision.verdict == ("rounded together" if kept else "left alone")
    assert "on 8 other samples" in decision.reason


def test_one_sample_alone_refines_nothing():
    made = unbudgeted()
    made.plan = static(made, BAD)
    assert made.data is not None
    made.data = made.data.take(1)
    start = made.start
    made.refine(refining(lambda *_: static(made, GOOD)))
    assert made.start is start
    assert made.plan == static(made, BAD)


def test_a_refinement_that_the_runtime_refuses_is_left_out():
    made = unbudgeted()
    made.plan = plan = static(made, BAD)

    def refuse(*_: object) -> GraphPlan:
        raise GraphError("ONNX Runtime refuses the model: so")

    made.refine(refining(refuse))
    assert made.plan is plan
    assert made.start.records[-1].notices == (
        "round weights was left out: ONNX Runtime refuses the model: so",
    )
