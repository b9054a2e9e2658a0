"""Graphs in half that are made to compute in float32."""

import numpy as np
import onnx_ir as ir
import pytest
from onnxruntime.transformers.float16 import convert_float_to_float16

from compressor.capture import capture
from compressor.capture.parity import ParityCheck
from compressor.capture.widening import NOTICE, widen
from compressor.checkpoint import source_of
from compressor.graph.files import serialize
from compressor.graph.invariants import subgraphs
from compressor.graph.session import open_session

HALF, SINGLE = ir.DataType.FLOAT16, ir.DataType.FLOAT

NETWORK = """g (float16[n,4] x, bool c, float16[4,3] w, float16[3] b)
    => (float16[n,3] y, float16[n,4] seen)
<float16[n,3] p, float16[n,3] q, float[n,3] wide, float[n,3] e, float16[n,3] narrow> {
    seen = Relu(x)
    p = MatMul(seen, w)
    q = Add(p, b)
    wide = Cast<to=1>(q)
    e = Exp(wide)
    narrow = Cast<to=10>(e)
    y = If (c) <
        then_branch = yes () => (float16[n,3] t) { t = Mul(q, q) },
        else_branch = no () => (float16[n,3] f) { f = Identity(narrow) }
    >
}"""


def _model(text: str, *, inputs: bool = False, **weights: object) -> ir.Model:
    """A graph in ONNX text, with weights in half; with `inputs` as defaults of its inputs."""
    made = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 20]>\n{text}')
    for value in list(made.graph.inputs):
        if value.name in weights:
            array = np.asarray(weights[value.name], np.float16)
            value.const_value = ir.tensor(array, name=value.name)
            if not inputs:
                made.graph.inputs.remove(value)
            made.graph.register_initializer(value)
    return made


def _network() -> ir.Model:
    rng = np.random.default_rng(0)
    return _model(NETWORK, w=rng.standard_normal((4, 3)), b=rng.standard_normal(3))


def _run(model: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    return open_session(model).run(None, feeds)


@pytest.mark.parametrize("chosen", [True, False])
def test_all_but_the_interface_is_float32_and_the_outputs_stay(chosen: bool):
    model, wide = _network(), _network()
    assert widen(wide)
    assert [value.dtype for value in wide.graph.inputs] == [HALF, ir.DataType.BOOL]
    interface = [(value.name, value.dtype) for value in wide.graph.outputs]
    assert interface == [("y", HALF), ("seen", HALF)]
    assert {value.dtype for value in wide.graph.initializers.values()} == {SINGLE}
    written = [value for node in wide.graph.all_nodes() for value in node.outputs]
    assert [v.name for v in written if v.dtype != SINGLE] == ["y", "seen"]
    branches = [body for node in wide.graph for body in subgraphs(node)]
    assert [value.dtype for body in branches for value in body.outputs] == [SINGLE, SINGLE]
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float16)
    feeds = {"x": x, "c": np.array(chosen)}
    for found, expected in zip(_run(wide, **feeds), _run(model, **feeds), strict=True):
        assert found.dtype == np.float16
        np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-3)


def test_what_is_not_half_stays():
    model = _model("g (float[n,4] x, float16[2] unread) => (float[n,4] y) { y = Relu(x) }")
    before = serialize(model)
    assert not widen(model)
    assert serialize(model) == before


def test_an_input_that_is_an_output_keeps_its_type():
    model = _model("g (float16[n,4] x) => (float16[n,4] x, float16[n,4] y) { y = Relu(x) }")
    assert widen(model)
    assert [value.dtype for value in model.graph.outputs] == [HALF, HALF]
    assert model.graph.outputs[0] is model.graph.inputs[0]


def test_an_input_keeps_its_default():
    text = "g (float16[n,4] x, float16[4] w) => (float16[n,4] y) { y = Mul(x, w) }"
    model = _model(text, inputs=True, w=[1, 2, 3, 4])
    assert widen(model)
    x = np.ones((2, 4), np.float16)
    np.testing.assert_array_equal(_run(model, x=x)[0], x * np.arange(1, 5))
    np.testing.assert_array_equal(_run(model, x=x, w=np.full(4, 2, np.float16))[0], 2 * x)


@pytest.mark.parametrize("keep", [True, False])
def test_a_converted_model_is_captured_in_float32(keep: bool):
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[n,3] y)
    <float[4,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> { r = Relu(x) y = MatMul(r, w) }"""
    proto = convert_float_to_float16(
        ir.to_proto(ir.from_onnx_text(text)), keep_io_types=keep, disable_shape_infer=True
    )
    x = np.random.default_rng(0).standard_normal((8, 4))
    x = x.astype(np.float32 if keep else np.float16)
    captured = capture(source_of(proto), inputs=None, examples={"x": x}, opset=21)
    assert NOTICE in captured.record.notices
    assert captured.record.decisions[-1].verdict == "ok"
    assert {parity.batch for parity in captured.parity} > {1}
    assert captured.model.graph.inputs[0].dtype == (SINGLE if keep else HALF)
    assert captured.model.graph.initializers["w"].dtype == SINGLE


def test_a_model_that_computes_something_else_in_float32_stays_in_half(
    monkeypatch: pytest.MonkeyPatch,
):
    """As one would that counts on overflow: the runtime's own float16 is float32 in between."""
    refused = ParityCheck((), ("output 'y' at batch 2: NaN or infinity where the other has none",))
    monkeypatch.setattr("compressor.capture.onnx_source.verify", lambda *_: refused)
    model = _model("g (float16[n,4] x) => (float16[n,4] y) { y = Relu(x) }")
    x = np.ones((8, 4), np.float16)
    captured = capture(source_of(model), inputs=None, examples={"x": x}, opset=20)
    assert captured.record.decisions[-1].verdict == "failed"
    assert "infinity" in captured.record.decisions[-1].reason
    assert NOTICE not in captured.record.notices
    assert [node.op_type for node in captured.model.graph] == ["Relu"]
