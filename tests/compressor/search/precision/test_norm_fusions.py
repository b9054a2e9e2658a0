"""Additions stay apart from norms where that is faster, whatever the regions take."""

import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import TARGET, Clock, Told, always, session_of

from compressor.plan.plan import GraphPlan
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import Verdict
from compressor.search.precision.norm_fusions import with_norms_apart

PLAN = GraphPlan(graph="", baseline="captured", ship="int8", cpu="avx2", dynamic=("MatMul_0",))


def block() -> ir.Model:
    """The end of a transformer's layer."""
    return model(
        """g (float[n,8,64] x, float[64,64] w, float[64] gain, float[64] shift)
            => (float[n,8,64] y)
        {
            h = MatMul(x, w)
            s = Add(h, x)
            y = LayerNormalization(s, gain, shift)
        }""",
        w=[64, 64], gain=[64], shift=[64],
    )  # fmt: skip


def run(made: ir.Model, clock: Clock, plan: GraphPlan = PLAN):
    told = Told()
    recipe = Recipe(measure=MeasureOptions(seconds=0.5))
    session = session_of(made, recipe, clock, progress=told)
    graph = session.prepared.model
    return (*with_norms_apart(session, graph, plan), told)


@pytest.mark.parametrize(
    ("ratio", "verdict", "apart"),
    [
        (1.2, "faster", True),
        (1.01, "no significant difference", True),
        (0.99, "no significant difference", False),
        (1.2, "undecided", False),
    ],
)
def test_the_measured_ratio_decides_unless_it_means_nothing(
    ratio: float, verdict: Verdict, apart: bool
):
    clock = Clock(always(ratio), verdict=verdict)
    plan, (record,), _ = run(block(), clock)
    assert plan.plain_norms == apart
    assert plan.model_copy(update={"plain_norms": False}) == PLAN
    assert record.changed == {"additions": int(apart)}
    (decision,) = record.decisions
    assert decision.verdict == ("kept apart" if apart else "fused")
    assert "the speed where they are not fused" in decision.reason


def test_the_race_is_of_the_integer_graph_with_and_without():
    clock = Clock(always(1.2))
    run(block(), clock)
    (asked,) = clock.races
    assert asked.seconds == 0.25
    fused, apart = (
        {node.op_type for node in one.graph} for one in (asked.baseline, asked.challenger)
    )
    assert {"Add", "MatMulInteger"} & fused
    assert "Add" in fused - apart
    assert "Sum" in apart - fused
    assert TARGET.keep_norms_plain(asked.challenger.clone()) == 0, "nothing is left to do"


def test_a_graph_without_such_norms_is_not_raced():
    clock = Clock()
    whole = PLAN.model_copy(update={"dynamic": ()})
    plan, records, told = run(residual(), clock, whole)
    assert plan is whole
    assert (records, clock.races, told.stages.count("compare fusions")) == ((), [], 0)


def test_where_nothing_can_be_timed_they_stay_fused():
    plan, records, _ = run(block(), Clock(always(None)))
    assert plan is PLAN
    assert records == ()
