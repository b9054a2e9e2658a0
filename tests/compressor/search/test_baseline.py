"""Where a search starts: the faster of the captured and the folded graph."""

from dataclasses import replace

import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import Clock, Told, always, images, session_of

from calibration.collect import collect
from calibration.dataset import open_dataset
from calibration.stats import CalibrationStats
from compressor.errors import DataError
from compressor.graph.fingerprint import fingerprint
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import folded, started, undecided
from compressor.search.session import Session

RECIPE = Recipe(
    measure=MeasureOptions(seconds=0.5),
    quantize=QuantizeOptions(cpu="avx2", activation="int8", granularity="tensor"),
)


def scaled() -> ir.Model:
    """A convolution and a factor of each channel, which folds into it."""
    return model(
        """g (float[n,32,8,8] x, float[8,32,1,1] w, float[8,1,1] s) => (float[n,8,8,8] y)
        {
            c = Conv(x, w)
            y = Mul(c, s)
        }""",
        w=[8, 32, 1, 1], s=[8, 1, 1],
    )  # fmt: skip


def session(clock: Clock, made: ir.Model | None = None) -> Session:
    return session_of(made or scaled(), RECIPE, clock)


@pytest.mark.parametrize(
    ("ratio", "kind", "nodes"),
    [(1.2, "folded", 1), (1.0, "folded", 1), (0.5, "captured", 2)],
    ids=["faster", "the same", "slower"],
)
def test_folding_is_kept_unless_it_measures_slower(ratio: float, kind: str, nodes: int):
    clock = Clock(always(ratio))
    found = undecided(session(clock))
    assert found.plan.baseline == kind
    assert len(found.baseline.graph) == nodes
    assert found.baseline is found.plain is found.graph is found.shipped
    (asked,) = clock.races
    assert [len(one.graph) for one in (asked.baseline, asked.challenger)] == [2, 1]
    assert asked.seconds == 0.25, "half of what measures the result"
    fold, choice = found.records
    assert (fold.name, choice.name) == ("fold", "choose the baseline")
    assert choice.decisions[0].verdict == kind
    assert "the speed of captured" in choice.decisions[0].reason


def test_where_nothing_can_be_timed_folded_is_the_baseline():
    found = undecided(session(Clock(always(None))))
    assert found.plan.baseline == "folded"
    assert [record.name for record in found.records] == ["fold"]


def test_what_does_not_fold_is_not_raced():
    clock = Clock()
    started_at = session(clock, residual())
    found = undecided(started_at)
    assert (found.plan.baseline, clock.races) == ("captured", [])
    assert found.baseline is started_at.prepared.model


def test_the_plan_is_of_the_captured_graph_with_what_was_asked_for():
    start = session(Clock(always(2.0)))
    plan = undecided(start).plan
    assert plan.graph == fingerprint(start.prepared.model)
    assert (plan.ship, plan.quantized) == ("float", ())
    assert (plan.cpu, plan.activation, plan.granularity) == ("avx2", "int8", "tensor")


def collected(graph: ir.Model) -> CalibrationStats:
    return collect(graph, ["x"], open_dataset(images(4, 0)))


def test_statistics_tell_which_float_graph_they_are_of():
    clock = Clock()
    start = session(clock)
    captured = start.prepared.model
    made, record = folded(start)
    assert record.name == "fold"
    for graph, kind in ((captured, "captured"), (made, "folded")):
        found = undecided(start, collected(graph))
        assert found.plan.baseline == kind
        assert fingerprint(found.baseline) == fingerprint(graph)
    assert clock.races == [], "it is not the faster one that they would fit"
    with pytest.raises(DataError, match="were collected from the graph"):
        undecided(start, collected(residual()))


def test_folding_leaves_the_captured_graph_and_is_told():
    told = Told()
    start = replace(session(Clock()), progress=told)
    before = fingerprint(start.prepared.model)
    made, record = folded(start)
    assert fingerprint(start.prepared.model) == before
    assert len(made.graph) < len(start.prepared.model.graph)
    assert sum(record.changed.values()) > 0
    assert told.stages == ["fold"]


def test_a_start_has_decided_nothing():
    plan = undecided(session(Clock(always(2.0)))).plan
    graph = scaled()
    found = started(graph, plan, ())
    assert (found.candidate.name, found.candidate.parent, found.records) == ("float", None, ())
    assert (found.considered, found.quantized, found.pruning) == ((), None, None)
    assert found.shipped is graph
