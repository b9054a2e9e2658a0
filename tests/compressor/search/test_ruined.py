"""What was quantized for speed is taken back where its outputs are ruined, and only then."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual
from seams import Clock, Told, images, looking, session_of

from compressor.plan.decisions import PrunePlan
from compressor.plan.plan import GraphPlan
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.records import StageRecord
from compressor.search.acceptance import NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit, split_data
from compressor.search.ruined import unless_ruined
from compressor.search.session import Session
from compressor.system.progress import SILENT, Progress

QUANTIZE = StageRecord(name="quantize", seconds=0.0)
INT8 = ToldCandidate(name="INT8", shipped=True, reason="it pays")
OTHER = ToldCandidate(name="INT8, other ranges", shipped=False, reason="refused")


def session(progress: Progress = SILENT, **quantize: bool) -> Session:
    recipe = Recipe(
        measure=MeasureOptions(metric="cosine"), quantize=QuantizeOptions(cpu="avx2", **quantize)
    )
    made = session_of(residual(), recipe, Clock(), calibration=images(40, 0), progress=progress)
    data = split_data(made.prepared, 0).quality
    assert data is not None
    return looking(made, data)


def changed(*, share: float) -> ir.Model:
    """The network, its last weights moved by a share of what they are."""
    made = residual()
    value = made.graph.initializers["w3"]
    assert value.const_value is not None
    array = value.const_value.numpy()
    noise = np.random.default_rng(5).standard_normal(array.shape) * array.std()
    value.const_value = ir.tensor((array + share * noise).astype(np.float32), name="w3")
    return made


def quantized(start: Outcome, shipped: ir.Model, plain: ir.Model | None = None) -> Outcome:
    plan = start.plan.model_copy(update={"ship": "int8", "integer": ("Conv_0",)})
    found = start.then(QUANTIZE, plan=plan, name="INT8", shipped=shipped, plain=plain)
    return replace(found, considered=(OTHER, INT8))


def looked(
    made: Session, found: Outcome, start: Outcome, *, judged: bool = True
) -> tuple[Outcome, DataSplit]:
    data = split_data(made.prepared, 0)
    acceptance = NoBudget(made, data.quality if judged else None, data.words)
    return unless_ruined(made, start, found, data, acceptance), data


def test_a_ruined_result_is_taken_back_and_told():
    told = Told()
    made = session(told)
    start = undecided(made)
    before = quantized(start, changed(share=9.0))
    told.notices.clear()
    found, _ = looked(made, before, start)
    assert found.plan == start.plan
    assert found.shipped is found.plain is start.plain
    assert found.reason.startswith("INT8 was reverted: its outputs are ruined: cosine is ")
    assert "--keep-ruined" in found.reason
    assert [record.name for record in found.records] == ["fold", "quantize", "look for ruin"]
    assert found.records[-1].decisions[0].verdict == "reverted"
    (notice,) = told.notices
    assert notice in found.records[-1].notices
    refused, reverted = found.considered
    assert refused == OTHER
    assert not reverted.shipped
    assert reverted.reason.startswith("it pays; then INT8 was reverted")
    assert reverted.quality is not None
    assert reverted.quality.result is not None
    assert reverted.quality.result < 0.8


def test_what_is_close_ships_with_its_quality_beside_it():
    made = session()
    start = undecided(made)
    before = quantized(start, changed(share=0.05))
    found, data = looked(made, before, start)
    assert (found.plan, found.shipped, found.records) == (
        before.plan,
        before.shipped,
        before.records,
    )
    assert found.considered[0] == OTHER
    shipped = found.considered[1]
    assert shipped.shipped
    assert shipped.quality is not None
    assert shipped.quality.result is not None
    assert shipped.quality.result > 0.99
    assert data.quality is not None
    assert shipped.quality.samples == len(data.quality)
    assert shipped.quality.data == data.words


@pytest.mark.parametrize("why", ["keep ruined", "no samples", "no metric", "float"])
def test_nothing_is_looked_at(why: str):
    made = session(keep_ruined=why == "keep ruined")
    if why == "no metric":
        made = replace(made, prepared=replace(made.prepared, yardstick=None))
    start = undecided(made)
    before = quantized(start, changed(share=9.0))
    if why == "float":
        before = before.then(plan=start.plan)
    found, _ = looked(made, before, start, judged=why != "no samples")
    assert found is before


def pruned(plan: GraphPlan) -> GraphPlan:
    return plan.model_copy(update={"prune": PrunePlan(kept={"Conv_0": (0,)})})


@pytest.mark.parametrize("in_float", [True, False])
def test_what_was_pruned_stays_and_its_integers_go_where_they_are_to_blame(in_float: bool):
    made = session()
    start = undecided(made)
    plain = changed(share=9.0 if in_float else 0.02)
    before = quantized(start, changed(share=9.0), plain)
    before = before.then(plan=pruned(before.plan))
    found, _ = looked(made, before, start)
    assert found.plan.prune == before.plan.prune, "it was asked for in so many words"
    assert found.plan.ship == ("int8" if in_float else "float")
    assert found.shipped is (before.shipped if in_float else plain)
    assert found.plan.quantized == (("Conv_0",) if in_float else ())
