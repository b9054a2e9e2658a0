"""What is slower as integer stays float, where a race confirms it."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual, tagger
from seams import Clock, always

from calibration.dataset import open_dataset
from compressor.checkpoint.prepared import Prepared
from compressor.graph.shapes import input_specs
from compressor.plan.plan import GraphPlan
from compressor.quantization.mixed import Costs
from compressor.quantization.placement import place
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.policy import policy_of
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision import latency_placement
from compressor.search.precision.region_latency import RegionTimes
from compressor.search.precision.regions import CHOICES, DYNAMIC, FLOAT, STATIC, Mix
from compressor.search.session import Session
from compressor.system.progress import SILENT
from exporters.base import find_target

TARGET = find_target("ort")
RANGES = {"x": (-4.0, 4.0), "r1": (0.0, 6.0), "c2": (-6.0, 6.0), "r2": (0.0, 9.0)}
RANGES |= {"p": (0.0, 4.0), "f": (0.0, 4.0), "y": (-8.0, 8.0)}
SLOW_LAST = [[50e-6, 20e-6, np.inf], [50e-6, 20e-6, np.inf], [10e-6, 60e-6, 30e-6]]
X = np.random.default_rng(0).normal(size=(8, 32, 8, 8)).astype(np.float32)


def whole_plan(model: ir.Model, **known: Any) -> GraphPlan:
    integer = place(model, TARGET.policy("avx2")).integer
    return GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7, integer=integer,
        **known,
    )  # fmt: skip


def placed(
    monkeypatch: pytest.MonkeyPatch,
    time: list[list[float]],
    ratio: float,
    ranges: dict[str, tuple[float, float]] = RANGES,
    **options: Any,
) -> tuple[GraphPlan, latency_placement.Placed]:
    """The whole plan, and what is placed where the regions take those times."""
    model = residual()
    plan = whole_plan(model, ranges=ranges)
    return plan, placed_in(monkeypatch, model, plan, X, time, ratio, **options)


def placed_in(
    monkeypatch: pytest.MonkeyPatch,
    model: ir.Model,
    plan: GraphPlan,
    x: np.ndarray,
    time: list[list[float]],
    ratio: float,
    **options: Any,
) -> latency_placement.Placed:

    def measured(session: Session, model: object, mix: Mix) -> RegionTimes:
        pair = np.zeros((len(mix.edges), len(CHOICES), len(CHOICES)))
        return RegionTimes(Costs(np.array(time), mix.edges, pair), 1e-6)

    monkeypatch.setattr(latency_placement, "measured_times", measured)
    recipe = Recipe(
        measure=MeasureOptions(seconds=0.05, threads=1), quantize=QuantizeOptions(**options)
    )
    prepared = Prepared("net", None, model, True, (), (), None, None)
    data = open_dataset({"x": x}).bind(input_specs(model))
    return latency_placement.placed_by_time(
        Session(prepared, recipe, TARGET, SILENT, Clock(always(ratio))), model, plan, data
    )


def test_a_region_that_is_slower_as_integer_stays_float(monkeypatch: pytest.MonkeyPatch):
    whole, found = placed(monkeypatch, SLOW_LAST, ratio=1.2)
    assert set(whole.integer) - set(found.plan.integer) >= {"Gemm_7"}
    assert not found.plan.dynamic
    assert found.mix.chosen(found.plan) == (STATIC, STATIC, FLOAT)
    assert "measured slower" in found.float_reasons["Gemm_7"]
    assert found.records[0].decisions[0].verdict == "partly float"
    results = found.results(found.plan, None)
    assert [region.chosen for region in results] == ["static INT8", "static INT8", "float"]
    assert results[2].choices[0].ms == pytest.approx(0.01)


def test_a_product_gets_ranges_at_run_time_where_that_is_faster(monkeypatch: pytest.MonkeyPatch):
    time = [*SLOW_LAST[:2], [30e-6, 20e-6, 1e-6]]
    whole, found = placed(monkeypatch, time, ratio=1.2)
    assert found.mix.chosen(found.plan) == (STATIC, STATIC, DYNAMIC)
    assert found.plan.dynamic == ("Gemm_7",)
    assert set(found.plan.integer) < set(whole.integer)
    assert found.float_reasons == {}
    assert found.records[0].decisions[0].verdict == "integer, mixed"


def test_no_range_is_found_at_run_time_where_that_is_forbidden(monkeypatch: pytest.MonkeyPatch):
    time = [*SLOW_LAST[:2], [30e-6, 20e-6, 1e-6]]
    whole, found = placed(monkeypatch, time, ratio=1.2, mode="int8-static")
    assert not found.mix.possible[:, DYNAMIC].any()
    assert whole.integer
    assert not found.plan.dynamic
    options = QuantizeOptions(mode="int8-static")
    assert policy_of(TARGET, options).dynamic == frozenset()


@pytest.mark.parametrize(("seconds", "choice"), [(90e-6, FLOAT), (20e-6, DYNAMIC)])
def test_an_lstm_is_integer_only_where_that_is_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: float, choice: int
):
    model, x = tagger(), np.random.default_rng(0).normal(size=(8, 7, 64)).astype(np.float32)
    plan = whole_plan(model, dynamic=("LSTM_2",), ranges={"x": (-4.0, 4.0), "f": (-1.0, 1.0)})
    product = [30e-6, 10e-6, 12e-6]
    time = [product, [50e-6, np.inf, seconds], product]
    found = placed_in(monkeypatch, model, plan, x, time, 1.2)
    assert found.mix.chosen(found.plan) == (STATIC, choice, STATIC)
    assert found.plan.dynamic == (("LSTM_2",) if choice == DYNAMIC else ())
    assert found.float_reasons.keys() == (set() if choice == DYNAMIC else {"LSTM_2"})
    region = found.results(found.plan, None)[1]
    assert [one.precision for one in region.choices] == ["float", "dynamic INT8"]


@pytest.mark.parametrize(("factor", "last"), [(64.0, DYNAMIC), (1.0, STATIC)])
def test_of_equally_fast_ones_the_more_faithful(
    monkeypatch: pytest.MonkeyPatch, factor: float, last: int
):
    model = residual()
    data = open_dataset({"x": X}).bind(input_specs(model))
    chosen = calibrate(model, data, TARGET.policy("avx2"), CalibrationOptions("minmax"))
    ranges = dict(chosen.ranges)
    ranges |= {name: (0.0, factor * ranges[name][1]) for name in ("p", "f")}
    time = [*SLOW_LAST[:2], [30e-6, 20e-6, 20.1e-6]]
    _, found = placed(monkeypatch, time, ratio=0.99, ranges=ranges)
    assert found.mix.chosen(found.plan) == (STATIC, STATIC, last)
    assert "signal to noise at the outputs" in found.records[0].decisions[0].reason


@pytest.mark.parametrize(
    ("time", "ratio"),
    [
        pytest.param(SLOW_LAST, 0.9, id="the race refuses"),
        pytest.param([*SLOW_LAST[:2], [10e-6, 11e-6, np.inf]], 1.2, id="not worth a race"),
        pytest.param([[1e-6, 2e-6, np.inf]] * 3, 1.2, id="nothing would be left"),
    ],
)
def test_it_stays_whole(monkeypatch: pytest.MonkeyPatch, time: list[list[float]], ratio: float):
    whole, found = placed(monkeypatch, time, ratio)
    assert found.plan == whole
    assert found.float_reasons == {}
    assert found.records[0].decisions[0].verdict == "whole"


def test_where_speed_does_not_count_nothing_is_measured(monkeypatch: pytest.MonkeyPatch):
    whole, found = placed(monkeypatch, SLOW_LAST, ratio=1.2, keep_slower=True)
    assert (found.plan, found.times, found.records) == (whole, None, ())
    assert found.results(whole, None) == ()


def test_what_is_known_to_pay_is_not_timed():
    """Neither regions nor a race: the clock of the test knows none."""
    model = residual()
    whole = whole_plan(model, ranges=RANGES)
    recipe = Recipe(measure=MeasureOptions(threads=1))
    prepared = Prepared("net", None, model, True, (), (), None, None)
    session = Session(prepared, recipe, TARGET, SILENT, Clock())
    found = latency_placement.placed_by_time(session, model, whole, pays=True)
    assert (found.plan, found.times, found.records) == (whole, None, ())
