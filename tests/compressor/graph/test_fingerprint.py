"""The fingerprint tells what matters from what does not."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.files import load_model, save_model
from compressor.graph.fingerprint import fingerprint, tensor_digest

TEXT = """<ir_version: 8, opset_import: ["": 18]>
g (float[n,2] x, bool c) => (float[n,2] y) <float[2] w = {2.0, 3.0}> {
  h = Mul(x, w) a = LeakyRelu<alpha=0.1>(h)
  y = If (c) < then_branch = t () => (float[n,2] p) { p = Add(a, w) },
               else_branch = e () => (float[n,2] q) { q = Abs(a) } > }"""


def model() -> ir.Model:
    m = ir.from_onnx_text(TEXT)
    for index, node in enumerate(m.graph.all_nodes()):
        node.name = f"n{index}"
    return m


def describe(m: ir.Model) -> None:
    m.doc_string, m.producer_name, m.metadata_props["a"] = "text", "someone", "b"
    m.graph[0].doc_string = "text"
    m.graph[0].metadata_props["trace"] = "line 1"
    m.graph[0].outputs[0].shape = ir.Shape(["n", 2])


def store_otherwise(m: ir.Model) -> None:
    w = m.graph.initializers["w"]
    w.const_value = ir.tensor(np.array([[2, 0], [3, 0]], np.float32)[:, 0], name="w")


@pytest.mark.parametrize("change", [describe, store_otherwise])
def test_what_does_not_matter(change: Callable[[ir.Model], None]) -> None:
    m = model()
    change(m)
    assert fingerprint(m) == fingerprint(model())


def weight(m: ir.Model) -> None:
    m.graph.initializers["w"].const_value = ir.tensor(np.array([2, 4], np.float32))


def attribute(m: ir.Model) -> None:
    m.graph[1].attributes["alpha"] = ir.AttrFloat32("alpha", 0.2)


def operator(m: ir.Model) -> None:
    m.graph[0].op_type = "Add"


def wiring(m: ir.Model) -> None:
    m.graph[1].replace_input_with(0, m.graph.inputs[0])


def branch(m: ir.Model) -> None:
    m.graph[2].attributes["then_branch"].as_graph()[0].op_type = "Mul"


def value_name(m: ir.Model) -> None:
    m.graph[0].outputs[0].name = "k"


def opset(m: ir.Model) -> None:
    m.graph.opset_imports[""] = 19


def input_shape(m: ir.Model) -> None:
    m.graph.inputs[0].shape = ir.Shape([1, 2])


@pytest.mark.parametrize(
    "change", [weight, attribute, operator, wiring, branch, value_name, opset, input_shape]
)
def test_what_matters(change: Callable[[ir.Model], None]) -> None:
    m = model()
    change(m)
    assert fingerprint(m) != fingerprint(model())


def test_a_file_another_process_and_external_data(tmp_path: Path) -> None:
    save_model(model(), tmp_path / "m.onnx")
    assert fingerprint(load_model(tmp_path / "m.onnx")) == fingerprint(model())
    code = (
        "import sys; from pathlib import Path; from compressor.graph.files import load_model; "
        "from compressor.graph.fingerprint import fingerprint; "
        "print(fingerprint(load_model(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.onnx")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint(model())


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.array(3, np.int64),
        np.zeros((0, 3), np.float32),
        np.ones((5, 2), ml_dtypes.bfloat16),
        np.arange(6, dtype=ml_dtypes.int4).reshape(2, 3),
        np.array(["a", "bc"], object),
    ],
    ids=["transposed", "scalar", "empty", "bfloat16", "int4", "text"],
)
def test_tensors_of_every_kind_in_memory_and_in_a_file(tmp_path: Path, array: np.ndarray) -> None:
    tensor = (
        ir.StringTensor(np.array([b"a", b"bc"]), name="t")
        if array.dtype == object
        else ir.tensor(array, name="t")
    )
    digest = tensor_digest(tensor)
    copy = ir.serde.deserialize_tensor(ir.serde.serialize_tensor(tensor))
    assert tensor_digest(copy) == digest
    if array.dtype != object and array.size:
        (tmp_path / "t.bin").write_bytes(b"\1" * 3 + tensor.tobytes())
        outside = ir.ExternalTensor(
            "t.bin", 3, tensor.nbytes, tensor.dtype, shape=tensor.shape, name="t", base_dir=tmp_path
        )
        assert tensor_digest(outside) == digest


def test_shape_and_type_take_part() -> None:
    zeros = np.zeros(4, np.float32)
    digests = {
        tensor_digest(ir.tensor(a)) for a in (zeros, zeros.reshape(2, 2), zeros.view(np.int32))
    }
    assert len(digests) == 3
