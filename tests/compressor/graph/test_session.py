"""Sessions over models in memory, on disk, and above protobuf's limit."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from compressor.errors import GraphError
from compressor.graph import files, session
from compressor.graph.files import save_model
from compressor.graph.session import open_session

TEXT = """<ir_version: 8, opset_import: ["": 18]>
g (float[n,2] x) => (float[n,2] y) <float[2] w = {2.0, 3.0}> { h = Mul(x, w) y = Relu(h) }"""
X = np.array([[1, -1]], np.float32)


def test_in_memory_and_on_disk(tmp_path: Path) -> None:
    model = ir.from_onnx_text(TEXT)
    save_model(model, tmp_path / "m.onnx")
    for source in (model, tmp_path / "m.onnx"):
        np.testing.assert_array_equal(open_session(source).run(None, {"x": X})[0], [[2, 0]])


def test_above_the_limit_weights_go_through_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["": 18]> g (float[n,64] x) => (float[n,64] y) '
        "{ y = MatMul(x, w) }",
        initializers=[ir.tensor(weight, name="w")],
    )
    monkeypatch.setattr(files, "PROTOBUF_LIMIT", 1000)
    monkeypatch.setattr(session, "LARGE", 1000)
    opened = open_session(model)
    x = np.ones((1, 64), np.float32)
    np.testing.assert_allclose(opened.run(None, {"x": x})[0], x @ weight, atol=1e-4)


def test_a_model_that_the_runtime_refuses() -> None:
    model = ir.from_onnx_text(TEXT.replace("Relu", "Rleu"))
    with pytest.raises(GraphError, match=r"ONNX Runtime refuses the model: .*Rleu"):
        open_session(model)


def test_the_executed_graph_and_the_profile_can_be_kept(tmp_path: Path) -> None:
    opened = open_session(
        ir.from_onnx_text(TEXT),
        optimized_model=tmp_path / "optimized.onnx",
        profile_prefix=tmp_path / "profile",
    )
    opened.run(None, {"x": X})
    assert Path(opened.end_profiling()).parent == tmp_path
    assert (tmp_path / "optimized.onnx").is_file()


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An optimizer that does not come to an end."""
    made, released = onnxruntime.InferenceSession, threading.Event()

    def create(source: object, options: onnxruntime.SessionOptions, **more: object) -> object:
        if options.graph_optimization_level != onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL:
            released.wait()
        return made(source, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", create)
    monkeypatch.setattr(session, "SECONDS", 0.2)
    yield
    released.set()


@pytest.mark.usefixtures("endless")
def test_where_the_optimizer_hangs_quality_is_measured_without_it() -> None:
    opened = open_session(ir.from_onnx_text(TEXT), integers=False)
    np.testing.assert_array_equal(opened.run(None, {"x": X})[0], [[2, 0]])


@pytest.mark.usefixtures("endless")
def test_where_the_optimizer_hangs_nothing_is_timed_without_it() -> None:
    with pytest.raises(GraphError, match="has not loaded the model within"):
        open_session(ir.from_onnx_text(TEXT))
