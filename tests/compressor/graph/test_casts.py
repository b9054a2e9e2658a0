"""Values and outputs in another type, and what ONNX says of operators."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor.graph.casts import cast, cast_output
from compressor.graph.invariants import check
from compressor.graph.schemas import schema_of
from compressor.graph.session import open_session

HALF = ir.DataType.FLOAT16


def test_a_cast_has_the_name_and_the_shape():
    value = model("g (float[n,4] x) => (float[n,4] y) { y = Relu(x) }").graph.outputs[0]
    node = cast(value, HALF, "small")
    made = node.outputs[0]
    assert (made.name, made.dtype, made.shape) == ("small", HALF, value.shape)
    assert node.graph is None
    assert node.inputs[0] is value


def test_an_output_in_another_type_keeps_its_name_and_its_numbers():
    graph = model(
        "g (float[n,4] x) => (float[n,4] y, float[n,4] z) { y = Relu(x) y_half = Neg(x) "
        "z = Add(y, y_half) }"
    )
    cast_output(graph.graph, 0, HALF, "half")
    check(graph, "casting")
    assert [value.name for value in graph.graph.outputs] == ["y", "z"]
    assert [value.dtype for value in graph.graph.outputs] == [HALF, ir.DataType.FLOAT]
    x = np.array([[-1, 0, 1, 2]], np.float32)
    y, z = open_session(graph).run(None, {"x": x})
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, [[0, 0, 1, 2]])
    np.testing.assert_array_equal(z, [[1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("operator", "domain", "version", "since"),
    [("Relu", "", 20, 14), ("Relu", "", 0, None), ("Gelu", "", 19, None), ("Relu", "my", 1, None)],
)
def test_a_schema_is_that_of_the_version(operator, domain, version, since):
    schema = schema_of(ir.node(operator, [], domain=domain), version)
    assert (schema and schema.since_version) == since
