import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.evaluation.child import peak_resident_bytes
from compressor.evaluation.memory import PeakMemory, compare_memory, peak_memory

MB = 2**20


@pytest.fixture
def heavy_model(tmp_path: Path) -> Path:
    """A table of 100 MB, so that its presence in memory can be seen."""
    table = numpy_helper.from_array(np.ones((25, MB), np.float32), "table")
    node = helper.make_node("Gather", ["table", "file"], ["y"], "look")
    # "file" is what numpy.savez calls an argument of its own.
    index = helper.make_tensor_value_info("file", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", MB])
    graph = helper.make_graph([node], "heavy", [index], [y], [table])
    path = tmp_path / "heavy.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def test_weights_show_in_the_peak_but_the_parent_does_not(tiny_model, heavy_model):
    ballast = np.ones(400 * MB, np.uint8)  # would show if the child inherited our peak
    light = peak_memory(tiny_model, {"x": np.ones((1, 16), np.float32)})
    heavy = peak_memory(heavy_model, {"file": np.zeros(1, np.int64)})
    assert ballast.nbytes == 400 * MB
    assert light.reason is None
    assert heavy.reason is None
    assert light.bytes is not None
    assert heavy.bytes is not None
    assert 20 * MB < light.bytes < 300 * MB
    assert 95 * MB < heavy.bytes - light.bytes < 350 * MB


def test_failures_are_reasons(tiny_model, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    feeds = {"x": np.ones((1, 16), np.float32)}
    result = compare_memory(tiny_model, broken, feeds)
    assert result.baseline_bytes is not None
    assert result.result_bytes is None
    assert result.reason is not None
    assert result.reason.startswith("result: the measuring process failed")
    assert "refuses the model" in result.reason


def test_time_is_limited(tiny_model):
    feeds = {"x": np.ones((1, 16), np.float32)}
    found = peak_memory(tiny_model, feeds, timeout=0.01)
    assert found.bytes is None
    assert found.reason == "the measuring process took more than 0.01 s"


def test_a_users_own_calibration_module_is_not_taken_for_ours(tiny_model, tmp_path, monkeypatch):
    (tmp_path / "calibration.py").write_text("raise SystemExit('imported by mistake')")
    monkeypatch.chdir(tmp_path)
    found = peak_memory(tiny_model, {"x": np.ones((1, 16), np.float32)})
    assert found.reason is None


def test_the_peak_never_falls():
    before = peak_resident_bytes()
    assert np.ones(64 * MB, np.uint8).sum() == 64 * MB
    after = peak_resident_bytes()
    assert after >= before
    assert after > 64 * MB


def test_the_child_imports_what_it_needs_and_no_more():
    code = (
        "import sys, compressor.evaluation.child, exporters.ort.target, onnxruntime; "
        "print([m for m in ('torch', 'matplotlib', 'scipy', 'calibration.dataset') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_model_is_measured_once(monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    peaks = {"a": 200 * MB, "b": 100 * MB}

    def measured(model: Path, *_: object, **__: object) -> PeakMemory:
        order.append(model.name)
        return PeakMemory(peaks[model.name])

    monkeypatch.setattr("compressor.evaluation.memory.peak_memory", measured)
    found = compare_memory(Path("a"), Path("b"), {})
    assert order == ["a", "b"]
    assert (found.baseline_bytes, found.result_bytes) == (200 * MB, 100 * MB)
    assert (found.ratio, found.reason) == (2.0, None)


def test_what_one_process_does_not_tell_has_its_reason(monkeypatch: pytest.MonkeyPatch):
    def measured(model: Path, *_: object, **__: object) -> PeakMemory:
        return PeakMemory(MB) if model.name == "a" else PeakMemory(None, "it was killed")

    monkeypatch.setattr("compressor.evaluation.memory.peak_memory", measured)
    found = compare_memory(Path("a"), Path("b"), {})
    assert (found.baseline_bytes, found.result_bytes, found.ratio) == (MB, None, None)
    assert found.reason == "result: it was killed"
