"""A layer as rows and a matrix computes what the runtime computes."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes
from compressor.layerwise.im2col import Sliding
from compressor.layerwise.layers import layers_of
from compressor.pruning.reconstruction.writing import write

CONVOLUTIONS = {
    "plain": ("Conv<pads=[1,1,1,1]>", (2, 4, 7, 6), [6, 4, 3, 3]),
    "strided": ("Conv<strides=[2,1], pads=[0,1,2,0]>", (2, 4, 7, 6), [6, 4, 3, 2]),
    "dilated": ("Conv<dilations=[2,1]>", (2, 4, 7, 6), [6, 4, 3, 2]),
    "grouped": ("Conv<group=2>", (2, 4, 7, 6), [6, 2, 3, 3]),
    "depthwise": ("Conv<group=4, pads=[1,1,1,1]>", (2, 4, 7, 6), [8, 1, 3, 3]),
    "same upper": ('Conv<auto_pad="SAME_UPPER", strides=[2,2]>', (2, 4, 7, 6), [6, 4, 3, 4]),
    "same lower": ('Conv<auto_pad="SAME_LOWER", strides=[2,2]>', (2, 4, 7, 6), [6, 4, 2, 3]),
    "one axis": ("Conv<pads=[2,1]>", (2, 4, 9), [6, 4, 3]),
    "three axes": ("Conv<strides=[1,2,1]>", (2, 2, 4, 5, 6), [3, 2, 2, 3, 2]),
    "transposed": ("ConvTranspose<strides=[2,2], pads=[1,0,0,1]>", (2, 4, 5, 4), [4, 6, 3, 4]),
    "transposed, grouped": ("ConvTranspose<group=2, strides=[2,1]>", (2, 4, 5, 4), [4, 3, 3, 2]),
    "transposed, more": (
        "ConvTranspose<strides=[3,2], output_padding=[1,1], dilations=[2,1]>",
        (2, 4, 5, 4),
        [4, 6, 2, 3],
    ),
    "transposed, cropped": ("ConvTranspose<strides=[2], pads=[3,3]>", (2, 4, 8), [4, 3, 3]),
    "transposed, same": ('ConvTranspose<strides=[2], auto_pad="SAME_UPPER">', (2, 4, 8), [4, 3, 3]),
    "transposed, sized": ("ConvTranspose<strides=[2], output_shape=[15]>", (2, 4, 8), [4, 3, 3]),
}


def convolution(kind: str) -> tuple[ir.Model, np.ndarray]:
    operator, shape, weight = CONVOLUTIONS[kind]
    rest = ",".join(map(str, shape[1:]))
    transposed = operator.startswith("ConvT")
    outputs = weight[1] * (2 if "group=2" in operator else 1) if transposed else weight[0]
    unknown = ",".join(f"s{i}" for i in range(len(shape) - 2))
    made = model(
        f"g (float[n,{rest}] x, float[{','.join(map(str, weight))}] w, float[{outputs}] b)"
        f" => (float[n,{outputs},{unknown}] y) {{ y = {operator}(x, w, b) }}",
        w=weight,
        b=[outputs],
    )
    return made, np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def product(
    operator: str, shape: tuple[int, ...], weight: list[int]
) -> tuple[ir.Model, np.ndarray]:
    rest = ",".join(map(str, shape[1:]))
    out = weight[0] if "transB" in operator else weight[1]
    body = f"y = {operator}(x, w, b)"
    if operator == "MatMul":
        body = "p = MatMul(x, w)\n y = Add(b, p)"
    outputs = ",".join(["n", *map(str, shape[1:-1]), str(out)])
    made = model(
        f"g (float[n,{rest}] x, float[{weight[0]},{weight[1]}] w, float[{out}] b)"
        f" => (float[{outputs}] y) {{ {body} }}",
        w=weight,
        b=[out],
    )
    return made, np.random.default_rng(1).standard_normal(shape).astype(np.float32)


CASES = {
    **{kind: (lambda kind=kind: convolution(kind)) for kind in CONVOLUTIONS},
    "Gemm": lambda: product("Gemm<alpha=0.5, beta=2.0>", (5, 4), [4, 3]),
    "Gemm, transposed": lambda: product("Gemm<transB=1>", (5, 4), [3, 4]),
    "MatMul": lambda: product("MatMul", (5, 3, 4), [4, 6]),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("limit", [1, 2**20])
def test_rows_times_the_matrix_are_the_output(kind, limit):
    made, x = CASES[kind]()
    (layer,) = layers_of(infer_shapes(made)).values()
    y = open_session(made).run(None, {"x": x})[0]
    seen = 0
    for part, rows in layer.rows(x, limit):
        expected = layer.targets(y, part)
        found = rows @ layer.matrix().swapaxes(1, 2) + layer.bias()[:, None]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        seen += expected.size
    assert seen == y.size


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("limit", [1, 2**20])
def test_rows_that_are_drawn_are_some_of_all_and_the_same_of_a_seed(kind, limit):
    made, x = CASES[kind]()
    (layer,) = layers_of(infer_shapes(made)).values()
    y = open_session(made).run(None, {"x": x})[0]
    total = sum(rows.shape[1] for _, rows in layer.rows(x, limit))
    drawn = [list(layer.rows(x, limit, total // 2, seed)) for seed in (0, 0, 1)]
    for part, rows in drawn[0]:
        found = rows @ layer.matrix().swapaxes(1, 2) + layer.bias()[:, None]
        np.testing.assert_allclose(found, layer.targets(y, part), atol=1e-5)
    counts = [sum(rows.shape[1] for _, rows in one) for one in drawn]
    assert len(set(counts)) == 1
    assert total // 2 <= counts[0] < total, "about as many as were asked, of each sample alike"
    for (_, one), (_, again) in zip(drawn[0], drawn[1], strict=True):
        np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize("kind", CASES)
def test_what_is_written_is_what_the_runtime_computes(kind):
    made, x = CASES[kind]()
    (layer,) = layers_of(infer_shapes(made)).values()
    before = open_session(made).run(None, {"x": x})[0]
    write(made, layer, 2 * layer.matrix(), 2 * layer.bias())
    np.testing.assert_allclose(open_session(made).run(None, {"x": x})[0], 2 * before, atol=1e-5)


@pytest.mark.parametrize("operator", ["Conv", "MatMul"])
def test_a_layer_without_a_bias_gets_one_and_keeps_its_names(operator):
    shapes = {"Conv": ("n,4,5,5", "3,4,1,1", "n,3,5,5"), "MatMul": ("n,5,4", "4,3", "n,5,3")}
    x, w, y = shapes[operator]
    made = model(
        f"g (float[{x}] x, float[{w}] w) => (float[{y}] y) {{ y = {operator}(x, w) }}",
        w=[int(size) for size in w.split(",")],
    )
    (layer,) = layers_of(infer_shapes(made)).values()
    values = np.ones([2, *map(int, x.split(",")[1:])], np.float32)
    before = open_session(made).run(["y"], {"x": values})[0]
    write(made, layer, layer.matrix(), np.array([[1.0, 2.0, 3.0]]))
    after = open_session(made).run(["y"], {"x": values})[0]
    step = np.moveaxis(after - before, layer.output_axis, -1)
    np.testing.assert_allclose(step, np.broadcast_to([1.0, 2.0, 3.0], step.shape), atol=1e-5)
    (again,) = layers_of(made).values()
    assert again.name == layer.name
    assert again.output.name == "y"
    np.testing.assert_allclose(again.bias(), [[1.0, 2.0, 3.0]])


def test_a_weight_that_is_computed_is_no_layer():
    made = model("g (float[n,4] x, float[4,4] w) => (float[n,4] y) { y = MatMul(x, w) }")
    assert not layers_of(made)


@pytest.mark.parametrize("kind", ["plain", "strided", "dilated", "same upper", "one axis"])
def test_the_adjoint_moves_a_layer_to_the_other_side_of_the_product(kind):
    """⟨W∘x, g⟩ = ⟨x, Wᵀ∘g⟩."""
    made, x = convolution(kind)
    (layer,) = layers_of(infer_shapes(made)).values()
    y = open_session(made).run(None, {"x": x})[0]
    y = y - layer.bias().reshape(-1, *[1] * (y.ndim - 2))
    g = np.random.default_rng(2).standard_normal(y.shape)
    back = Sliding(layer.node, layer.kernel).adjoint(g, x.shape, layer.weight)
    assert back.shape == x.shape
    assert np.vdot(back, x) == pytest.approx(np.vdot(y, g), rel=1e-5)
