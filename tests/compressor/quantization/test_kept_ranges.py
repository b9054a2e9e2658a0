"""Choices of ranges are taken where all that they depend on is the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from graphs import model

from calibration.dataset import open_dataset
from compressor.quantization import static
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from exporters.base import find_target

TEXT = """g (float[n,16] x, float[16,32] w1, float[32,8] w2) => (float[n,8] y)
{
    h = MatMul(x, w1)
    r = Relu(h)
    y = MatMul(r, w2)
}"""


def calibrated(cache: Path | None, *, seed: int = 0, weights: int = 0) -> StaticChoice:
    data = open_dataset({"x": np.random.default_rng(1).standard_normal((96, 16), np.float32)})
    made = model(TEXT, weights, w1=[16, 32], w2=[32, 8])
    policy = find_target("ort").policy("vnni")
    return calibrate(made, data, policy, CalibrationOptions(cache=cache, seed=seed))


def test_samples_are_replayed_once(tmp_path: Path, monkeypatch) -> None:
    counts, replayed = [], static.select
    monkeypatch.setattr(static, "select", lambda *a, **k: (counts.append(1), replayed(*a, **k))[1])
    plain = calibrated(None)
    assert len(counts) == 1
    for _ in range(2):
        found = calibrated(tmp_path)
        assert found.selected == plain.selected
        assert len(set(found.selected.methods)) > 1
    assert len(counts) == 2
    calibrated(tmp_path, seed=1)
    calibrated(tmp_path, weights=1)
    assert len(counts) == 4


def test_the_key_is_the_same_in_every_process() -> None:
    """Sets are told in an order that does not depend on the seed of hashes."""
    code = (
        "from exporters.base import find_target; from compressor.quantization import kept_ranges; "
        "print(kept_ranges._told(find_target('ort').policy('vnni')))"
    )
    told = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        line = [sys.executable, "-c", code]
        told.add(subprocess.check_output(line, env=environment, text=True))
    assert len(told) == 1
    assert "Relu" in told.pop()
