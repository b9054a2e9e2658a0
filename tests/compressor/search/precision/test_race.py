"""Which precision ships where speeds are compared."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, Told, Verdicts, always, searching, session_of

from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.results.records import Interval
from compressor.search.acceptance import NoBudget
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.race import kept_if_faster
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


# What becomes of the best


X = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)


def found_best(
    clock: Clock,
    *verdicts: bool,
    budget: bool = True,
    told: Told | None = None,
    keep_slower: bool = False,
) -> PtqSearch:
    """A search that tried one product and both, as far as there are verdicts."""
    made = model(
        """g (float[n,64] x, float[64,64] w, float[64,64] v) => (float[n,64] y)
        {
            h = MatMul(x, w)
            t = Tanh(h)
            y = MatMul(t, v)
        }""",
        w=[64, 64], v=[64, 64],
    )  # fmt: skip
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=8, keep_slower=keep_slower),
        measure=MeasureOptions(seconds=0.05),
        budget=BudgetOptions(max_drop="50pt"),
    )
    session = session_of(made, recipe, clock, calibration={"x": X}, progress=told or Told())
    data = session.prepared.calibration
    acceptance = Verdicts(data, verdicts) if budget else NoBudget(session, None, "")
    search = searching(session, acceptance, data)
    plans = [
        search.plan.model_copy(update={"ship": "int8", "weight_bits": 7, "dynamic": nodes})
        for nodes in (("MatMul_0",), ("MatMul_0", "MatMul_2"))
    ]
    search.plan = plans[-1]
    if budget:
        for plan, _ in zip(plans, verdicts, strict=False):
            search.attempt(f"{len(plan.dynamic)} products", plan)
    else:
        search.propose()
    return search


def integers(made: ir.Model) -> int:
    return sum(node.op_type == "MatMulInteger" for node in made.graph)


def test_what_is_faster_ships_with_its_race_at_length():
    clock = Clock(always(1.5))
    search = found_best(clock, True, True)
    found = kept_if_faster(search)
    assert (found.plan.ship, integers(found.shipped)) == ("int8", 2)
    assert found.candidate.name == "2 products"
    race = clock.races[-1]
    assert race.baseline is search.start.plain
    assert race.challenger is found.shipped
    assert race.seconds == 0.05
    assert found.known_race is not None
    assert [one.shipped for one in found.considered] == [False, True]
    assert found.considered[1].reason.startswith("accepted; INT8 ran at 1.50× the speed of float")
    record = found.records[-1]
    assert (record.name, record.decisions[0].verdict) == ("quantize", "kept")
    assert record.changed["integer nodes"] == 2
    assert record.parameters["ratio"] == 1.5
    weights, speed = record.effects[:2]
    assert weights.after < weights.before
    assert speed is not None


@pytest.mark.parametrize("keep_slower", [False, True])
def test_what_is_slower_is_reverted_unless_it_was_asked_for(keep_slower: bool):
    search = found_best(Clock(always(0.5)), True, keep_slower=keep_slower)
    found = kept_if_faster(search)
    assert (found.plan.ship == "int8") == keep_slower
    assert (found.shipped is search.start.shipped) != keep_slower
    assert found.quantized is not None, "the report tells of it all the same"
    assert [one.shipped for one in found.considered] == [keep_slower]
    verdict = found.records[-1].decisions[0].verdict
    assert verdict == ("kept" if keep_slower else "reverted")
    assert (found.raced is None) != keep_slower


def test_where_nothing_can_be_timed_8_bits_ship_unproven():
    found = kept_if_faster(found_best(Clock(always(None)), budget=False))
    assert found.plan.ship == "int8"
    assert found.reason == (
        "INT8 as asked for, speed unproven: the machine was too busy to time it"
    )
    assert (found.raced, found.known_race) == (None, None)
    (candidate,) = found.considered
    assert (candidate.name, candidate.shipped, candidate.latency) == ("INT8", True, None)


def test_nothing_that_kept_the_budget_is_float():
    clock = Clock(always(1.5))
    search = found_best(clock, False, False)
    races = len(clock.races)
    found = kept_if_faster(search)
    assert found.plan.ship == "float"
    assert found.reason == "in the search, no INT8 graph kept the budget: float ships"
    assert [one.shipped for one in found.considered] == [False, False]
    assert found.quantized is not None
    assert len(clock.races) == races
    search.ended = "the time budget of 1s ended the search"
    assert kept_if_faster(search).reason == (
        "the time budget of 1s ended the search before any INT8 graph kept the budget: float ships"
    )


def test_an_interrupted_search_ships_its_best_without_a_race():
    clock = Clock(always(0.5))
    search = found_best(clock, True)
    search.interrupted = True
    races = len(clock.races)
    found = kept_if_faster(search)
    assert (found.interrupted, integers(found.shipped)) == (True, 1)
    assert found.reason == "1 products: the best so far when it was interrupted"
    assert len(clock.races) == races


@pytest.mark.parametrize("budget", [True, False])
def test_an_interrupted_race_leaves_the_best_only_within_a_budget(budget: bool):
    search = found_best(Clock(always(1.5)), True, budget=budget, told=Told("decide"))
    if not budget:
        with pytest.raises(KeyboardInterrupt):
            kept_if_faster(search)
        return
    found = kept_if_faster(search)
    assert found.interrupted
    assert found.plan.ship == "int8"
    assert found.reason.endswith("interrupted before its speed was compared")
