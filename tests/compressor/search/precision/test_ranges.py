"""What could be integer, and its ranges: from calibration, or found at run time."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import Clock, Told, Verdicts, images, searching, session_of

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.errors import DataError
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.data import DataOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.ranges import calibrated_ranges, runtime_ranges
from exporters.ort.target import TARGET
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

DATA = images(16, 0)


def search(
    made: ir.Model | None = None,
    data: dict[str, np.ndarray] | None = DATA,
    *,
    budget: bool = False,
    target: Any = TARGET,
    told: Told | None = None,
    cache: Path | None = None,
    stats: CalibrationStats | None = None,
    **quantize: Any,
) -> PtqSearch:
    options = QuantizeOptions(**{"cpu": "avx2", "batch": 8, "ranges": "minmax"} | quantize)
    session = session_of(
        made or residual(), Recipe(quantize=options, data=DataOptions(cache=cache)), Clock(),
        calibration=data, target=target, progress=told or Told(),
    )  # fmt: skip
    acceptance = Verdicts(None, asked="1%" if budget else None)
    return searching(session, acceptance, session.prepared.calibration, stats=stats)


def test_calibration_says_what_is_integer_and_its_ranges():
    told = Told()
    found = search(told=told)
    before = found.plan
    calibrated_ranges(found)
    plan = found.plan
    assert (plan.ship, plan.weight_bits, plan.pairs) == ("int8", 8, True)
    assert {"Conv_0", "Conv_2", "Gemm_7"} <= set(plan.integer)
    low, high = plan.ranges["x"]
    assert (low, high) == pytest.approx((DATA["x"].min(), DATA["x"].max()))
    update = {"ship": "float", "pairs": False, "integer": (), "dynamic": (), "ranges": {}}
    assert plan.model_copy(update=update) == before
    assert found.calibration is not None
    assert found.start.records[-1] is found.calibration.record
    assert found.stays_float is None
    assert told.stages[-1] == "calibrate"
    assert found.start.plan == before, "nothing ships yet"


def test_without_samples_or_statistics_float_stays():
    found = search(data=None)
    calibrated_ranges(found)
    assert found.stays_float == "nothing was quantized: INT8 needs calibration data (--calib DATA)"
    assert (found.calibration, found.plan.quantized) == (None, ())


def collected() -> CalibrationStats:
    data = search().calibrating
    assert isinstance(data, CalibrationSet)
    graph = search().graph
    chosen = calibrate(graph, data, TARGET.policy("avx2"), CalibrationOptions("minmax"))
    assert chosen.stats is not None
    return chosen.stats


def test_statistics_do_as_well_and_nothing_is_run():
    told = Told()
    one, other = search(), search(data=None, told=told, stats=collected())
    calibrated_ranges(one)
    calibrated_ranges(other)
    assert other.plan == one.plan


def test_statistics_of_another_graph_are_refused():
    other = model(
        "g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] y) "
        "{ y = Conv<pads=[1,1,1,1]>(x, w) }",
        w=[32, 32, 3, 3],
    )
    found = search(other)
    found.stats = collected()
    with pytest.raises(DataError, match="were collected from the graph"):
        calibrated_ranges(found)


def tokens(width: int) -> ir.Model:
    return model(
        f"g (float[n,{width}] x, float[{width},{width}] w) => (float[n,{width}] y) "
        "{ y = MatMul(x, w) }",
        w=[width, width],
    )


def rows(width: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((16, width)).astype(np.float32)}


def test_where_nothing_gains_the_commonest_reason_is_told():
    found = search(tokens(4), rows(4))
    calibrated_ranges(found)
    assert found.stays_float is not None
    assert found.stays_float.startswith("no part of this graph gains from integer kernels; 1 of 1")
    plain = search(model("g (float[n,4] x) => (float[n,4] y) { y = Tanh(x) }"), rows(4))
    calibrated_ranges(plain)
    assert plain.stays_float == "no part of this graph gains from integer kernels"


def test_floats_of_8_bits_are_called_so():
    target = TrtTarget(TrtOptions(precision="fp8"))
    found = search(target=target)
    calibrated_ranges(found)
    assert found.plan.ship == "fp8"
    blind = search(data=None, target=target)
    calibrated_ranges(blind)
    assert "FP8 needs calibration data" in (blind.stays_float or "")


def test_what_was_collected_is_kept_for_later_runs(tmp_path: Path):
    calibrated_ranges(search(cache=tmp_path))
    (kept,) = tmp_path.glob("*.npz")
    assert CalibrationStats.load(kept).samples == 16


def test_ranges_found_at_run_time_take_no_data():
    told = Told()
    found = search(tokens(64), data=None, told=told)
    before = found.plan
    runtime_ranges(found)
    assert (found.plan.ship, found.plan.weight_bits, found.plan.pairs) == ("int8", 8, True)
    assert found.plan.dynamic == ("MatMul_0",)
    assert (found.plan.integer, found.plan.ranges) == ((), {})
    update = {"ship": "float", "pairs": False, "dynamic": ()}
    assert found.plan.model_copy(update=update) == before
    assert found.start.records[-1].name == "place dynamic INT8"
    assert "calibrate" not in told.stages
    images_only = search(
        model(
            "g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] y) { y = Conv(x, w) }",
            w=[32, 32, 3, 3],
        )
    )
    runtime_ranges(images_only)
    assert "gains from dynamic INT8" in (images_only.stays_float or "")
