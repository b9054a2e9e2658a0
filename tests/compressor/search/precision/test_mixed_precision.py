"""The fastest choice of a precision for each region that keeps the budget."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import Clock, Verdicts, images, judged, searching, session_of

from compressor.plan.plan import GraphPlan
from compressor.quantization.placement import place
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.candidate import Judged
from compressor.search.precision.mixed_precision import TRIES, by_count, mixed_precision
from compressor.search.precision.ptq_search import AS_INTEGER, PtqSearch
from compressor.search.precision.ptq_steps import as_calibrated, latency_placement
from compressor.search.precision.ranges import calibrated_ranges
from compressor.search.precision.regions import CHOICES, FLOAT, STATIC, mixed
from exporters.ort.target import TARGET

DATA = images(8, 0)


class Sensitive(Verdicts):
    """Refuses whatever has those weights as integers."""

    def __init__(self, *weights: str) -> None:
        super().__init__(None)
        self.weights = weights
        self.asked_for: list[bool] = []

    def accepts(self, made: ir.Model) -> Judged:
        floats = made.graph.initializers
        kept = all(
            name in floats and floats[name].dtype == ir.DataType.FLOAT for name in self.weights
        )
        self.asked_for.append(kept)
        return judged(kept, 0.1 if kept else 2.0)


def search(
    acceptance: Verdicts,
    made: ir.Model | None = None,
    data: dict[str, np.ndarray] = DATA,
    **spoilt: tuple[float, float],
) -> PtqSearch:
    """With everything in 8 bits, and some ranges spoilt."""
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=8, ranges="minmax", keep_slower=True),
        measure=MeasureOptions(seconds=0.05),
        budget=BudgetOptions(max_drop="50pt"),
    )
    session = session_of(made or residual(), recipe, Clock(), calibration=data)
    found = searching(session, acceptance, session.prepared.calibration)
    calibrated_ranges(found)
    ranges = found.plan.ranges | spoilt
    found.plan = found.plan.model_copy(update={"ranges": ranges})
    latency_placement(found)
    as_calibrated(found)
    return found


@pytest.mark.parametrize(
    ("weight", "node", "spoilt"),
    [("w1", "Conv_0", {"x": (-0.1, 0.1)}), ("w2", "Conv_2", {}), ("w3", "Gemm_7", {})],
)
def test_what_costs_too_much_alone_stays_float_and_the_rest_is_integer(weight, node, spoilt):
    found = search(Sensitive(weight), **spoilt)
    whole, start = found.plan, found.start
    mixed_precision(found)
    best = found.best
    assert best is not None
    assert found.placed is not None
    chosen = found.placed.mix.chosen(best.plan)
    assert node not in best.plan.quantized
    assert FLOAT not in [
        choice
        for choice, region in zip(chosen, found.placed.mix.regions, strict=True)
        if region.weighted != (node,)
    ]
    assert best.float_reasons[node] == AS_INTEGER
    assert "1 of 3 layers in float" in best.name
    assert best.plan.ranges == whole.ranges
    assert found.start is start, "candidates alone are what it makes"


def test_regions_are_ranked_by_what_they_leave_at_the_outputs():
    found = search(Sensitive("w1", "w2"))
    mixed_precision(found)
    assert found.damage is not None
    assert found.placed is not None
    assert (found.damage[:, FLOAT] == 0).all()
    possible = found.placed.mix.possible
    assert np.isfinite(found.damage[possible]).all()
    assert np.isinf(found.damage[~possible]).all()
    assert [one.verdict for one in found.findings] == ["worst 1", "worst 2", "worst 3"]
    least = found.damage[:, FLOAT + 1 :].min(axis=1)
    names = [found.placed.mix.regions[i].weighted[0] for i in np.argsort(-least)]
    assert [one.subject for one in found.findings] == names
    assert all("dB of signal to noise" in one.reason for one in found.findings)


def test_where_nothing_keeps_the_budget_it_ends_and_nothing_is_best():
    acceptance = Sensitive("elsewhere")
    found = search(acceptance)
    mixed_precision(found)
    assert found.best is None
    assert 1 < len(acceptance.asked_for) <= TRIES + 1
    plans = [one.plan for one in found.trials]
    assert len({plan.model_dump_json() for plan in plans}) == len(plans), "none is tried twice"


def test_one_region_alone_is_all_or_nothing():
    single = model(
        "g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] y) "
        "{ y = Conv<pads=[1,1,1,1]>(x, w) }",
        w=[32, 32, 3, 3],
    )
    found = search(Sensitive("w"), single)
    mixed_precision(found)
    assert len(found.trials) == 1
    assert (found.damage, found.findings) == (None, [])


def test_without_regions_nothing_is_measured():
    found = search(Sensitive("w1"))
    found.placed = None
    mixed_precision(found)
    assert (len(found.trials), found.damage) == (1, None)


def test_by_count_floats_cost_most_and_what_cannot_be_is_endless():
    graph, policy = residual(), TARGET.policy("avx2")
    plan = GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7,
        integer=place(graph, policy).integer,
    )  # fmt: skip
    mix = mixed(graph, plan, policy)
    costs = by_count(mix)
    assert costs.time.shape == (3, len(CHOICES))
    np.testing.assert_array_equal(costs.time[:2], [[1, 0, np.inf]] * 2)
    np.testing.assert_array_equal(costs.time[2], [1, 0, 0.25])
    assert costs.total((FLOAT, STATIC, STATIC)) == 1.0
