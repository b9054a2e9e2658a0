"""Weights rounded together and biases corrected: kept where the outputs gain, and only there."""

from pathlib import Path

import numpy as np
import pytest
from graphs import residual

from compressor import Recipe, compress
from compressor.graph.files import save_model
from compressor.plan.plan import Plan
from compressor.recipe.recipe import MeasureOptions, QuantizeOptions
from compressor.search.precision import adaptive_rounding, output_signal

pytestmark = pytest.mark.usefixtures("quick")

SHAPE = (64, 32, 8, 8)


def images() -> np.ndarray:
    """Channels that go together, as those of a trained network do."""
    rng = np.random.default_rng(1)
    mixed = np.linalg.qr(rng.standard_normal((32, 32)))[0] * np.geomspace(1, 0.02, 32)
    return np.einsum("nchw,cd->ndhw", rng.standard_normal(SHAPE), mixed).astype(np.float32)


def run(folder: Path, ranges: str):
    """INT8 of a residual network; its plan, and the stages by name."""
    source = folder / "net.onnx"
    save_model(residual(), source)
    recipe = Recipe(
        quantize=QuantizeOptions(keep_slower=True, keep_ruined=True, cpu="avx2", ranges=ranges),
        measure=MeasureOptions(seconds=0.05),
    )
    report = compress(source, calibration={"x": images()}, recipe=recipe, output=folder / "out")
    plan = Plan.load(folder / "out" / "plan.json").graphs["model"]
    return plan, {stage.name: stage for stage in report.stages}


def assert_replayed(folder: Path) -> None:
    out, again = folder / "out", folder / "again"
    compress(folder / "net.onnx", plan=out / "plan.json", output=again)
    for file in (path for path in out.iterdir() if path.name.startswith(("model", "plan"))):
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_weights_that_help_are_kept_and_replayed(tmp_path: Path):
    plan, stages = run(tmp_path, "minmax")
    assert set(plan.rounded) == {"Conv_0", "Conv_2", "Gemm_7"}
    assert all(codes.dtype == np.int8 for codes in plan.rounded.values())
    assert stages["round weights"].changed == {"layers": 3}
    assert stages["round weights"].decisions[0].verdict == "rounded together"
    assert (tmp_path / "out" / "plan.safetensors").is_file()
    assert_replayed(tmp_path)


def test_corrections_that_help_are_kept_and_replayed(tmp_path: Path):
    # The first ranges clip much, which shifts means.
    plan, stages = run(tmp_path, "percentile:90")
    assert set(plan.bias) == {"Conv_0", "Conv_2", "Gemm_7"}
    assert stages["correct biases"].changed == {"layers": 3}
    assert stages["correct biases"].decisions[0].verdict == "corrected"
    assert_replayed(tmp_path)


def test_what_gains_too_little_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output_signal, "GAIN", 100.0)
    plan, stages = run(tmp_path, "percentile:90")
    assert not plan.bias
    assert not plan.rounded
    for stage in ("round weights", "correct biases"):
        assert stages[stage].changed == {"layers": 0}
        assert stages[stage].decisions[0].verdict == "left alone"
        assert "on 25 other samples" in stages[stage].decisions[0].reason, "13 judge the run"
    assert not (tmp_path / "out" / "plan.safetensors").exists()


def test_weights_stay_the_nearest_where_squares_are_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    endless = np.full((1, 1, 1), np.inf)
    monkeypatch.setattr(
        adaptive_rounding, "_moments", lambda _, layers, *__: [(n, endless) for n in layers]
    )
    plan, stages = run(tmp_path, "minmax")
    assert plan.integer
    assert not plan.rounded
    assert "round weights" not in stages
