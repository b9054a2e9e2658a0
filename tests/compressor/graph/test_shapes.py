"""Shapes and types of inputs, outputs and what lies between."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import GraphError
from compressor.graph.session import open_session
from compressor.graph.shapes import (
    infer_shapes,
    input_specs,
    output_specs,
    shape_of,
    with_input_shapes,
)
from compressor.graph.tensors import TensorSpec


def model(text: str, *tensors: ir.TensorProtocol) -> ir.Model:
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": 18]> {text}', initializers=tensors
    )


def test_inference_reaches_through_large_weights() -> None:
    w = ir.tensor(np.zeros((64, 32), np.float32), name="w")
    m = model("g (float[n,64] x) => (float[n,32] y) { h = MatMul(x, w) y = Relu(h) }", w)
    infer_shapes(m)
    assert shape_of(m.graph[0].outputs[0]) == ("n", 32)
    assert m.graph.initializers["w"].const_value is w
    assert len(m.graph.inputs) == 1


def test_what_inference_fails_on_stays() -> None:
    m = model("g (float[n,4] x) => (float[n,4] y) { h = Reshape(x, x) y = Relu(h) }")
    infer_shapes(m)
    assert shape_of(m.graph[0].outputs[0]) is None


def test_specs_leave_defaults_out_and_know_every_type() -> None:
    m = model(
        "g (bfloat16[batch,3] x, float k, int64[?] ids, string[n] s) => (bfloat16[batch,3] y) "
        "{ y = Relu(x) }"
    )
    k = next(value for value in m.graph.inputs if value.name == "k")
    k.const_value = ir.tensor(np.float32(1), name="k")
    m.graph.register_initializer(k)
    assert input_specs(m) == (
        TensorSpec("x", np.dtype(ml_dtypes.bfloat16), ("batch", 3)),
        TensorSpec("ids", np.dtype(np.int64), (None,)),
        TensorSpec("s", np.dtype(object), ("n",)),
    )
    assert [str(spec) for spec in output_specs(m)] == ["y:bfloat16[batch,3]"]


def test_an_input_of_unknown_rank_is_named() -> None:
    m = model("g (float x) => (float y) { y = Relu(x) }")
    m.graph.inputs[0].shape = None
    with pytest.raises(GraphError, match="rank of 'x'"):
        input_specs(m)


def test_given_input_shapes_replace_symbols_that_were_recorded() -> None:
    m = model(
        """g (float[n,4] x) => (float[n,2] y) <float[n,4] h>
        { h = Relu(x) y = Slice(h, a, b, c) }""",
        ir.tensor(np.array([0]), name="a"),
        ir.tensor(np.array([2]), name="b"),
        ir.tensor(np.array([1]), name="c"),
    )
    spec = TensorSpec("x", np.dtype(np.float32), (5, 4))
    copy = with_input_shapes(m, [spec])
    assert [shape_of(node.outputs[0]) for node in copy.graph] == [(5, 4), (5, 2)]
    assert shape_of(m.graph[0].outputs[0]) == ("n", 4)


def test_shapes_behind_operators_that_onnx_does_not_know_are_kept() -> None:
    m = model(
        """g (float[n,total] x, float[n,past] p) => (float[n,total,2] y)
        { y = com.microsoft.Mystery(x, p) }"""
    )
    spec = TensorSpec("x", np.dtype(np.float32), ("n", "past+seq"))
    assert shape_of(with_input_shapes(m, [spec]).graph.outputs[0]) == ("n", "past+seq", 2)


def test_a_sequence_is_not_called_a_tensor() -> None:
    m = model(
        """g (float[n,4,2] x) => (float[n,2,2] y) {
          zero = Constant<value=int64 {0}>() two = Constant<value=int64 {2}>()
          parts = SplitToSequence<axis=1>(x, two)
          y = SequenceAt(parts, zero)
        }"""
    )
    infer_shapes(m)
    assert isinstance(m.graph[2].outputs[0].type, ir.SequenceType)
    session = open_session(m)
    assert session.run(None, {"x": np.zeros((1, 4, 2), np.float32)})[0].shape == (1, 2, 2)
