"""2:4 sparse weights: the pattern is there, and what stays makes up for what went."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes
from compressor.layerwise.layers import Layer, layers_of
from compressor.pruning.coupling.groups import Grouping
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.pruning.reconstruction.sparsity import GROUP, WIDEST, sparsified, why_not_eligible

WHOLE = Grouping((), (), ())

GRAPHS = {
    "Conv": (
        "g (float[n,16,9,9] x, float[12,16,3,3] w) => (float[n,12,9,9] y) "
        "{ y = Conv<pads=[1,1,1,1]>(x, w) }",
        [12, 16, 3, 3],
        1,
    ),
    "Conv with a bias": (
        "g (float[n,16,9,9] x, float[12,16,1,1] w, float[12] b) => (float[n,12,9,9] y) "
        "{ y = Conv(x, w, b) }",
        [12, 16, 1, 1],
        1,
    ),
    "MatMul": (
        "g (float[n,9,32] x, float[32,24] w) => (float[n,9,24] y) { y = MatMul(x, w) }",
        [32, 24],
        0,
    ),
    "Gemm": (
        "g (float[n,32] x, float[32,24] w) => (float[n,24] y) { y = Gemm<alpha=0.5>(x, w) }",
        [32, 24],
        0,
    ),
    "Gemm, transposed": (
        "g (float[n,32] x, float[24,32] w, float[24] b) => (float[n,24] y) "
        "{ y = Gemm<transB=1>(x, w, b) }",
        [24, 32],
        1,
    ),
}
"""Text, shape of the weight, and its axis of input channels."""


def inputs(graph: ir.Model, seed: int, samples: int = 160) -> np.ndarray:
    """Features that go together and are not centred."""
    rng = np.random.default_rng(seed)
    shape = [samples, *(int(size) for size in graph.graph.inputs[0].shape[1:])]
    axis = 1 if len(shape) == 4 else -1
    width = shape[axis]
    mixed = np.random.default_rng(9).standard_normal((width, width)) @ np.diag(
        np.geomspace(1, 0.05, width)
    )
    x = np.moveaxis(rng.standard_normal(shape), axis, -1) @ mixed + 0.3
    return np.moveaxis(x, -1, axis).astype(np.float32)


def built(kind: str) -> tuple[ir.Model, int]:
    text, shape, axis = GRAPHS[kind]
    return infer_shapes(model(text, w=shape, b=shape[:1])), axis


def weight(graph: ir.Model) -> np.ndarray:
    return graph.graph.initializers["w"].const_value.numpy()


def is_sparse(array: np.ndarray, axis: int) -> bool:
    quads = np.moveaxis(array, axis, -1).reshape(-1, GROUP)
    return bool((np.count_nonzero(quads, axis=1) == GROUP // 2).all())


def by_size(array: np.ndarray, axis: int) -> np.ndarray:
    """The two largest of each four, as they are."""
    moved = np.moveaxis(array, axis, -1)
    quads = moved.reshape(-1, GROUP).copy()
    least = np.argsort(np.abs(quads), axis=1)[:, : GROUP // 2]
    np.put_along_axis(quads, least, 0, axis=1)
    return np.moveaxis(quads.reshape(moved.shape), -1, axis)


def error(graph: ir.Model, changed: ir.Model) -> float:
    x = inputs(graph, 1)
    a, b = (open_session(one).run(None, {"x": x})[0] for one in (graph, changed))
    return float(np.square(a - b).sum())


@pytest.mark.parametrize("kind", GRAPHS)
def test_two_of_four_stay_and_are_nearer_than_the_largest_as_they_are(kind: str):
    graph, axis = built(kind)
    data = open_dataset({"x": inputs(graph, 0)})
    name = next(iter(layers_of(graph)))
    how = Repair(sparse=frozenset({name}), rounds=0)
    found, record = repair(graph, graph, WHOLE, {}, data, how)
    assert is_sparse(weight(found), axis)
    assert not is_sparse(weight(graph), axis)
    cut = graph.clone()
    cut.graph.initializers["w"].const_value = ir.tensor(by_size(weight(graph), axis), name="w")
    assert error(graph, found) < 0.5 * error(graph, cut)
    (decision,) = record.decisions
    assert decision.verdict == "2:4 sparse"
    layer = record.parameters["layers"][name]
    assert layer["error_after"] < 0.5 * layer["error_before"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 40))
def test_what_stays_is_the_least_squares_solution_on_its_columns(seed: int, m: int, quads: int):
    rng = np.random.default_rng(seed)
    k = GROUP * quads
    rows = rng.standard_normal((2 * k, k)) @ np.diag(rng.uniform(0.3, 1, k))
    aim, gram = rng.standard_normal((m, k)), rows.T @ rows
    found = sparsified(aim, gram, rng.permutation(k).tolist())
    exact = np.zeros_like(found)
    for row, wanted, best in zip(found, aim, exact, strict=True):
        kept = np.flatnonzero(row)
        assert len(kept) == k // 2
        best[kept] = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ wanted)
    lost, least = (np.vdot((one - aim) @ gram, one - aim) for one in (found, exact))
    assert least * (1 - 1e-6) <= lost <= least * 1.001


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_units_of_the_inputs_do_not_matter(scale: float):
    rng = np.random.default_rng(0)
    rows, aim = rng.standard_normal((64, 32)), rng.standard_normal((4, 32))
    gram = rows.T @ rows
    found = sparsified(aim, gram * scale, range(32))
    np.testing.assert_allclose(found, sparsified(aim, gram, range(32)), rtol=1e-4, atol=1e-5)


def test_the_cheaper_of_two_twins_goes():
    """One input says what another does, so that one of both is enough whatever their size."""
    gram = np.eye(4)
    gram[0, 1] = gram[1, 0] = 0.999
    found = sparsified(np.array([[3.0, 3.0, 1.0, 1e-3]]), gram, range(4))
    assert np.count_nonzero(found[0, :2]) == 1
    np.testing.assert_allclose(found[0].sum(), 7.0, atol=0.02)


REASONS = {
    "groups": (
        "g (float[n,16,9,9] x, float[16,8,3,3] w) => (float[n,16,7,7] y) "
        "{ y = Conv<group=2>(x, w) }",
        [16, 8, 3, 3],
        "in 2 groups",
    ),
    "depthwise": (
        "g (float[n,16,9,9] x, float[16,1,3,3] w) => (float[n,16,7,7] y) "
        "{ y = Conv<group=16>(x, w) }",
        [16, 1, 3, 3],
        "in 16 groups",
    ),
    "transposed": (
        "g (float[n,16,9,9] x, float[16,8,3,3] w) => (float[n,8,11,11] y) "
        "{ y = ConvTranspose(x, w) }",
        [16, 8, 3, 3],
        "transposed",
    ),
    "odd": (
        "g (float[n,3,9,9] x, float[16,3,3,3] w) => (float[n,16,7,7] y) { y = Conv(x, w) }",
        [16, 3, 3, 3],
        "no multiple of 4",
    ),
    "shared": (
        "g (float[n,8] x, float[8,8] w) => (float[n,8] y) { h = MatMul(x, w)\n y = MatMul(h, w) }",
        [8, 8],
        "other readers",
    ),
    "wide": (
        f"g (float[n,{WIDEST + 4}] x, float[{WIDEST + 4},2] w) => (float[n,2] y) "
        "{ y = MatMul(x, w) }",
        [WIDEST + 4, 2],
        "too long to solve",
    ),
}


@pytest.mark.parametrize("kind", REASONS)
def test_what_cannot_have_the_pattern_says_why(kind: str):
    text, shape, words = REASONS[kind]
    layer: Layer = next(iter(layers_of(model(text, w=shape)).values()))
    reason = why_not_eligible(layer)
    assert reason is not None
    assert words in reason
