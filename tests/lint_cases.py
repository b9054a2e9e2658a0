"""Graphs that break exactly one rule of the TensorRT linter, each beside one that keeps it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np
import onnx_ir as ir
from quantized import SHARED, conv, graph, images, product, qdq, rows

HALF_SCALES = {
    "s": np.array(0.1, np.float16),
    "ws": SHARED["ws"].astype(np.float16),
    "b": SHARED["b"].astype(np.float16),
}
BIAS = {"bq": np.zeros(32, np.int32)}
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Case:
    """A broken and a sound graph.

    `parser` is what the real parser does with the broken one: it takes all the sound ones.
    """

    rule: str
    node: str | None
    broken: Callable[[], ir.Model]
    sound: Callable[[], ir.Model]
    parser: Literal["rejects", "accepts"] = "accepts"
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.rule}-{self.variant}" if self.variant else self.rule


def _bad_channel(value: float) -> np.ndarray:
    scales = SHARED["ws"].copy()
    scales[3] = value
    return scales


def _halves(opset: int, **tensors: np.ndarray) -> ir.Model:
    text = images(conv("x", "y")).replace("float[", "float16[")
    return graph(text, opset=opset, **{**HALF_SCALES, **tensors})


def _conv(**tensors: np.ndarray) -> ir.Model:
    return graph(images(conv("x", "y")), **tensors)


def _mm(axis: int, operator: str = "MatMul") -> ir.Model:
    return graph(rows(product("x", "y", operator=operator, axis=axis)))


def _transposed(axis: int) -> ir.Model:
    text = product("x", "y", axis=axis).replace(
        "[mm] y = MatMul(y_x, y_w)", "t = Transpose<perm=[1,0]>(y_w)\n[mm] y = MatMul(y_x, t)"
    )
    return graph(rows(text))


def _without_zero_point() -> ir.Model:
    text = conv("x", "y").replace("(x, s, z)", "(x, s)").replace("(y_x_q, s, z)", "(y_x_q, s)")
    return graph(images(text))


def _bias(line: str, **tensors: np.ndarray) -> ir.Model:
    text = conv("x", "y").replace("[conv]", f"{line}\n[conv]").replace("y_w, b)", "y_w, bias)")
    return graph(images(text), **tensors)


def _per_channel() -> ir.Model:
    text = (
        conv("x", "y")
        .replace("Linear(x", "Linear<axis=1>(x")
        .replace("[convd] y_x = DequantizeLinear(", "[convd] y_x = DequantizeLinear<axis=1>(")
    )
    return graph(images(text), s=SHARED["ws"], z=SHARED["wz"])


def _operator(line: str, result: str = "float[64,32] y", **tensors: np.ndarray) -> ir.Model:
    domain = next((d for d in (MICROSOFT, "ai.onnx.ml", "my") if f"{d}." in line), "")
    return graph(f"g (float[64,32] x) => ({result}) {{ [op] {line} }}", domain=domain, **tensors)


def _standard() -> ir.Model:
    return _operator("y = Gelu(x)")


def _blocks(scale: float) -> ir.Model:
    """A product with INT4 weights in blocks."""
    text = "[deq] w = DequantizeLinear<axis=0, block_size=32>(wi, si)\ny = MatMul(x, w)"
    tensors = {"wi": np.ones((32, 32), ml_dtypes.int4), "si": np.full((1, 32), scale, np.float32)}
    return graph(rows(text), opset=21, **tensors)


def _casts(kind: int) -> ir.Model:
    return _operator(f"i = Cast<to={kind}>(x)\ny = Cast<to=1>(i)")


def _pixels(body: str) -> ir.Model:
    return graph(f"g (uint8[1,8,4] x) => (float[1,4,8] y) {{ {body} }}")


def _branch(kind: str) -> ir.Model:
    then = f"t () => (float[4] a) <{kind}[4] w = {{1, 2, 3, 4}}> {{ a = Cast<to=1>(w) }}"
    other = "e () => (float[4] b) { b = Neg(x) }"
    return graph(
        f"g (bool c, float[4] x) => (float[4] y) {{ y = If(c)<then_branch = {then}, "
        f"else_branch = {other}> }}"
    )


def _requested(dtype: str) -> str:
    """Q/DQ of a type that is an attribute, as opset 21 allows."""
    return (
        f"[q] i = QuantizeLinear<output_dtype={dtype}>(x, s)\n"
        "[d] f = DequantizeLinear(i, s)\ny = Neg(f)"
    )


ENCODING = (
    Case("zero-point", "convq", lambda: _conv(z=np.array(5, np.int8)), _conv, "rejects"),
    Case(
        "zero-point", "q",
        lambda: graph("g (float[64,32] x, int8 z) => (float[64,32] y) {" + qdq("x", "y") + "}"),
        lambda: graph(rows(qdq("x", "y"))), variant="input",
    ),
    Case("uint8", "convq", lambda: _conv(z=np.array(0, np.uint8)), _conv),
    Case("uint8", "convq", _without_zero_point, _conv, variant="default"),
    Case(
        "uint8", "convw",
        lambda: _conv(wq=SHARED["wq"].view(np.uint8), wz=np.zeros(32, np.uint8)), _conv,
        "rejects", variant="weight",
    ),
    Case(
        "uint8",
        "q",
        lambda: graph(rows(_requested("2")), opset=21),
        lambda: graph(rows(_requested("3")), opset=21),
        "rejects",
        variant="attribute",
    ),
    Case(
        "uint8",
        "d",
        lambda: graph("g (uint8[4] x) => (float[4] y) { [d] y = DequantizeLinear(x, s) }"),
        lambda: graph("g (int8[4] x) => (float[4] y) { [d] y = DequantizeLinear(x, s) }"),
        "rejects",
        variant="stored",
    ),
    Case(
        "int32-bias", "bias",
        lambda: _bias("[bias] bias = DequantizeLinear<axis=0>(bq, ws)", **BIAS),
        lambda: _bias("[bias] bias = Identity(b)"), "rejects",
    ),
    Case(
        "integer-type", "q",
        lambda: graph(rows(qdq("x", "y")), opset=21, z=np.array(0, ml_dtypes.int4)),
        lambda: graph(rows(qdq("x", "y")), opset=21),
    ),
    Case(
        "integer-type", "q",
        lambda: graph(rows(_requested("19")), opset=24),
        lambda: graph(rows(_requested("3")), opset=24), "rejects", variant="float8e5m2",
    ),
    Case("scale", "convw", lambda: _conv(ws=_bad_channel(0.0)), _conv, "rejects", "zero"),
    Case("scale", "convw", lambda: _conv(ws=_bad_channel(-0.1)), _conv, "rejects", "negative"),
    Case("scale", "convw", lambda: _conv(ws=_bad_channel(np.nan)), _conv, "rejects", "nan"),
    Case("scale", "convw", lambda: _conv(ws=_bad_channel(np.inf)), _conv, variant="infinite"),
    Case("scale", "deq", lambda: _blocks(np.nan), lambda: _blocks(-0.1), variant="int4"),
    Case("scale-shape", "convw", lambda: _conv(wz=np.array(0, np.int8)), _conv, "rejects"),
    Case(
        "scale-shape", "convw",
        lambda: _conv(ws=SHARED["ws"][:16], wz=SHARED["wz"][:16]), _conv, "rejects", "length",
    ),
    Case(
        "scale-shape", "convw", lambda: graph(images(conv("x", "y", axis=7))), _conv,
        "rejects", "axis",
    ),
)  # fmt: skip

TYPES = (
    Case(
        "mixed-types", "conv", lambda: _halves(20, ws=SHARED["ws"]), lambda: _halves(20),
        "rejects", "scales",
    ),
    Case(
        "mixed-types", "conv", lambda: _halves(20, b=SHARED["b"]), lambda: _halves(20),
        "rejects", "bias",
    ),
    Case(
        "mixed-types", "op",
        lambda: _operator("y = Add(x, h)", h=np.zeros(32, np.float16)),
        lambda: _operator("y = Add(x, b)"), "rejects", "add",
    ),
    Case("opset", "convq", lambda: _halves(18), lambda: _halves(19), variant="half"),
    Case(
        "opset", "q",
        lambda: graph(rows(qdq("x", "y")), opset=18, z=np.array(0, ml_dtypes.float8_e4m3fn)),
        lambda: graph(rows(qdq("x", "y")), opset=19, z=np.array(0, ml_dtypes.float8_e4m3fn)),
        variant="float8",
    ),
    Case(
        "element-type", None,
        lambda: graph("g (int16[4] x) => (int16[4] y) { y = Identity(x) }"),
        lambda: graph("g (int32[4] x) => (int32[4] y) { y = Identity(x) }"), "rejects",
    ),
    Case("element-type", "op", lambda: _casts(5), lambda: _casts(6), "rejects", "cast"),
    Case("element-type", "op", lambda: _casts(2), lambda: _casts(3), "rejects", "bytes"),
    Case(
        "element-type", "op",
        lambda: _pixels("[op] t = Transpose<perm=[0,2,1]>(x)\ny = Cast<to=1>(t)"),
        lambda: _pixels("t = Cast<to=1>(x)\n[op] y = Transpose<perm=[0,2,1]>(t)"),
        "rejects", "pixels",
    ),
    Case(
        "element-type", None, lambda: _branch("int16"), lambda: _branch("int32"), "rejects",
        "branch",
    ),
    Case(
        "mixed-types", "op",
        lambda: graph("g (float[4] x, int32[4] z) => (float[4] y) { [op] y = Add(x, z) }"),
        lambda: graph("g (float[4] x, float[4] z) => (float[4] y) { [op] y = Add(x, z) }"),
        "rejects", "integers",
    ),
    Case(
        "mixed-types", "op",
        lambda: _operator("y = Clip(x, h)", h=np.array(0, np.float16)),
        lambda: _operator("y = Clip(x, h)", h=np.array(0, np.float32)), variant="clip",
    ),
)  # fmt: skip

AXES = (
    Case("per-channel-activation", "convq", _per_channel, _conv),
    Case("weight-axis", "convw", lambda: graph(images(conv("x", "y", axis=1))), _conv),
    Case(
        "weight-axis", "convw",
        lambda: graph(images(conv("x", "y", operator="ConvTranspose", axis=0))),
        lambda: graph(images(conv("x", "y", operator="ConvTranspose", axis=1))),
        variant="transposed-conv",
    ),
    Case("weight-axis", "mmw", lambda: _mm(0), lambda: _mm(-1), variant="matmul"),
    Case("weight-axis", "mmw", lambda: _mm(0, "Gemm"), lambda: _mm(1, "Gemm"), variant="gemm"),
    Case(
        "weight-axis", "mmw", lambda: _mm(1, "Gemm<transB=1>"), lambda: _mm(0, "Gemm<transB=1>"),
        variant="gemm-transb",
    ),
    Case(
        "weight-axis", "mmw", lambda: _transposed(1), lambda: _transposed(0), variant="transpose"
    ),
)  # fmt: skip

OPERATORS = (
    Case(
        "unsupported-operator", "op",
        lambda: _operator("y, ys, yz = DynamicQuantizeLinear(x)", "uint8[64,32] y"), _standard,
        "rejects", "dynamic",
    ),
    Case(
        "unsupported-operator", "op",
        lambda: graph(
            "g (uint8[1,32,8,8] x) => (uint8[1,32,6,6] y)"
            "{ [op] y = QLinearConv(x, s, z, wq, ws, wz, s, z) }", z=np.array(0, np.uint8),
        ), _standard, "rejects", "qlinear",
    ),
    Case(
        "unsupported-operator", "op",
        lambda: graph("g (int8[64,32] x) => (int32[64,32] y) { [op] y = MatMulInteger(x, mq) }"),
        _standard, "rejects", "matmul-integer",
    ),
    Case(
        "unsupported-operator", "op",
        lambda: graph("g (int8[1,32,8,8] x) => (int32[1,32,6,6] y) {[op] y = ConvInteger(x, wq)}"),
        _standard, "rejects", "conv-integer",
    ),
    Case(
        "unsupported-operator", "op", lambda: _operator("y = com.microsoft.BiasGelu(x, b)"),
        _standard, "rejects", "microsoft",
    ),
    Case(
        "unsupported-operator", "op", lambda: _operator("y = ai.onnx.ml.Scaler(x)"), _standard,
        "rejects", "other-domain",
    ),
    Case(
        "unsupported-operator", "op",
        lambda: _operator(
            "y = com.microsoft.MatMulNBits<K=32, N=32, bits=4, block_size=32>(x, nb, ns)",
            nb=np.zeros((32, 1, 16), np.uint8), ns=np.ones(32, np.float32),
        ), _standard, "rejects", "weight-only",
    ),
    Case(
        "foreign-operator", "op", lambda: _operator("y = com.microsoft.Gelu(x)"), _standard,
        variant="microsoft",
    ),
    Case("foreign-operator", "op", lambda: _operator("y = my.Gelu(x)"), _standard),
)  # fmt: skip
