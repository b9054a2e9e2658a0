"""Every operator against ONNX Runtime, at attributes that exporters write."""

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import GraphError
from compressor.graph.session import open_session
from compressor.training.executor import GraphModule
from compressor.training.operators import unknown_operators
from compressor.training.parity import torch_run

RNG = np.random.default_rng(0)


def model_of(text: str) -> ir.Model:
    body = text.strip()
    if body.startswith("<"):
        return ir.from_onnx_text(body)
    return ir.from_onnx_text(
        f'<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>\n{body}'
    )


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = {"x": normal(2, 4, 9, 8)}
MATRIX = {"x": normal(3, 6)}
X4 = "float[n,4,9,8] x"

CASES: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "conv, pads unequal": (
        f"g ({X4}, float[6,2,3,2] w, float[6] b) => (float[n,6,h,k] y) "
        "{ y = Conv <group=2, pads=[1,0,2,1], strides=[2,1], dilations=[1,2]> (x, w, b) }",
        IMAGE | {"w": normal(6, 2, 3, 2), "b": normal(6)},
    ),
    "conv, same": (
        f"g ({X4}, float[4,4,3,3] w) => (float[n,4,h,k] y) "
        '{ y = Conv <auto_pad="SAME_LOWER", strides=[2,2]> (x, w) }',
        IMAGE | {"w": normal(4, 4, 3, 3)},
    ),
    "conv transpose": (
        f"g ({X4}, float[4,3,3,3] w, float[3] b) => (float[n,3,h,k] y) {{ y = ConvTranspose "
        "<strides=[2,2], pads=[1,0,2,1], output_padding=[1,1]> (x, w, b) }",
        IMAGE | {"w": normal(4, 3, 3, 3), "b": normal(3)},
    ),
    "conv transpose, shape": (
        f"g ({X4}, float[4,3,3,3] w) => (float[n,3,h,k] y) "
        "{ y = ConvTranspose <strides=[2,2], output_shape=[18,16]> (x, w) }",
        IMAGE | {"w": normal(4, 3, 3, 3)},
    ),
    "max pool, ceil": (
        f"g ({X4}) => (float[n,4,h,k] y) "
        "{ y = MaxPool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1, pads=[1,0,0,1]> (x) }",
        IMAGE,
    ),
    "average pool, ceil": (
        f"g ({X4}) => (float[n,4,h,k] y) "
        "{ y = AveragePool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1> (x) }",
        IMAGE,
    ),
    "average pool, padded": (
        f"g ({X4}) => (float[n,4,h,k] y) {{ y = AveragePool "
        "<kernel_shape=[3,2], strides=[2,2], pads=[1,1,1,0], count_include_pad=1> (x) }",
        IMAGE,
    ),
    "resize, cubic": (
        f"g ({X4}) => (float[n,4,h,k] y) {{ s = Constant <value_floats=[1.0,1.0,1.5,2.0]> () "
        'y = Resize <mode="cubic"> (x, , s) }',
        IMAGE,
    ),
    "resize, linear": (
        f"g ({X4}) => (float[n,4,h,k] y) {{ s = Constant <value_ints=[2,4,5,12]> () "
        'y = Resize <mode="linear", coordinate_transformation_mode="align_corners"> (x, , , s) }',
        IMAGE,
    ),
    "resize, nearest": (
        f"g ({X4}) => (float[n,4,h,k] y) {{ s = Constant <value_floats=[1.0,1.0,2.0,3.0]> () "
        'y = Resize <mode="nearest", coordinate_transformation_mode="asymmetric", '
        'nearest_mode="floor"> (x, , s) }',
        IMAGE,
    ),
    "pad, reflect": (
        f"g ({X4}) => (float[n,4,h,k] y) {{ p = Constant <value_ints=[0,0,2,3,0,0,1,0]> () "
        'y = Pad <mode="reflect"> (x, p) }',
        IMAGE,
    ),
    "depth to space": (
        f'g ({X4}) => (float[n,1,h,k] y) {{ y = DepthToSpace <blocksize=2, mode="CRD"> (x) }}',
        IMAGE,
    ),
    "slice, backwards": (
        f"g ({X4}) => (float[n,4,h,k] y) {{ a = Constant <value_ints=[-1,1]> () "
        "e = Constant <value_ints=[-100,7]> () d = Constant <value_ints=[2,3]> () "
        "t = Constant <value_ints=[-2,2]> () y = Slice (x, a, e, d, t) }",
        IMAGE,
    ),
    "split and concat": (
        "g (float[n,6] x) => (float[n,7] y) { p = Constant <value_ints=[1,3,2]> () "
        "a, b, c = Split <axis=1> (x, p) y = Concat <axis=-1> (b, a, a, c) }",
        MATRIX,
    ),
    "gather nd": (
        "g (float[3,6] x) => (float[2] y) { i = Constant <value_ints=[0,1,2,5]> () "
        "s = Constant <value_ints=[2,2]> () j = Reshape (i, s) y = GatherND (x, j) }",
        MATRIX,
    ),
    "scatter nd": (
        "g (float[3,6] x, float[2,6] u) => (float[3,6] y) { i = Constant <value_ints=[2,0]> () "
        "s = Constant <value_ints=[2,1]> () j = Reshape (i, s) y = ScatterND (x, j, u) }",
        MATRIX | {"u": normal(2, 6)},
    ),
    "one hot": (
        "g (int64[4] i) => (float[4,5] y) { d = Constant <value_int=5> () "
        "v = Constant <value_floats=[-1.0,2.0]> () y = OneHot (i, d, v) }",
        {"i": np.array([0, 4, -1, 2])},
    ),
    "cum sum": (
        "g (float[n,6] x) => (float[n,6] y) { a = Constant <value_int=1> () "
        "y = CumSum <exclusive=1, reverse=1> (x, a) }",
        MATRIX,
    ),
    "reductions": (
        "g (float[n,6] x) => (float[n,1] y) { a = Constant <value_ints=[1]> () "
        "p = ReduceL2 (x, a) q = ReduceMax (x, a) r = ReduceLogSumExp (x, a) "
        "s = ReduceProd (x, a) t = ReduceSumSquare (x, a) y = Sum (p, q, r, s, t) }",
        MATRIX,
    ),
    "activations": (
        "g (float[n,6] x) => (float[n,6] y) { a = Elu <alpha=0.7> (x) b = Selu (a) "
        'c = HardSwish (b) d = HardSigmoid (c) e = Mish (d) f = Gelu <approximate="tanh"> (e) '
        "h = Softsign (f) i = Softplus (h) j = Celu (i) k = ThresholdedRelu <alpha=0.1> (j) "
        "l = LogSoftmax (k) y = LeakyRelu (l) }",
        MATRIX,
    ),
    "group and instance norm": (
        '<ir_version: 10, opset_import: ["" : 21]>\n'
        "g (float[n,4,9,8] x, float[4] s, float[4] b) => (float[n,4,9,8] y) { "
        "z = GroupNormalization <num_groups=2> (x, s, b) y = InstanceNormalization (z, s, b) }",
        IMAGE | {"s": normal(4), "b": normal(4)},
    ),
    "local response": (f"g ({X4}) => (float[n,4,9,8] y) {{ y = LRN <size=3> (x) }}", IMAGE),
    "whole numbers": (
        "g (int64[4] i) => (int64[4] y) { t = Constant <value_int=3> () a = Div (i, t) "
        "b = Mod (i, t) y = Add (a, b) }",
        {"i": np.array([-7, 7, 5, -2])},
    ),
    "einsum": (
        "g (float[n,6] x, float[6,5] w) => (float[5,n] y) "
        '{ y = Einsum <equation="ij,jk->ki"> (x, w) }',
        MATRIX | {"w": normal(6, 5)},
    ),
    "gemm": (
        "g (float[n,6] x, float[6,5] w, float[n,1] c) => (float[n,5] y) "
        "{ y = Gemm <alpha=0.5, beta=2.0> (x, w, c) }",
        MATRIX | {"w": normal(6, 5), "c": normal(3, 1)},
    ),
    "if": (
        "g (float[n,6] x) => (float[n,6] y) { s = ReduceSum <keepdims=0> (x) "
        "z = Constant <value_float=0.0> () c = Greater (s, z) y = If (c) <"
        "then_branch = t () => (float[n,6] a) { a = Exp (x) }, "
        "else_branch = e () => (float[n,6] b) { b = Neg (x) }> }",
        MATRIX,
    ),
    "loop": (
        "g (float[n,6] x) => (float[n,6] y, float[k,n,6] z) { m = Constant <value_int=3> () "
        "y, z = Loop (m, , x) <body = b (int64 i, bool c, float[n,6] v) => "
        "(bool d, float[n,6] w, float[n,6] o) { d = Identity (c) "
        "t = Tanh (v) w = Add (t, x) o = Mul (w, x) }> }",
        MATRIX,
    ),
    "scan": (
        "g (float[3,6] x, float[6] h) => (float[6] y, float[3,6] z) { "
        "y, z = Scan (h, x) <num_scan_inputs=1, body = b (float[6] s, float[6] e) => "
        "(float[6] t, float[6] o) { t = Add (s, e) o = Mul (t, e) }> }",
        MATRIX | {"h": normal(6)},
    ),
    "fused norm": (
        "g (float[n,6] x, float[6] s, float[6] b) => (float[n,6] y) { "
        "y = com.microsoft.SkipLayerNormalization <epsilon=0.00001> (x, x, s, b) }",
        MATRIX | {"s": normal(6), "b": normal(6)},
    ),
    "quantized": (
        "g (float[n,6] x) => (float[n,6] y) { s = Constant <value_float=0.03> () "
        "z = Constant <value = uint8 {120}> () q = QuantizeLinear (x, s, z) "
        "y = DequantizeLinear (q, s, z) }",
        MATRIX,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_onnx_runtime_does(name: str) -> None:
    text, feeds = CASES[name]
    model = model_of(text)
    names = [value.name or "" for value in model.graph.outputs]
    expected = open_session(model, optimize=False).run(names, feeds)
    found = torch_run(GraphModule(model), feeds)
    for output, array in zip(names, expected, strict=True):
        assert found[output].shape == array.shape
        np.testing.assert_allclose(found[output], array, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "GRU before", "RNN", "LSTM lengths", "LSTM peep"])
def test_a_recurrent_layer_computes_what_onnx_runtime_does(kind: str, direction: str) -> None:
    operator = kind.split(maxsplit=1)[0]
    gates, d = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator], 1 + (direction == "bidirectional")
    feeds = {
        "x": normal(5, 2, 3),
        "w": normal(d, gates * 4, 3),
        "r": normal(d, gates * 4, 4),
        "b": normal(d, 2 * gates * 4),
    }
    more, extra = "", ""
    if "before" in kind:
        extra = ", linear_before_reset=1"
    if "lengths" in kind:
        feeds["l"] = np.array([5, 3], dtype=np.int32)
        more = ", l"
    if "peep" in kind:
        feeds["p"] = normal(d, 12)
        more = ", , , , p"
    declared = ", ".join(
        f"{'int32' if name == 'l' else 'float'}[{','.join(map(str, a.shape))}] {name}"
        for name, a in feeds.items()
    )
    model = model_of(
        f"g ({declared}) => (float[5,{d},2,4] y, float[{d},2,4] h) {{ y, h = {operator} "
        f'<hidden_size=4, direction="{direction}"{extra}> (x, w, r, b{more}) }}'
    )
    expected = open_session(model, optimize=False).run(["y", "h"], feeds)
    found = torch_run(GraphModule(model), feeds)
    for name, array in zip(("y", "h"), expected, strict=True):
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)


def test_an_unknown_operator_is_refused_by_its_name_before_any_work() -> None:
    model = model_of("g (float[n,6] x) => (float[n,6] y) { z = com.other.Fancy (x) y = Relu (z) }")
    assert unknown_operators(model) == ("com.other.Fancy",)
    with pytest.raises(GraphError, match=r"com\.other\.Fancy"):
        GraphModule(model)


def test_a_node_that_cannot_be_computed_is_named() -> None:
    model = model_of(
        f"g ({X4}) => (float[n,4,h,k] y, int64[n,4,h,k] i) "
        "{ y, i = MaxPool <kernel_shape=[2,2]> (x) }"
    )
    model.graph.node(0).name = "pool"
    with pytest.raises(GraphError, match="MaxPool 'pool' cannot be run for training"):
        torch_run(GraphModule(model), IMAGE)
