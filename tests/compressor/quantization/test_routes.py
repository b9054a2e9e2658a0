"""Divisors that go into constants further up: the outputs stay, the products gain."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor.graph.shapes import infer_shapes
from compressor.quantization.routes import route_of
from compressor.quantization.smoothing import choose_divisors, smoothed
from exporters.ort.target import TARGET

X = np.random.default_rng(1).standard_normal((24, 6, 32)).astype(np.float32)
LOUD = 5

RMS = """
    s = Mul(x, x)
    last = Constant<value_ints = [-1]>()
    m = ReduceMean(s, last)
    r = Sqrt(m)
    n = Div(x, r)
    v = Mul(scale, n)
"""
SWIGLU = """
    g = MatMul(x, wg)
    e = Sigmoid(g)
    a = Mul(g, e)
    u = MatMul(x, wu)
    c = Add(u, bu)
    v = Mul(a, c)
"""
ATTENTION = """
    p = MatMul(x, wv)
    h = Reshape(p, heads)
    t = Transpose<perm = [0, 2, 1, 3]>(h)
    q = MatMul(x, wq)
    k = Softmax<axis = -1>(q)
    o = Constant<value_ints = [1]>()
    d = Unsqueeze(k, o)
    z = MatMul(d, t)
    b = Transpose<perm = [0, 2, 1, 3]>(z)
    v = Reshape(b, joined)
"""
GROUPED = """
    p = MatMul(x, wv16)
    h = Reshape(p, heads2)
    t = Transpose<perm = [0, 2, 1, 3]>(h)
    two = Constant<value_ints = [2]>()
    w = Unsqueeze(t, two)
    f = Expand(w, repeated)
    l = Reshape(f, heads4)
    q = MatMul(x, wq)
    k = Softmax<axis = -1>(q)
    o = Constant<value_ints = [1]>()
    d = Unsqueeze(k, o)
    z = MatMul(d, l)
    b = Transpose<perm = [0, 2, 1, 3]>(z)
    v = Reshape(b, joined)
"""
PACKED = """
    p = MatMul(x, wqkv)
    h = Reshape(p, packed)
    t = Transpose<perm = [2, 0, 3, 1, 4]>(h)
    i0 = Constant<value_int = 0>()
    i1 = Constant<value_int = 1>()
    i2 = Constant<value_int = 2>()
    qq = Gather<axis = 0>(t, i0)
    kk = Gather<axis = 0>(t, i1)
    vv = Gather<axis = 0>(t, i2)
    kt = Transpose<perm = [0, 1, 3, 2]>(kk)
    qk = MatMul(qq, kt)
    k = Softmax<axis = -1>(qk)
    z = MatMul(k, vv)
    b = Transpose<perm = [0, 2, 1, 3]>(z)
    v = Reshape(b, joined)
"""
SPLIT = """
    p = MatMul(x, wqkv)
    qq, kk, vv = Split<axis = -1, num_outputs = 3>(p)
    kt = Transpose<perm = [0, 2, 1]>(kk)
    qk = MatMul(qq, kt)
    k = Softmax<axis = -1>(qk)
    v = MatMul(k, vv)
"""
WAYS = {
    "RMSNorm": RMS,
    "SwiGLU": SWIGLU,
    "attention": ATTENTION,
    "grouped heads": GROUPED,
    "packed": PACKED,
    "split": SPLIT,
}
WEIGHTS = {
    "scale": [32], "wg": [32, 32], "wu": [32, 32], "bu": [32], "wv": [32, 32], "wq": [32, 6],
    "wv16": [32, 16], "wqkv": [32, 96], "out": [32, 24],
}  # fmt: skip
SHAPES = {
    "heads": [0, 0, 4, 8], "joined": [0, 0, 32], "heads2": [0, 0, 2, 8], "heads4": [0, 4, 6, 8],
    "repeated": [1, 2, 2, 6, 8], "packed": [0, 0, 3, 4, 8],
}  # fmt: skip


def graph(body: str) -> ir.Model:
    """x → v by the body → y = v · out."""
    used = {name: shape for name, shape in WEIGHTS.items() if name in body or name == "out"}
    inputs = ", ".join(f"float{shape} {name}" for name, shape in used.items())
    sizes = {name: shape for name, shape in SHAPES.items() if f"{name})" in body}
    inputs += "".join(f", int64[{len(shape)}] {name}" for name, shape in sizes.items())
    text = f"g (float[n,6,32] x, {inputs}) => (float[n,6,24] y) {{ {body} y = MatMul(v, out) }}"
    made = model(text, **used, **sizes)
    for name, shape in sizes.items():
        made.graph.initializers[name].const_value = ir.tensor(np.array(shape), name=name)
    return infer_shapes(made)


def outputs(made: ir.Model) -> np.ndarray:
    with TARGET.open(made) as runner:
        return runner.run({"x": X})["y"]


def value(made: ir.Model, name: str) -> ir.Value:
    return next(one for node in made.graph for one in node.outputs if one.name == name)


@pytest.mark.parametrize("name", WAYS)
def test_the_graph_computes_the_same_without_a_node_more(name: str):
    made = graph(WAYS[name])
    route = route_of(value(made, "v"), 32)
    assert route is not None
    rng = np.random.default_rng(0)
    divisor = route.shared(rng.uniform(1, 9, 32).astype(np.float32))
    assert len(np.unique(divisor)) == (16 if name == "grouped heads" else 32)
    divided = smoothed(made, {"v": divisor})
    assert len(list(divided.graph)) == len(list(made.graph))
    np.testing.assert_allclose(outputs(divided), outputs(made), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        observed(divided, "v") * divisor, observed(made, "v"), rtol=1e-3, atol=1e-4
    )


def observed(made: ir.Model, name: str) -> np.ndarray:
    copy = made.clone()
    copy.graph.outputs.append(value(copy, name))
    with TARGET.open(copy) as runner:
        return runner.run({"x": X})[name]


@pytest.mark.parametrize("name", WAYS)
def test_loud_channels_gain(name: str):
    made = graph(WAYS[name])
    factors = {"scale": (LOUD,), "wu": (..., LOUD), "bu": (LOUD,), "wv": (..., LOUD)}
    factors |= {"wv16": (..., LOUD), "wqkv": (..., 64 + LOUD)}
    for weight, index in factors.items():
        if weight in made.graph.initializers:
            array = made.graph.initializers[weight].const_value.numpy().copy()
            array[index] *= 80
            made.graph.initializers[weight].const_value = ir.tensor(array, name=weight)
    weights = made.graph.initializers["out"]
    array = weights.const_value.numpy().copy()
    array[LOUD :: 16 if name == "grouped heads" else 32] /= 80
    weights.const_value = ir.tensor(array, name="out")
    found, record = choose_divisors(
        made, open_dataset({"x": X}), TARGET.policy("avx2"), batch=8, memory=None
    )
    assert set(found) == {"v"}
    (decision,) = (one for one in record.decisions if one.subject == "v")
    before, after = (float(part.split(" dB")[0].split()[-1]) for part in (
        decision.reason, decision.reason.partition("products, ")[2].replace(" smoothed", " dB")
    ))  # fmt: skip
    assert after > before + 6
    np.testing.assert_allclose(outputs(smoothed(made, found)), outputs(made), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "body",
    [
        "g = MatMul(x, wg) v = Mul(g, g)",
        "g = MatMul(x, wg) v = Gelu(g)",
        "g = MatMul(x, wg) v = Softmax<axis = -1>(g)",
        "g = MatMul(x, wg) v = Add(g, x)",
    ],
)
def test_where_channels_mix_or_others_read_there_is_no_way(body: str):
    assert route_of(value(graph(body), "v"), 32) is None
