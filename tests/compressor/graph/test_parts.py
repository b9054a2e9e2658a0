"""Parts of a graph between what is known and what is wanted."""

import numpy as np
from graphs import model

from compressor.graph.parts import Parts
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes

BRANCHES = """g (float[n,4] x, bool c) => (float[n,4] y)
{
    a = Relu(x)
    b = MatMul(a, w)
    d = If <then_branch = t () => (float[n,4] p) { p = Add(b, a) },
            else_branch = e () => (float[n,4] q) { q = Sub(b, v) }>(c)
    y = Neg(d)
}"""


def branches():
    text = BRANCHES.replace("bool c)", "bool c, float[4,4] w, float[4] v)")
    return infer_shapes(model(text, w=[4, 4], v=[4]))


def test_a_part_computes_what_the_whole_does():
    whole = branches()
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    feeds = {"x": x, "c": np.array(True)}
    expected = open_session(whole).run(None, feeds)[0]
    parts = Parts(whole)
    first = parts.between(["x", "c"], ["b", "a"])
    assert [value.name for value in first.graph.inputs] == ["x"]
    b, a = open_session(first).run(None, {"x": x})
    second = parts.between(["b", "a", "c"], ["y"])
    assert [node.op_type for node in second.graph] == ["If", "Neg"]
    assert set(second.graph.initializers) == {"v"}, "which a body reads"
    found = open_session(second).run(None, {"b": b, "a": a, "c": feeds["c"]})[0]
    np.testing.assert_array_equal(found, expected)
    assert len(whole.graph) == 4, "it stays as it is"


def test_a_name_that_moved_is_found_where_it_is():
    whole = branches()
    parts = Parts(whole)
    parts.value("b")
    old = parts.value("a")
    old.name = "was a"
    parts.value("b").name = "a"
    assert parts.value("a").producer().op_type == "MatMul"
    assert parts.value("was a") is old
