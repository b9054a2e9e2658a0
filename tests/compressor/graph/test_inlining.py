"""Calls of functions written out: the nodes they stand for, under names of their own."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from compressor.graph.inlining import inline
from compressor.graph.session import open_session

IMPORTS = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]


def doubling(depth: int) -> ir.Model:
    """x → F0, which calls F1 twice, which calls F2 twice; the last one negates. Nothing calls G."""
    functions = []
    for index in range(depth):
        last = index + 1 == depth
        kind, domain = ("Neg", "") if last else (f"F{index + 1}", "own")
        nodes = [
            helper.make_node(kind, ["a"], ["m"], "first", domain=domain),
            helper.make_node(kind, ["m"], ["b"], "second", domain=domain),
        ]
        functions.append(helper.make_function("own", f"F{index}", ["a"], ["b"], nodes, IMPORTS))
    unused = [helper.make_node("F0", ["a"], ["b"], domain="own")]
    functions.append(helper.make_function("own", "G", ["a"], ["b"], unused, IMPORTS))
    infos = [helper.make_tensor_value_info(name, 1, [3]) for name in ("x", "y", "m")]
    calls = [
        helper.make_node("F0", ["x"], ["m"], domain="own"),
        helper.make_node("Neg", ["m"], ["y"]),
    ]
    graph = helper.make_graph(calls, "g", infos[:1], infos[1:2])
    made = helper.make_model(graph, functions=functions, opset_imports=IMPORTS, ir_version=10)
    return ir.from_proto(made)


@pytest.mark.parametrize("depth", [1, 2, 4, 9])
def test_every_call_becomes_its_nodes(depth: int) -> None:
    model = doubling(depth)
    inline(model)
    nodes = list(model.graph)
    assert len(nodes) == 2**depth + 1
    assert {node.op_type for node in nodes} == {"Neg"}
    assert not model.functions
    for names in ([node.name for node in nodes], [node.outputs[0].name for node in nodes]):
        assert len(set(names)) == len(names)
    onnx.checker.check_model(ir.to_proto(model))
    x = np.array([1, 0, -2], np.float32)
    np.testing.assert_array_equal(open_session(model).run(None, {"x": x})[0], -x)


def test_names_are_not_counted_up_to_anew_for_each_copy() -> None:
    """4,096 copies of a node have 8 million names tried, where each begins at the first."""
    model = doubling(12)
    inline(model)
    last = max(int((node.name or "").rsplit("_", 1)[-1]) for node in model.graph if node.name
               and "_" in node.name)  # fmt: skip
    assert last < 100


def test_a_graph_without_functions_stays_as_it_is() -> None:
    model = doubling(3)
    inline(model)
    before = ir.to_proto(model).SerializeToString()
    inline(model)
    assert ir.to_proto(model).SerializeToString() == before


NESTED = """<ir_version: 10, opset_import: ["": 20, "own": 1]>
g (float[3] x, bool c) => (float[3] y) {
    z = own.F0(x, c)
    y = If (c) <then_branch = t () => (float[3] p) { p = own.F1<alpha: float = 0.5>(z) },
                else_branch = e () => (float[3] q) { q = own.F3(z) }>
}
<domain: "own", opset_import: ["": 20, "own": 1]> F0 <beta: float = 0.25> (a, c) => (b) {
    b = If (c) <then_branch = t () => (float[3] p) { p = own.F1<alpha: float = @beta>(a) },
                else_branch = e () => (float[3] q) { q = Neg(a) }>
}
<domain: "own", opset_import: ["": 20, "own": 1]> F1 <alpha: float> (a) => (b) {
    b = LeakyRelu<alpha: float = @alpha>(a)
}
<domain: "own", opset_import: ["": 20, "own": 1]> F3 (a) => (b) {
    b = own.F1<alpha: float = 0.125>(a)
}
"""


@pytest.mark.parametrize(
    ("condition", "expected"), [(True, [-0.25, 0.0, 3.0]), (False, [2.0, 0.0, -0.375])]
)
def test_attributes_pass_through_calls_and_branches(condition: bool, expected: list[float]) -> None:
    model = ir.from_onnx_text(NESTED)
    inline(model)
    kinds = [node.op_type for node in model.graph.all_nodes()]
    assert kinds == ["If", "LeakyRelu", "Neg", "If", "LeakyRelu", "LeakyRelu"]
    feeds = {"x": np.array([-2, 0, 3], np.float32), "c": np.array(condition)}
    np.testing.assert_array_equal(open_session(model).run(None, feeds)[0], expected)
