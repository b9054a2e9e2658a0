"""An earlier run's plan, carried out without a search: the same bytes."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import Clock, images, session_of

from compressor.errors import RecipeError
from compressor.graph.files import serialize
from compressor.plan.decisions import PrunePlan, SparsePlan
from compressor.plan.plan import GraphPlan
from compressor.quantization.bias import stored
from compressor.quantization.placement import place, quantized_values
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import undecided
from compressor.search.replay import replay
from compressor.search.session import Session
from exporters.ort.target import TARGET

POLICY = TARGET.policy("avx2")


@pytest.fixture(scope="module")
def session() -> Session:
    return session_of(residual(), Recipe(), Clock(), calibration=images(4, 0))


@pytest.fixture(scope="module")
def plan(session: Session) -> GraphPlan:
    """Float, of the session's graph."""
    return undecided(session).plan


def as_integer(plan: GraphPlan) -> GraphPlan:
    graph = residual()
    integer = place(graph, POLICY).integer
    names = [value.name or "" for value in quantized_values(graph, integer, POLICY)]
    update = {"ship": "int8", "cpu": "avx2", "weight_bits": 7, "integer": integer}
    return plan.model_copy(update=update | {"ranges": dict.fromkeys(names, (-9.0, 9.0))})


def test_a_plan_of_another_graph_is_refused(session: Session, plan: GraphPlan):
    with pytest.raises(RecipeError, match="the plan was made for the graph 0000"):
        replay(session, plan.model_copy(update={"graph": "0" * 64}))


def test_float_is_the_baseline_and_nothing_is_searched(session: Session, plan: GraphPlan):
    found = replay(session, plan)
    assert found.shipped is found.plain is found.graph is found.baseline
    assert [record.name for record in found.records] == ["fold", "replay the plan"]
    assert found.records[-1].changed == {"integer nodes": 0}
    assert found.reason == "decided by the plan that was replayed"
    assert (found.considered, found.quantized, found.pruning) == ((), None, None)
    assert session.timer.races == []


def test_integers_are_as_planned_and_the_same_each_time(session: Session, plan: GraphPlan):
    integer = as_integer(plan)
    one, other = replay(session, integer), replay(session, integer)
    assert serialize(one.shipped) == serialize(other.shipped)
    assert one.plan == integer
    assert one.plain is one.baseline
    assert one.records[-1].changed == {"integer nodes": len(integer.integer)}
    assert "QuantizeLinear" in {node.op_type for node in one.shipped.graph}
    (effect,) = one.records[-1].effects
    assert effect.after < effect.before


def test_channels_that_went_go_again_and_are_told(session: Session, plan: GraphPlan):
    kept = tuple(range(0, 32, 2))
    found = replay(session, plan.model_copy(update={"prune": PrunePlan(kept={"Conv_0": kept})}))
    assert found.pruning is not None
    (group,) = found.pruning.groups
    assert (group.name, group.units_before, group.units_after) == ("Conv_0", 32, 16)
    assert (found.pruning.method, found.pruning.layers) == (None, ())
    whole, half = (weight(one, "w1") for one in (residual(), found.plain))
    np.testing.assert_array_equal(half, whole[list(kept)])
    assert found.shipped is found.plain
    assert found.baseline is not found.plain


def chain() -> ir.Model:
    """Two convolutions, between which the spread of channels can be moved."""
    return model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w1, float[16,32,1,1] w2) => (float[n,16,8,8] y)
        {
            h = Conv<pads=[1,1,1,1]>(x, w1)
            r = Relu(h)
            y = Conv(r, w2)
        }""",
        w1=[32, 32, 3, 3], w2=[16, 32, 1, 1],
    )  # fmt: skip


def weight(made: ir.Model, name: str) -> np.ndarray:
    value = made.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


def test_zeros_and_moved_spread_come_before_the_integers():
    session = session_of(chain(), Recipe(), Clock(), calibration=images(4, 0))
    zeros = weight(chain(), "w1").copy()
    zeros[:, ::2] = 0
    sparse = SparsePlan(layers=("Conv_0",), weights={"Conv_0/weight": zeros})
    twice = stored({"r": np.full(32, 2.0, np.float32)})
    asked = undecided(session).plan.model_copy(update={"sparse": sparse, "smooth": twice})
    found = replay(session, asked)
    assert found.records[-1].changed == {"integer nodes": 0, "2:4 sparse layers": 1}
    np.testing.assert_array_equal(weight(found.plain, "w1"), zeros)
    np.testing.assert_array_equal(weight(found.baseline, "w1"), weight(chain(), "w1"))
    moved = {
        node.inputs[1].name: node.inputs[1] for node in found.graph.graph if len(node.inputs) > 1
    }
    first, second = (value.const_value.numpy() for value in moved.values())
    np.testing.assert_allclose(first, zeros / 2, rtol=1e-6)
    np.testing.assert_allclose(second, 2 * weight(chain(), "w2"), rtol=1e-6)
    assert found.shipped is found.graph
