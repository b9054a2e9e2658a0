"""Files that only one runtime reads: compared with ONNX files, loaded, and refused."""

from pathlib import Path

import numpy as np
import pytest
from graphs import model, residual

import compressor
from compressor import Recipe
from compressor.commands.compare import compare
from compressor.commands.runtime_files import RuntimeFile, readable, runtime_file
from compressor.errors import TargetError, UsageError
from compressor.evaluation.child import main as measured_in_child
from compressor.graph.files import save_model
from compressor.system.output_folder import write_manifest
from exporters.base import find_target
from exporters.base.routed import RoutedTarget

pytest.importorskip("openvino", reason="the extra openvino is not installed")

TARGET = find_target("openvino")
QUICK = Recipe.model_validate({"measure": {"seconds": 0.01, "memory": False, "threads": 1}})
X = np.random.default_rng(0).standard_normal((4, 32, 8, 8)).astype(np.float32)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return TARGET.build(residual(), folder).model


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "a.onnx"
    save_model(residual(), path)
    return path


def test_each_runs_in_its_own_runtime(plain: Path, built: Path):
    routed = RoutedTarget(find_target("ort"))
    assert routed.of(plain).name == "ort"
    assert routed.of(built).name == "openvino"
    assert routed.of(residual()).name == "ort"


@pytest.mark.parametrize("alone", [False, True], ids=["with its ONNX", "alone"])
def test_an_onnx_file_and_an_ir_are_compared(plain: Path, built: Path, alone: bool):
    if alone:
        built.with_suffix(".onnx").unlink()
    found = compare(plain, built, calibration={"x": X}, recipe=QUICK)
    assert found.result == str(built)
    assert found.latency
    assert found.quality[0].result == pytest.approx(1, abs=1e-4)
    assert found.result_size.file_bytes == sum(
        built.with_suffix(end).stat().st_size for end in (".xml", ".bin")
    )
    assert found.environment is not None
    assert "openvino" in found.environment.packages


def test_other_inputs_and_a_missing_graph_are_refused(tmp_path: Path, built: Path):
    other = tmp_path / "other.onnx"
    save_model(model("g (float[n,3] z) => (float[n,3] y) { y = Relu(z) }"), other)
    with pytest.raises(UsageError, match="different inputs"):
        compare(other, built, recipe=QUICK)
    lonely = RuntimeFile(built, TARGET, None)
    with pytest.raises(UsageError, match=r"neither a\.xml nor b\.xml has its graph beside it"):
        readable(("a.xml", "b.xml"), (lonely, lonely))


def test_a_runtime_that_is_missing_is_named(built: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(TARGET), "why_not_available", lambda self: "it is not installed")
    with pytest.raises(TargetError, match=r"model.xml is for OpenVINO, which is not available"):
        runtime_file(built)
    assert runtime_file(residual()) is None
    write_manifest(built.parent, {"graphs": {"model": built.name}})
    with pytest.raises(TargetError, match="not available here: it is not installed"):
        compressor.load(built.parent)


def test_its_folder_is_loaded_as_any_other(built: Path):
    write_manifest(built.parent, {"graphs": {"model": built.name}})
    found = compressor.load(built.parent, threads=1)(x=X)
    with find_target("ort").open(residual()) as reference:
        np.testing.assert_allclose(found["y"], reference.run({"x": X})["y"], atol=1e-4)


def test_memory_is_of_the_runtime_that_reads_the_file(built: Path, tmp_path: Path):
    np.savez(tmp_path / "feeds.npz", X)
    measured_in_child(
        {
            "model": str(built),
            "target": "ort",
            "threads": 1,
            "runs": 1,
            "feeds": str(tmp_path / "feeds.npz"),
            "names": ["x"],
            "answer": str(tmp_path / "answer.json"),
        }
    )
    assert (tmp_path / "answer.json").is_file()
