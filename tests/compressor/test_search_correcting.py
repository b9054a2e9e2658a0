"""Biases are corrected without a budget where the outputs gain by it, and only there."""

from pathlib import Path

import numpy as np
import pytest
from graphs import residual

from compressor import Recipe, compress, correcting
from compressor.graph.files import save_model
from compressor.plan import Plan
from compressor.recipe import MeasureOptions, QuantizeOptions

X = np.random.default_rng(1).standard_normal((64, 32, 8, 8)).astype(np.float32)


def run(folder: Path, samples: np.ndarray = X):
    """INT8 of a residual network whose first ranges clip much, which shifts means."""
    source = folder / "net.onnx"
    save_model(residual(), source)
    recipe = Recipe(
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", ranges="percentile:90"),
        measure=MeasureOptions(seconds=0.05),
    )
    report = compress(source, calibration={"x": samples}, recipe=recipe, output=folder / "out")
    plan = Plan.load(folder / "out" / "plan.json").graphs["model"]
    return plan, next((s for s in report.stages if s.name == "correct biases"), None)


def test_corrections_that_help_are_kept_and_replayed(tmp_path: Path):
    plan, stage = run(tmp_path)
    assert set(plan.bias) == {"Conv_0", "Conv_2", "Gemm_7"}
    assert stage.changed == {"layers": 3}
    assert stage.decisions[0].verdict == "corrected"
    out, again = tmp_path / "out", tmp_path / "again"
    compress(tmp_path / "net.onnx", plan=out / "plan.json", output=again)
    for name in ("model.onnx", "plan.json"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_corrections_that_gain_too_little_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(correcting, "GAIN", 100.0)
    plan, stage = run(tmp_path)
    assert not plan.bias
    assert stage.changed == {"layers": 0}
    assert stage.decisions[0].verdict == "left alone"
    assert "on 25 other samples" in stage.decisions[0].reason, "13 judge the run"
