"""Graphs whose Q/DQ TensorRT runs, slower than it could, each beside one that it runs well."""

import numpy as np
import onnx_ir as ir
from lint_cases import Case
from quantized import SHARED, conv, graph, images, product, qdq, rows

from calibration.scheme import FLOAT8

FLOAT_CONV = "[mid] m = Conv<pads=[1,1,1,1]>(a, wf, b)\n"
NORM = {"mean": np.zeros(32, np.float32), "var": np.ones(32, np.float32)}


def _between(middle: str) -> ir.Model:
    return graph(images(conv("x", "a", "one") + middle + conv("m", "y", "two")))


def _pooled(middle: str) -> ir.Model:
    text = images(
        conv("x", "a", "one") + middle + conv("m", "y", "two"), result="float[1,32,4,4] y"
    )
    return graph(text)


def _residual(branch: str, shortcut: str, left: str, right: str) -> ir.Model:
    body = conv("x", "a", "one") + branch + shortcut + f"[add] y = Add({left}, {right})"
    return graph(images(body))


def _concat(second: str) -> ir.Model:
    body = (
        qdq("x", "a", "one") + "r = Relu(x)\n"
        "[twoq] c_q = QuantizeLinear(r, s2, z)\n[twod] c = DequantizeLinear(c_q, s2, z)\n"
        "[cat] m = Concat<axis=1>(a, c)\n" + qdq("m", "y", "three")
    ) + "out = Relu(y)"
    return graph(images(body, result="float[1,64,8,8] out"), s2=np.array(float(second), np.float32))


def _norm(before: str, value: str) -> ir.Model:
    return graph(rows(f"{before}[ln] y = LayerNormalization({value}, b, b)"))


def _masked(scores: str) -> ir.Model:
    body = qdq("x", "d") + f"[mask] m = Add({scores}, k)\n[soft] y = Softmax(m)"
    return graph(rows(body), k=np.zeros(32, np.float32))


def _pool_alone(value: str) -> ir.Model:
    body = qdq("x", "d") + f"[pool] p = MaxPool<kernel_shape=[1,1]>({value})\ny = Neg(p)"
    return graph(images(body + ("" if value == "d" else "\nu = Neg(d)")))


def _narrow(channels: int) -> ir.Model:
    weight = SHARED["wq"][:, :channels]
    text = images(conv("x", "y")).replace("float[1,32,8,8] x", f"float[1,{channels},8,8] x")
    return graph(text, wq=weight)


def _wide(outputs: int) -> ir.Model:
    text = images(conv("x", "y"), result=f"float[1,{outputs},8,8] y")
    rest = {name: np.resize(SHARED[name], outputs) for name in ("ws", "wz", "b")}
    return graph(text, wq=np.resize(SHARED["wq"], (outputs, 32, 3, 3)), **rest)


def _fp8(size: int = 3, group: int = 1, outputs: int = 32) -> ir.Model:
    """A convolution that reads 8-bit floats."""
    wide = np.resize(SHARED["mf"], (outputs, 32 // group, size, size)).astype(FLOAT8)
    floats = {"wq": wide, "wz": np.zeros(outputs, FLOAT8), "z": np.array(0, FLOAT8)}
    rest = {name: np.resize(SHARED[name], outputs) for name in ("ws", "b")}
    operator = f"Conv<group={group}, pads=[{','.join(4 * [str(size // 2)])}]>"
    text = images(conv("x", "y"), result=f"float[1,{outputs},8,8] y")
    return graph(text.replace("Conv<pads=[1,1,1,1]>", operator), **floats, **rest)


def _half_product(inputs: int, sparse: bool) -> ir.Model:
    weight = np.random.default_rng(0).normal(size=(inputs, 32)).astype(np.float16)
    if sparse:
        weight.reshape(-1, 4, 32)[:, 2:] = 0
    text = f"g (float16[64,{inputs}] x) => (float16[64,32] y) {{ [mm] y = MatMul(x, h) }}"
    return graph(text, h=weight)


def _batch_norm(first: str) -> ir.Model:
    return graph(images(first + "[bn] y = BatchNormalization(a, b, b, mean, var)"), **NORM)


PLACEMENT = (
    Case(
        "float-island", "mid", lambda: _between(FLOAT_CONV),
        lambda: _between(conv("a", "m", "mid")),
    ),
    Case(
        "float-island", "pool",
        lambda: _pooled("[pool] m = AveragePool<kernel_shape=[2,2],strides=[2,2]>(a)\n"),
        lambda: _pooled(
            qdq("a", "p", "p") + "[pool] m = AveragePool<kernel_shape=[2,2],strides=[2,2]>(p)\n"
        ), variant="pool",
    ),
    Case(
        "keep-float", "ln", lambda: _norm(qdq("x", "d"), "d"), lambda: _norm("", "x"),
    ),
    Case(
        "one-sided", "mm", lambda: graph(rows(qdq("x", "d") + "[mm] y = MatMul(d, mf)")),
        lambda: graph(rows("[w] d = DequantizeLinear<axis=1>(mq, ws, wz)\n[mm] y = MatMul(x, d)")),
    ),
    Case("keep-float", "mask", lambda: _masked("d"), lambda: _masked("x"), variant="mask"),
    Case("lonely-pool", "pool", lambda: _pool_alone("d"), lambda: _pool_alone("x")),
    Case(
        "quantized-output", "d", lambda: graph(rows(qdq("x", "y"))),
        lambda: graph(rows(qdq("x", "a") + "y = Neg(a)")),
    ),
)  # fmt: skip

FUSION = (
    Case(
        "residual-add", "add",
        lambda: _residual(qdq("a", "left", "l"), qdq("x", "right", "r"), "left", "right"),
        lambda: _residual("", qdq("x", "right", "r"), "a", "right"), variant="branch",
    ),
    Case(
        "residual-add", "add", lambda: _residual("", "", "a", "x"),
        lambda: _residual("", qdq("x", "right", "r"), "right", "a"), variant="shortcut",
    ),
    Case(
        "residual-add", "add",
        lambda: _residual("", conv("x", "c", "two"), "a", "c"),
        lambda: _residual("", conv("x", "c", "two") + qdq("c", "right", "r"), "a", "right"),
        variant="projection",
    ),
    Case("concat-scales", "cat", lambda: _concat("0.2"), lambda: _concat("0.1")),
    Case(
        "batch-norm", "bn", lambda: _batch_norm(conv("x", "a")),
        lambda: _batch_norm("[conv] a = Conv<pads=[1,1,1,1]>(x, wf, b)\n"),
    ),
)  # fmt: skip

SPEED = (
    Case("few-channels", "conv", lambda: _narrow(3), lambda: _narrow(16)),
    Case("fp8-convolution", "conv", lambda: _fp8(size=7), lambda: _fp8(size=5), variant="window"),
    Case("fp8-convolution", "conv", lambda: _fp8(group=2), _fp8, variant="grouped"),
    Case("unaligned-channels", "conv", lambda: _fp8(outputs=40), _fp8, variant="fp8"),
    Case(
        "matrix-vector", "mm", lambda: graph(rows(product("x", "y"), count=1)),
        lambda: graph(rows(product("x", "y"), count=64)),
    ),
    Case("unaligned-channels", "conv", lambda: _wide(48), lambda: _wide(64), variant="int8"),
    Case(
        "unaligned-channels", "mm", lambda: _half_product(20, sparse=False),
        lambda: _half_product(24, sparse=False), variant="half",
    ),
    Case(
        "unaligned-channels", "mm", lambda: _half_product(24, sparse=True),
        lambda: _half_product(48, sparse=True), variant="sparse",
    ),
)  # fmt: skip

INTERFACE = (
    Case(
        "names", "same",
        lambda: graph(rows("[same] a = Relu(x)\n[same] y = Neg(a)")),
        lambda: graph(rows("[one] a = Relu(x)\n[two] y = Neg(a)")),
    ),
    Case(
        "dynamic-shapes", None, lambda: graph(rows("y = Relu(x)", count="n")),
        lambda: graph(rows("y = Relu(x)")),
    ),
)  # fmt: skip
