"""Walks along values, in graphs deeper than Python's stack."""

import onnx_ir as ir

from compressor.graph.walks import behind, leads_to

DEEP = 5000


def chain() -> tuple[ir.Value, list[ir.Node]]:
    value, nodes = ir.Value(name="x"), []
    for _ in range(DEEP):
        nodes.append(ir.node("Abs", [value]))
        value = nodes[-1].outputs[0]
    return value, nodes


def test_what_computes_a_value_comes_in_order() -> None:
    value, nodes = chain()
    assert behind([value], lambda node: True) == nodes
    assert behind([value], lambda node: node is not nodes[10]) == nodes[11:]


def test_a_node_with_two_readers_comes_once() -> None:
    x = ir.Value(name="x")
    one = ir.node("Abs", [x])
    two = ir.node("Add", [one.outputs[0], one.outputs[0]])
    three = ir.node("Add", [two.outputs[0], one.outputs[0]])
    assert behind([three.outputs[0]], lambda node: True) == [one, two, three]


def test_a_walk_ends_where_it_may_not_pass() -> None:
    value, nodes = chain()

    def maker(one: ir.Value) -> list[ir.Node]:
        made = one.producer()
        return [] if made is None else [made]

    def all_inputs(node: ir.Node) -> list[ir.Value]:
        return [one for one in node.inputs if one is not None]

    assert leads_to(value, maker, lambda node: node is nodes[0], all_inputs)
    assert not leads_to(value, maker, lambda node: node is nodes[0], lambda node: [])
