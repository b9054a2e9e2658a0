"""A graph in stretches, and joined again."""

import numpy as np
import onnx_ir as ir
import pytest
from decoders import decoder, tokens
from graphs import model

from compressor.errors import GraphError
from compressor.graph.joining import computed_once, joined
from compressor.graph.session import open_session
from compressor.graph.stretches import stretches

MASKED = """g (float[n,t,64] x, float[64,64] a, float[64,64] b, float[64,64] c)
    => (float[n,t,64] y, float[n,t,64] h)
{
    shape = Shape(x)
    zero = ConstantOfShape(shape)
    mask = Cos(zero)
    h = MatMul(x, a)
    m = Mul(h, mask)
    p = MatMul(m, b)
    s = Add(p, m)
    q = MatMul(s, c)
    y = Mul(q, mask)
}"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of these graphs are not light."""
    monkeypatch.setattr("compressor.graph.stretches.LIGHT", 100)


def masked() -> ir.Model:
    return model(MASKED, a=[64, 64], b=[64, 64], c=[64, 64])


def run(graph: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = open_session(graph)
    names = [value.name for value in graph.graph.outputs]
    wanted = {value.name: feeds[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, wanted), strict=True))


def chained(whole: ir.Model, most: int, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    known = dict(feeds)
    types = {v.name: ir.TensorType(ir.DataType.FLOAT) for n in whole.graph for v in n.outputs}
    for stretch in stretches(whole, most):
        known |= run(stretch.of(whole, types), known)
    return known


def test_stretches_in_turn_compute_what_the_whole_does() -> None:
    whole, feeds = decoder(), {"ids": tokens()}
    cut = stretches(whole, 30_000)
    assert len(cut) > 2
    assert [name for one in cut for name in one.nodes] == [node.name for node in whole.graph]
    found = chained(whole, 30_000, feeds)["logits"]
    np.testing.assert_allclose(found, run(whole, feeds)["logits"], atol=1e-6)


def test_what_is_cheap_is_computed_again_and_not_handed_on() -> None:
    whole = masked()
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 5, 64)).astype(np.float32)}
    cut = stretches(whole, 20_000)
    assert [one.reads for one in cut] == [(), ("m",), ("s",)]
    assert [one.makes for one in cut] == [("m", "h"), ("s",), ("y",)]
    assert all("mask" not in one.reads for one in cut)
    found = chained(whole, 20_000, feeds)
    expected = run(whole, feeds)
    for name in ("y", "h"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_parts_become_one_graph_that_computes_things_once() -> None:
    whole = masked()
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 5, 64)).astype(np.float32)}
    types = {v.name: ir.TensorType(ir.DataType.FLOAT) for n in whole.graph for v in n.outputs}
    parts = [one.of(whole, types) for one in stretches(whole, 20_000)]
    assert sum(node.op_type == "Cos" for part in parts for node in part.graph) == 2
    found = computed_once(joined(parts, whole))
    assert [node.op_type for node in found.graph].count("Cos") == 1
    assert [value.name for value in found.graph.outputs] == ["y", "h"]
    expected = run(whole, feeds)
    for name, array in run(found, feeds).items():
        np.testing.assert_allclose(array, expected[name], atol=1e-6)


def test_a_part_that_reads_what_nothing_makes_is_refused() -> None:
    whole = masked()
    types = {v.name: ir.TensorType(ir.DataType.FLOAT) for n in whole.graph for v in n.outputs}
    last = stretches(whole, 20_000)[-1].of(whole, types)
    with pytest.raises(GraphError, match="is read before any part"):
        joined([last], whole)
    with pytest.raises(GraphError, match="no part of the graph makes its output"):
        joined([], whole)
