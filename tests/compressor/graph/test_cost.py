"""Multiply-accumulates, parameters and bytes against numbers worked out by hand."""

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.concrete import concrete_shapes
from compressor.graph.cost import macs, node_costs, parameters
from compressor.graph.tensors import TensorSpec


def model(body: str, domains: str = "", **arrays: np.ndarray) -> ir.Model:
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    m = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": 18{domains}]> {body}', initializers=tensors
    )
    for index, node in enumerate(m.graph):
        node.name = f"n{index}"
    return m


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


CONV = model(
    "g (float[n,4,8,8] x) => (float[n,6,4,4] y) "
    "{ y = Conv<pads=[1,1,1,1], strides=[2,2], group=2>(x, w, b) }",
    w=zeros(6, 2, 3, 3),
    b=zeros(6),
)


@pytest.mark.parametrize(
    ("m", "expected"),
    [
        (CONV, 6 * 4 * 4 * 2 * 9),
        (
            model(
                "g (float[n,4,8,8] x) => (float[n,6,16,16] y) "
                "{ y = ConvTranspose<strides=[2,2], group=2>(x, w) }",
                w=zeros(4, 3, 2, 2),
            ),
            4 * 8 * 8 * 3 * 4,
        ),
        (
            model("g (float[n,4] x) => (float[n,6] y) { y = Gemm<transB=1>(x, w) }", w=zeros(6, 4)),
            24,
        ),
        (
            model("g (float[4,5] x) => (float[5,6] y) { y = Gemm<transA=1>(x, w) }", w=zeros(4, 6)),
            5 * 6 * 4,
        ),
        (
            model("g (float[n,7,4] x) => (float[n,7,6] y) { y = MatMul(x, w) }", w=zeros(4, 6)),
            7 * 24,
        ),
        (
            model(
                "g (float[n,7,4] x) => (float[n,7,6] y) "
                '{ y = Einsum<equation="btd,de->bte">(x, w) }',
                w=zeros(4, 6),
            ),
            7 * 24,
        ),
        (
            model(
                "g (float[5,n,3] x) => (float[5,2,n,4] y) "
                '{ y = LSTM<hidden_size=4, direction="bidirectional">(x, w, r) }',
                w=zeros(2, 16, 3),
                r=zeros(2, 16, 4),
            ),
            None,
        ),
        (
            model("g (float[1,4] x) => (float[1,4] y) { h = Relu(x) y = Softmax(h) }"),
            0,
        ),
    ],
    ids=["Conv", "ConvTranspose", "Gemm", "Gemm transA", "MatMul", "Einsum", "LSTM", "none"],
)
def test_operators(m: ir.Model, expected: int | None) -> None:
    if expected is None:  # the batch of a recurrent network is its second size
        x = zeros(5, 1, 3)
        assert macs(m, [TensorSpec("x", x.dtype, x.shape)]).macs == 5 * 2 * 16 * (3 + 4)
    else:
        assert macs(m).macs == expected


def test_quantizing_changes_neither_macs_nor_parameters() -> None:
    quantized = model(
        """g (float[n,4,8,8] x) => (float[n,6,4,4] y) {
          xq = QuantizeLinear(x, s, z) xd = DequantizeLinear(xq, s, z)
          wd = DequantizeLinear<axis=0>(w, ws) bd = DequantizeLinear<axis=0>(b, bs)
          y = Conv<pads=[1,1,1,1], strides=[2,2], group=2>(xd, wd, bd) }""",
        s=np.float32(0.1),
        z=np.uint8(128),
        w=zeros(6, 2, 3, 3, dtype="int8"),
        ws=np.ones(6, np.float32),
        b=zeros(6, dtype="int32"),
        bs=np.ones(6, np.float32),
    )
    assert macs(quantized) == macs(CONV)
    assert parameters(quantized) == parameters(CONV) == 6 * 2 * 9 + 6


def test_operators_on_integers_count_like_those_on_floats() -> None:
    integer = model(
        """g (uint8[n,4,8,8] x) => (uint8[n,6,4,4] y) {
          y = QLinearConv<pads=[1,1,1,1], strides=[2,2], group=2>
              (x, s, z, w, ws, wz, s, z, b) }""",
        s=np.float32(0.1),
        z=np.uint8(128),
        w=zeros(6, 2, 3, 3, dtype="int8"),
        ws=np.ones(6, np.float32),
        wz=zeros(6, dtype="int8"),
        b=zeros(6, dtype="int32"),
    )
    assert macs(integer) == macs(CONV)
    assert parameters(integer) == parameters(CONV)


def test_parameters_leave_statistics_scalars_and_indices_out() -> None:
    m = model(
        """g (float[n,4,8,8] x) => (float[n,4,64] y) {
          b = BatchNormalization(x, gamma, beta, mean, var) c = Clip(b, low, high)
          d = Mul(c, tied) e = Mul(d, tied) y = Reshape(e, shape) }""",
        gamma=zeros(4),
        beta=zeros(4),
        mean=zeros(4),
        var=zeros(4),
        low=np.float32(0),
        high=np.float32(6),
        tied=zeros(4, 1, 1),
        shape=np.array([0, 4, 64]),
    )
    assert parameters(m) == 4 + 4 + 4


def test_bytes_of_activations_and_weights() -> None:
    m = model(
        """g (float[n,4] x) => (float[n,6] y) {
          h = Gemm(x, w, b) z = Add(h, h) y = Relu(z) }""",
        w=zeros(4, 6),
        b=zeros(6),
    )
    gemm, add, _ = node_costs(m, batch=3)
    assert (gemm.macs, gemm.bytes_read, gemm.bytes_written) == (72, 4 * (12 + 24 + 6), 4 * 18)
    assert (add.macs, add.bytes_read, add.bytes_written) == (0, 4 * 18, 4 * 18)


HEADS = model(
    """g (float[n,t,8] x) => (float[n,t,8] y) {
      s = Shape(x) b = Gather(s, zero) t = Gather(s, one)
      b1 = Unsqueeze(b, zeros) t1 = Unsqueeze(t, zeros)
      shape = Concat<axis=0>(b1, t1, two, four) h = Reshape(x, shape)
      q = Transpose<perm=[0,2,1,3]>(h) k = Transpose<perm=[0,2,3,1]>(h)
      a = MatMul(q, k) c = MatMul(a, q) d = Transpose<perm=[0,2,1,3]>(c)
      y = Reshape(d, s) }""",
    zero=np.array(0),
    one=np.array(1),
    zeros=np.array([0]),
    two=np.array([2]),
    four=np.array([4]),
)


def test_computed_shapes_of_attention_are_found_by_a_run() -> None:
    x = np.ones((3, 5, 8), np.float32)
    expected = 2 * (2 * 5 * 5 * 4)
    assert macs(HEADS, {"x": x}).macs == expected
    assert macs(HEADS, [TensorSpec("x", x.dtype, ("n", 5, 8))]).macs == expected
    shapes = concrete_shapes(HEADS, {"x": x}, batch=3).shapes
    assert shapes["a"] == (3, 2, 5, 5)
    assert shapes["y"] == (3, 5, 8)


def test_an_open_size_is_a_reason() -> None:
    counted = macs(HEADS)
    assert counted.macs is None
    assert counted.reason is not None
    assert "(MatMul)" in counted.reason
    assert "x:float32[1,t,8]" in counted.reason


def test_work_in_a_branch_is_a_reason() -> None:
    m = model(
        """g (float[n,4] x, bool c) => (float[n,4] y) {
          y = If (c) < then_branch = t () => (float[n,4] p) { p = MatMul(x, w) },
                       else_branch = e () => (float[n,4] q) { q = Abs(x) } > }""",
        w=zeros(4, 4),
    )
    counted = macs(m)
    assert counted.macs is None
    assert "'n0' (If) runs" in str(counted.reason)


def test_shapes_behind_an_operator_of_the_runtime_are_found_by_a_run() -> None:
    m = model(
        """g (float[n,4] x) => (float[n,4] y) {
          h = com.microsoft.QuickGelu(x) y = MatMul(h, w) }""",
        ', "com.microsoft": 1',
        w=zeros(4, 4),
    )
    assert macs(m).macs == 16


def test_fused_attention_counts_like_its_parts() -> None:
    m = model(
        """g (float[n,5,8] x) => (float[n,5,8] y) {
          y = com.microsoft.Attention<num_heads=2>(x, w, b) }""",
        ', "com.microsoft": 1',
        w=zeros(8, 24),
        b=zeros(24),
    )
    assert macs(m).macs == 5 * 8 * 24 + 2 * 5 * 5 * 8


def test_functions_are_counted_inside() -> None:
    m = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18, "local": 1]>
        g (float[n,4] x, float[4,6] w) => (float[n,6] y) { y = local.product(x, w) }
        <domain: "local", opset_import: ["": 18]>
        product (a, b) => (c) { c = MatMul(a, b) }"""
    )
    assert macs(m).macs == 24


def test_the_model_stays_as_it_is() -> None:
    before = ir.to_proto(HEADS).SerializeToString()
    node_costs(HEADS, inputs={"x": np.ones((1, 5, 8), np.float32)})
    assert ir.to_proto(HEADS).SerializeToString() == before


def test_scales_of_a_resize_are_no_parameters() -> None:
    m = model(
        'g (float[1,4,8,8] x) => (float[1,4,16,16] y) { y = Resize<mode="nearest">(x, , scales) }',
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    assert parameters(m) == 0


def test_sequences_whose_shapes_nothing_tells_are_left_out() -> None:
    m = model("""agraph (float[2, 2, 3] x) => (float[2, 3] y) {
        s = SplitToSequence <axis = 0, keepdims = 0> (x)
        at = Constant <value = int64 {0}> ()
        y = SequenceAt (s, at) }""")
    assert concrete_shapes(m, {"x": zeros(2, 2, 3)}, 2).shapes["y"] == (2, 3)
