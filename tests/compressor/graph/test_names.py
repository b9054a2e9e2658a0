"""Names become unique without touching what a caller knows a model by."""

import onnx_ir as ir

from compressor.graph.invariants import check
from compressor.graph.names import make_unique


def test_every_node_and_value_gets_a_name() -> None:
    x = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.FLOAT))
    a, b = ir.node("Relu", [x]), None
    b = ir.node("Relu", [a.outputs[0]])
    y = b.outputs[0]
    y.name, y.type = "y", x.type
    model = ir.Model(
        ir.Graph([x], [y], nodes=[a, b], opset_imports={"": 18}, name="g"), ir_version=8
    )
    a.name = b.name = None
    a.outputs[0].name = None
    assert make_unique(model) == 3
    assert [node.name for node in model.graph] == ["Relu", "Relu_1"]
    assert a.outputs[0].name == "Relu_output"
    check(model, "naming")
    assert make_unique(model) == 0


def test_an_output_keeps_the_name_that_a_value_inside_has_too() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n] x) => (float[n] embedding) { a = Relu(x) embedding = Abs(a) }"""
    )
    inside = model.graph[0].outputs[0]
    make_unique(model)
    inside.name = "embedding"
    assert make_unique(model) == 1
    assert model.graph.outputs[0].name == "embedding"
    assert inside.name == "embedding_1"
    check(model, "naming")


def test_optional_outputs_that_are_left_out_stay_out() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[s,b,2] x, float[1,8,2] w, float[1,8,2] r) => (float[1,b,2] h)
        { y, h, c = LSTM<hidden_size=2>(x, w, r) }"""
    )
    node = model.graph[0]
    node.outputs[0].name = node.outputs[2].name = ""
    make_unique(model)
    assert [value.name for value in node.outputs] == ["", "h", ""]
    check(model, "naming")


def test_nodes_of_different_branches_get_different_names() -> None:
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n] x, bool c) => (float[n] y) {
          y = If (c) < then_branch = t () => (float[n] a) { a = Relu(x) },
                       else_branch = e () => (float[n] b) { b = Abs(x) } > }"""
    )
    for node in model.graph.all_nodes():
        node.name = "same"
    make_unique(model)
    assert len({node.name for node in model.graph.all_nodes()}) == 3
