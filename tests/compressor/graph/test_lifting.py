"""What a graph draws as an input, and put back: the same numbers, or the same distribution."""

import numpy as np
import onnx_ir as ir
import pytest

from compressor.graph.invariants import check
from compressor.graph.lifting import flat, lift, put_back
from compressor.graph.names import make_unique
from compressor.graph.noise import drawing_nodes
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.pruning import cut, find_groups

MANY = 20_000
"""Draws of which means and shares are taken: four standard errors of those are below 0.03."""


def lifted(body, shape=("N", 4), *, opset=15, inputs="float[N,4] x", output="float[N,4] y"):
    header = f'<ir_version: 8, opset_import: ["": {opset}]>'
    model = ir.from_onnx_text(f"{header} g ({inputs}) => ({output}) {{ {body} }}")
    make_unique(model)
    infer_shapes(model)
    nodes = {"node": shape} if isinstance(shape, tuple) else shape
    for node in model.graph.all_nodes():
        if drawing_nodes(model) and node.op_type in drawing_nodes(model):
            node.name = "node"
    return model, lift(flat(model), input_specs(model), nodes)


def run(model, **feeds):
    return open_session(model).run(None, feeds)


def uniform(*shape):
    return np.random.default_rng(1).random(shape, np.float32)


X = np.zeros((MANY, 4), np.float32)
U = uniform(MANY, 4)
DROPOUT = (
    "t = Constant<value = bool {1}>() r = Constant<value = float {0.25}>() y = Dropout(x, r, t)"
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = RandomNormalLike<mean = 2.0, scale = 3.0>(x)", 3 * U + 2),
        ("y = RandomNormalLike(x)", U),
        ("y = RandomUniformLike<low = -1.0, high = 3.0>(x)", 4 * U - 1),
        ("p = Sigmoid(x) y = Bernoulli(p)", U < 0.5),
    ],
)
def test_what_is_drawn_outside_becomes_what_the_operator_draws(body, expected):
    _, found = lifted(body)
    (noise,) = found.noises
    assert (noise.spec.shape, str(noise.spec)) == (("N", 4), "noise:float32[N,4]")
    check(found.model, "lifting")
    np.testing.assert_allclose(run(found.model, x=X, noise=U)[0], expected, rtol=1e-6)


def test_dropout_keeps_the_share_and_scales_it():
    _, found = lifted(DROPOUT)
    (made,) = run(found.model, x=X + 3, noise=U)
    np.testing.assert_allclose(made, np.where(U < 0.75, 4, 0), rtol=1e-6)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_multinomial_draws_each_class_with_its_probability(opset):
    chances = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    body = "y = Multinomial<sample_size = 2, dtype = 7>(x)"
    _, found = lifted(body, ("N", 2), opset=opset, output="int64[N,2] y")
    logits = np.log(np.tile(chances, (MANY, 1)))
    (drawn,) = run(found.model, x=logits, noise=U[:, :2])
    shares = np.bincount(drawn.reshape(-1), minlength=4) / drawn.size
    np.testing.assert_allclose(shares, chances, atol=0.01)
    (drawn,) = run(found.model, x=logits, noise=np.full((MANY, 2), 1, np.float32))
    assert drawn.max() == 3, "rounding of the sum never gives a class that is not there"


def test_noise_that_is_put_back_has_the_distribution_and_the_inputs_that_it_had():
    model, found = lifted("z = RandomNormalLike<mean = 2.0, scale = 3.0>(x) y = Add(x, z)")
    back = put_back(found.model, found.noises)
    check(back, "putting back")
    assert [v.name for v in back.graph.inputs] == ["x"]
    session = open_session(back)
    (one,), (other,) = session.run(None, {"x": X}), session.run(None, {"x": X})
    assert not np.array_equal(one, other)
    assert abs(one.mean() - 2) < 0.1
    assert abs(one.std() - 3) < 0.1
    assert drawing_nodes(model) == drawing_nodes(back)


@pytest.mark.parametrize(
    ("shape", "inputs", "feeds", "size"),
    [
        ((1, 4), "float[N,4] x", {"x": (5, 4)}, (5, 4)),
        (("2*N", 4), "float[N,4] x", {"x": (5, 4)}, (10, 4)),
        (("N+M", 4), "float[N,4] x, float[M] m", {"x": (5, 4), "m": (3,)}, (8, 4)),
    ],
)
def test_sizes_of_what_is_put_back_follow_the_inputs(shape, inputs, feeds, size):
    body = "s = Shape(x) c = Constant<value_ints = [1, 4]>() k = Max(s, c) z = ConstantOfShape(k)"
    _, found = lifted(f"{body} y = RandomNormalLike(z)", shape, inputs=inputs)
    back = put_back(found.model, found.noises)
    arrays = {name: np.zeros(of, np.float32) for name, of in feeds.items()}
    assert run(back, **arrays)[0].shape == ((1, 4) if shape == (1, 4) else size)


def test_a_seed_stays_and_what_nothing_reads_goes():
    _, found = lifted(
        "y = RandomNormal<shape = [2, 4], seed = 7.0>()", (2, 4), output="float[2,4] y"
    )
    back = put_back(found.model, found.noises)
    assert next(n for n in back.graph if n.op_type == "RandomNormal").attributes["seed"].value == 7
    _, found = lifted("z = RandomNormalLike(x) e = Exp(z) y = Relu(x)")
    assert found.noises == ()
    assert not found.inside


TURNS = """three = Constant<value = int64 {3}>() on = Constant<value = bool {1}>()
y = Loop(three, on, x) <body = b (int64 i, bool c, float[N,4] s) => (bool d, float[N,4] q) {
  d = Identity(c) z = RandomNormalLike(s) q = Add(s, z) }>"""
BRANCH = """y = If(on) <
  then_branch = a () => (float[N,4] q) { z = RandomNormalLike(x) q = Add(x, z) },
  else_branch = b () => (float[N,4] r) { r = Identity(x) }>"""


def test_a_turn_of_a_loop_draws_inside_and_a_branch_does_not():
    _, found = lifted(TURNS)
    assert found.noises == ()
    assert "body of the Loop" in found.inside["node"]
    _, found = lifted(BRANCH, inputs="float[N,4] x, bool on")
    (made,) = run(found.model, x=X, on=np.array(True), noise=U)
    np.testing.assert_array_equal(made, U)
    (made,) = run(found.model, x=X, on=np.array(False), noise=U)
    np.testing.assert_array_equal(made, X)


def test_a_size_that_follows_from_no_input_stays_inside():
    _, found = lifted("y = RandomNormalLike(x)", {"node": None})
    assert found.inside == {"node": "its size follows from no size of an input"}


MASKED = """h = MatMul(x, w) t = Constant<value = bool {1}>() r = Constant<value = float {0.25}>()
d = Dropout(h, r, t) y = MatMul(d, v)"""


def test_noise_of_a_layers_size_is_pruned_with_it():
    rng = np.random.default_rng(0)
    _, found = lifted(MASKED, ("N", 6), inputs="float[N,4] x, float[4,6] w, float[6,4] v")
    graph = found.model.graph
    weights = {"w": rng.standard_normal((4, 6)), "v": rng.standard_normal((6, 4))}
    for value in [v for v in graph.inputs if v.name in weights]:
        graph.inputs.remove(value)
        value.const_value = ir.tensor(weights[value.name or ""].astype(np.float32))
        graph.register_initializer(value)
    feeds = {"x": rng.standard_normal((3, 4)).astype(np.float32), "noise": uniform(3, 6)}
    grouping = find_groups(found.model, feeds)
    (group,) = grouping.groups
    keep = np.array([True, False, True, True, False, True])
    smaller = cut(found.model, grouping, {group.name: keep})
    assert smaller.graph.initializers["w"].shape == (4, 4)
    rest = weights["v"] * keep[:, None]
    graph.initializers["v"].const_value = ir.tensor(rest.astype(np.float32))
    expected, made = (run(model, **feeds)[0] for model in (found.model, smaller))
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    back = put_back(smaller, found.noises)
    assert run(back, x=feeds["x"])[0].shape == (3, 4)
    assert "Gather" not in [node.op_type for node in back.graph]
