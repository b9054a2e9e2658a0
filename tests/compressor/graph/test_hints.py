"""What a file notes of its values, against what it computes."""

import numpy as np
import onnx_ir as ir

from compressor.capture.signature import taken
from compressor.checkpoint import source_of
from compressor.graph.hints import fit_outputs, settle_hints
from compressor.graph.invariants import check, import_domains
from compressor.graph.shapes import input_specs, shape_of


def model(text: str, domains: str = "") -> ir.Model:
    return ir.from_onnx_text(f'<ir_version: 8, opset_import: ["": 17{domains}]> {text}')


def shapes(graph: ir.Model) -> dict[str, tuple[object, ...] | None]:
    return {value.name or "": shape_of(value) for node in graph.graph for value in node.outputs}


def test_shapes_that_contradict_the_graph_are_found_anew() -> None:
    graph = model(
        "g (float[n,4] x) => (float[n,9] y) <float[n,7] a, float[n,4] b> "
        "{ a = Relu(x) b = Abs(a) y = Neg(b) }"
    )
    (said,) = settle_hints(graph)
    assert "'a'" in said and "[n, 7]" in said and "[n, 4]" in said
    assert shapes(graph) == dict.fromkeys("aby", ("n", 4))


def test_shapes_that_do_not_contradict_stay() -> None:
    graph = model(
        "g (float[n,4] x, int64[3] s) => (float[n,2,2] y) <float[n,2,2] a> "
        "{ a = Reshape(x, s) y = Neg(a) }"
    )
    assert settle_hints(graph) == ()
    assert shapes(graph)["a"] == ("n", 2, 2)


def test_sizes_without_a_meaning_are_open_sizes_of_their_own() -> None:
    graph = model("g (float[n,3] x) => (float[n,3] y) { y = Relu(x) }")
    graph.graph.inputs[0].shape = ir.Shape([-1, 3, "?", "?"])
    settle_hints(graph)
    assert input_specs(graph)[0].shape == (None, 3, None, None)


def test_data_is_told_from_labels_by_inputs_whose_negative_sizes_are_open() -> None:
    graph = model("g (float[n,3] x) => (float[n,3] y) { y = Relu(x) }")
    graph.graph.inputs[0].shape = ir.Shape([-1, 3, -1])
    known = taken(source_of(graph), [])
    assert known is not None
    assert [type(size) for size in known.specs[0].shape] == [str, int, str]
    assert "-1" not in known.specs[0].shape


def test_types_that_onnx_does_not_know_are_those_of_the_runtime() -> None:
    graph = model(
        "g (float[n,4] x) => (float[n,4] y) { a = com.microsoft.QuickGelu(x) y = Neg(a) }",
        ', "com.microsoft": 1',
    )
    settle_hints(graph)
    (value,) = [v for node in graph.graph for v in node.outputs if v.name == "a"]
    assert value.dtype == ir.DataType.FLOAT
    assert shape_of(value) == ("n", 4)


def test_outputs_get_the_sizes_that_they_come_with() -> None:
    graph = model("g (float[n,4] x) => (float[n,9] y, float[n,4] z) { y = Relu(x) z = Abs(x) }")
    (said,) = fit_outputs(graph, [(2, 4), (2, 4)])
    assert "'y'" in said and "[n, 9]" in said
    assert [shape_of(value) for value in graph.graph.outputs] == [("n", None), ("n", 4)]


def test_operators_that_only_the_runtime_knows_pass_the_check() -> None:
    graph = model(
        "g (float[n,4] x, float[4] s) => (float[n,4] y) "
        "{ a = SimplifiedLayerNormalization(x, s) y = com.microsoft.QuickGelu(a) }"
    )
    for index, node in enumerate(graph.graph):
        node.name = f"n{index}"
    graph.graph.inputs[1].const_value = ir.tensor(np.ones(4, np.float32), name="s")
    graph.graph.register_initializer(graph.graph.inputs.pop())
    import_domains(graph)
    check(graph, "test")
    assert graph.graph[0].domain == "", "the check looks at a copy"
