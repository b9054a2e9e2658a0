"""Weights that models have in common: once in a file, whatever they are called."""

import shutil
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor.graph.files import load_model, save_model
from compressor.graph.session import open_session
from compressor.graph.shared_weights import DATA, PAYS, saved_bytes, share_weights

WIDE = 640
"""A matrix of so many rows and columns has more than `PAYS` bytes."""


def net(seed: int, name: str = "w") -> ir.Model:
    """A matrix that is shared, by the seed, and one that is not."""
    graph = model(
        f"""g (float[n,{WIDE}] x, float[{WIDE},{WIDE}] {name}, float[{WIDE},8] o) => (float[n,8] y)
        {{ h = MatMul(x, {name})
           y = MatMul(h, o) }}""",
        **{name: [WIDE, WIDE], "o": [WIDE, 8]},
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    values = {name: np.ones((WIDE, WIDE)), "o": rng.standard_normal((WIDE, 8))}
    for key, value in values.items():
        graph.graph.initializers[key].const_value = ir.tensor(value.astype(np.float32), name=key)
    return graph


def written(folder: Path, graphs: dict[str, ir.Model]) -> dict[str, Path]:
    for name, graph in graphs.items():
        (folder / name).mkdir(parents=True)
        save_model(graph, folder / name / "model.onnx")
    return {name: folder / name / "model.onnx" for name in graphs}


def run(path: Path) -> np.ndarray:
    x = np.random.default_rng(3).standard_normal((2, WIDE)).astype(np.float32)
    return open_session(path).run(None, {"x": x})[0]


def test_equal_weights_are_stored_once_and_models_compute_what_they_did(tmp_path: Path):
    models = written(tmp_path, {"a": net(0), "b": net(1, "other"), "alone": small()})
    before = {name: run(path) for name, path in models.items() if name != "alone"}
    whole = sum(models[name].stat().st_size for name in before)
    found = share_weights(models, tmp_path)
    assert set(found) == {"a", "b"}
    assert models["alone"].is_file()
    assert not (tmp_path / "a").exists()
    files = [*(one.model for one in found.values()), tmp_path / DATA]
    now = sum(path.stat().st_size for path in files)
    assert saved_bytes(found) == sum(one.bytes for one in found.values()) - now
    assert whole - now == pytest.approx(4 * WIDE * WIDE, abs=4096)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in files:
        shutil.move(path, moved)
    for name, made in before.items():
        np.testing.assert_array_equal(run(moved / f"{name}.onnx"), made)
        assert load_model(moved / f"{name}.onnx").graph.initializers["o"].const_value is not None


def small() -> ir.Model:
    return model("g (float[n,8] x, float[8,8] w) => (y) { y = MatMul(x, w) }", w=[8, 8])


def test_equal_models_give_equal_files(tmp_path: Path):
    made = []
    for name in ("one", "other"):
        share_weights(written(tmp_path / name, {"a": net(0), "b": net(1)}), tmp_path / name)
        made.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())})
    assert set(made[0]) == {"a.onnx", "b.onnx", DATA}
    assert made[0] == made[1]


def test_little_in_common_stays_where_it_is(tmp_path: Path):
    models = written(tmp_path, {"a": small(), "b": small()})
    assert share_weights(models, tmp_path) == {}
    assert saved_bytes({}) == 0
    assert all(path.is_file() for path in models.values())
    assert not (tmp_path / DATA).exists()
    assert PAYS > 4 * 64
