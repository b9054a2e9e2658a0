"""Each broken invariant is found and named."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import GraphError
from compressor.graph.invariants import check
from compressor.graph.names import make_unique


def model() -> ir.Model:
    m = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n,2] x) => (float[n,2] y) {
          a = Mul(x, w) b = Relu(a) y = Add(b, x) }""",
        initializers=[ir.tensor(np.ones(2, np.float32), name="w")],
    )
    make_unique(m)
    return m


def duplicate_value(m: ir.Model) -> None:
    m.graph[0].outputs[0].name = "b"


def duplicate_node(m: ir.Model) -> None:
    m.graph[0].name = m.graph[1].name = "twice"


def wrong_order(m: ir.Model) -> None:
    first = m.graph[0]
    m.graph.remove(first)
    m.graph.append(first)


def dangling(m: ir.Model) -> None:
    m.graph.initializers.pop("w")


def no_data(m: ir.Model) -> None:
    m.graph.initializers["w"].const_value = None


def lost_output(m: ir.Model) -> None:
    m.graph.outputs[0] = ir.Value(name="z", type=ir.TensorType(ir.DataType.FLOAT))


def unknown_domain(m: ir.Model) -> None:
    m.graph[1].domain = "com.microsoft"


def unknown_operator(m: ir.Model) -> None:
    m.graph[1].op_type = "Rleu"


def duplicate_output(m: ir.Model) -> None:
    m.graph.outputs.append(m.graph.outputs[0])


def wrong_attribute(m: ir.Model) -> None:
    m.graph[1].attributes["slope"] = ir.AttrFloat32("slope", 1.0)


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (duplicate_value, r"an output of node '.*' \(Relu\) has the name 'b', which another"),
        (duplicate_node, "the node name 'twice'"),
        (wrong_order, r"\(Relu\) reads 'a', which nothing before it produces"),
        (dangling, r"\(Mul\) reads 'w', which nothing"),
        (no_data, "initializer 'w' has no data"),
        (lost_output, "no node produces the output 'z'"),
        (unknown_domain, r"\(Relu\) is of domain 'com.microsoft', which the model does not import"),
        (unknown_operator, "checker refuses the graph.*Rleu"),
        (duplicate_output, "the name 'y' among the outputs is not unique"),
        (wrong_attribute, "checker refuses the graph.*slope"),
    ],
)
def test_broken(breaks: Callable[[ir.Model], None], message: str) -> None:
    m = model()
    check(m, "nothing")
    breaks(m)
    with pytest.raises(GraphError, match=rf"(?s)after breaking: .*{message}"):
        check(m, "breaking")


def test_a_branch_that_reads_what_comes_later() -> None:
    m = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n] x, bool c) => (float[n] y) {
          y = If (c) < then_branch = t () => (float[n] a) { a = Relu(late) },
                       else_branch = e () => (float[n] b) { b = Abs(x) } >
          late = Abs(x) }"""
    )
    make_unique(m)
    with pytest.raises(GraphError, match=r"\(Relu\) reads 'late"):
        check(m, "breaking")


def test_shapes_of_inputs_and_outputs_may_be_unknown() -> None:
    m = model()
    m.graph.inputs[0].shape = m.graph.outputs[0].shape = None
    check(m, "nothing")
    assert m.graph.outputs[0].shape is None


def test_weights_are_neither_read_nor_changed() -> None:
    class Unreadable(ir.Tensor):
        def numpy(self) -> np.ndarray:
            raise AssertionError("the weight was read")

        def tobytes(self) -> bytes:
            raise AssertionError("the weight was read")

    weight = Unreadable(np.ones((1, 2000), np.float32), name="w")
    m = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n,2000] x) => (float[n,2000] y) { y = Mul(x, w) }""",
        initializers=[weight],
    )
    make_unique(m)
    check(m, "nothing")
    assert m.graph.initializers["w"].const_value is weight
