"""Graphs with exits: every sample gets the first sure answer, whatever batch it is in."""

import numpy as np
import onnx_ir as ir
import pruning_graphs
import pytest
import quantized

from compressor.errors import RecipeError
from compressor.exits.branching import feature_name, features_graph, with_exits
from compressor.exits.cuts import find_cuts
from compressor.exits.heads import Head
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Array
from exporters.base import find_target

RNG = np.random.default_rng(0)
X = (3 * RNG.standard_normal((40, 3, 8, 8))).astype(np.float32)
TARGET = find_target("ort")


def heads_of(made: ir.Model, *values: str, threshold: float) -> list[Head]:
    weights = ((0.3 * RNG.standard_normal((8 * 16, 4))).astype(np.float32) for _ in values)
    return [
        Head(value, threshold, weight, np.zeros(4, np.float32), grid=4)
        for value, weight in zip(values, weights, strict=True)
    ]


def value_of(made: ir.Model, name: str) -> ir.Value:
    return next(v for node in made.graph for v in node.outputs if v.name == name)


def run(made: ir.Model, x: Array, *, each: bool = False) -> Array:
    with TARGET.open(made) as runner:
        parts = [x[i : i + 1] for i in range(len(x))] if each else [x]
        return np.concatenate([runner.run({"x": part})["y"] for part in parts])


def expected(made: ir.Model, heads: list[Head], x: Array) -> tuple[Array, Array]:
    """Answers, and at which exit samples leave; read from a graph without branches."""
    answer, left = run(made, x), np.full(len(x), len(heads))
    for place, head in reversed(list(enumerate(heads))):
        made.graph.outputs.append(value_of(made, head.value))
        with TARGET.open(made) as runner:
            seen = runner.run({"x": x})[head.value]
        made.graph.outputs.pop()
        fields = seen.reshape(len(x), 8, 4, 2, 4, 2).mean((3, 5)).reshape(len(x), -1)
        scores = fields @ head.weight + head.bias
        raised = np.exp(scores - scores.max(-1, keepdims=True))
        leaves = raised.max(-1) / raised.sum(-1) > head.threshold
        answer, left = np.where(leaves[:, None], scores, answer), np.where(leaves, place, left)
    return answer, left


def test_answers_are_those_of_the_first_sure_exit_at_every_batch() -> None:
    made = infer_shapes(pruning_graphs.residual())
    heads = heads_of(made, "s1", "s2", threshold=0.6)
    branched = with_exits(made, heads)
    wanted, left = expected(made, heads, X)
    assert set(left) == {0, 1, 2}, "samples leave everywhere, or nothing is tested"
    assert [node.op_type for node in made.graph].count("If") == 0
    np.testing.assert_allclose(run(branched, X), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(branched, X, each=True), wanted, rtol=1e-4, atol=1e-5)


def test_what_comes_after_an_exit_lies_in_its_branch_with_its_weights() -> None:
    made = infer_shapes(pruning_graphs.residual())
    branched = with_exits(made, heads_of(made, "s1", "s2", threshold=0.9))
    (first,) = [node for node in branched.graph if node.op_type == "If"]
    rest = first.attributes["else_branch"].as_graph()
    assert "w3" in rest.initializers
    assert "w3" not in branched.graph.initializers
    assert {"w0", "w1", "w2"} <= set(branched.graph.initializers)
    (second,) = [node for node in rest if node.op_type == "If"]
    assert "w4" in second.attributes["else_branch"].as_graph().initializers
    assert [value.name for value in branched.graph.outputs] == ["y"]


def test_a_head_on_integers_reads_what_is_dequantized() -> None:
    body = f"""{quantized.conv("x", "a")}
        {quantized.conv("a", "e", "e")}
        {quantized.qdq("e", "ed", "out")}
        p = GlobalAveragePool(ed)
        y = Flatten(p)"""
    text = quantized.images(body, result="float[1,32] y")
    made = infer_shapes(quantized.graph(text, z=np.array(100, np.uint8)))
    for number, node in enumerate(made.graph):
        node.name = f"node{number}"
    weight = RNG.standard_normal((32, 32)).astype(np.float32)
    branched = with_exits(made, [Head("a", 0.5, weight, np.zeros(32, np.float32))])
    assert [node.op_type for node in value_of(branched, "a").consumers()] == ["QuantizeLinear"]
    integer, _ = TARGET.integer_nodes(made)
    with TARGET.open(branched) as runner:
        assert runner.run({"x": np.ones((1, 32, 8, 8), np.float32)})["y"].shape == (1, 32)
    assert integer["QLinearConv"] == 2
    assert TARGET.integer_nodes(branched)[0]["QLinearConv"] == 2, "both branches are counted"


def test_features_are_averages_over_the_fields_of_a_grid() -> None:
    made = infer_shapes(pruning_graphs.residual())
    cuts = find_cuts(made, {"x": X[:2]})
    with TARGET.open(features_graph(made, cuts, None)) as runner:
        found = runner.run({"x": X})
    assert found[feature_name(0)].shape == (40, 128)
    np.testing.assert_allclose(found["y"], run(made, X), rtol=1e-5, atol=1e-6)


def test_a_value_that_is_not_there_is_named() -> None:
    made = infer_shapes(pruning_graphs.residual())
    with pytest.raises(RecipeError, match="an exit at 'gone'"):
        with_exits(made, heads_of(made, "gone", threshold=0.5))
