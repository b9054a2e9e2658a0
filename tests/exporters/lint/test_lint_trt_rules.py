"""Every rule on a graph that breaks it and on one that keeps it, and the real parser beside it."""

import sys
from importlib import util

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from lint_cases import AXES, ENCODING, OPERATORS, TYPES, Case
from lint_placement_cases import FUSION, INTERFACE, PLACEMENT, SPEED
from quantized import SHARED, conv, graph, images, product, qdq

from compressor.graph.files import save_model
from exporters.lint.base import Finding
from exporters.lint.trt.messages import finding_of_error, finding_of_warning, merged
from exporters.lint.trt.rules import RULES
from exporters.trt.graph import prepared

CASES = [*ENCODING, *TYPES, *AXES, *OPERATORS, *PLACEMENT, *FUSION, *SPEED, *INTERFACE]

needs_parser = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt_rtx is not installed: pip install '.[trt-rtx]' (Linux on x86-64)",
)


def findings(model: ir.Model) -> list[Finding]:
    ready = prepared(model)
    return [finding for rule in RULES for finding in rule(ready)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken_graph_is_found_at_its_node_and_breaks_no_other_rule(case: Case):
    found = findings(case.broken())
    assert (case.rule, case.node) in {(finding.rule, finding.node) for finding in found}
    worst = {finding.rule for finding in found if finding.severity == "error"}
    assert worst <= {case.rule}
    assert all(finding.reason and finding.fix.endswith(".") for finding in found)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sound_graph_keeps_the_rule_and_has_no_errors(case: Case):
    found = findings(case.sound())
    assert case.rule not in {finding.rule for finding in found}
    assert [finding for finding in found if finding.severity == "error"] == []


def test_rules_leave_the_model_as_it_was():
    model = graph(images(conv("x", "y", axis=1)))
    before = ir.to_proto(model).SerializeToString()
    findings(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_initializer_that_a_caller_may_override_is_a_constant_all_the_same():
    model = graph(images(conv("x", "y")), z=np.array(5, np.int8))
    model.graph.inputs.append(model.graph.initializers["z"])
    assert {finding.rule for finding in findings(model)} == {"zero-point"}


def test_operator_that_is_in_no_standard_is_a_plugin_or_a_mistake():
    text = "g (float[4] x) => (float[4] y) { [op] y = EfficientRelu(x) }"
    found = findings(graph(text))
    assert [(f.rule, f.severity, f.node) for f in found] == [("foreign-operator", "warning", "op")]
    assert "EfficientRelu" in found[0].reason


def test_weights_of_bytes_are_widened_by_the_parser_and_no_finding():
    text = "g (int64[4] x) => (float[4] y) { v = Gather(w, x)\ny = Cast<to=1>(v) }"
    assert findings(graph(text, w=np.arange(4, dtype=np.uint8))) == []


def test_long_chain_of_reshapes_is_followed():
    count = sys.getrecursionlimit()
    lines = [f"t{i + 1} = Transpose<perm=[1,0]>(t{i})" for i in range(count)]
    body = "\n".join([qdq("x", "v"), "t0 = MaxPool<kernel_shape=[1]>(v)", *lines])
    found = findings(graph(f"g (float[64,32] x) => (y) {{ {body}\ny = Neg(t{count}) }}"))
    assert "lonely-pool" in {finding.rule for finding in found}


@pytest.mark.parametrize(("axis", "rules"), [(0, set()), (1, {"weight-axis"})])
def test_weight_on_the_left_of_a_product_scales_its_rows(axis: int, rules: set[str]):
    body = product("x", "y", axis=axis).replace("MatMul(y_x, y_w)", "MatMul(y_w, y_x)")
    made = graph(f"g (float[32,64] x) => (float[32,64] y) {{ {body} }}")
    errors = {finding.rule for finding in findings(made) if finding.severity == "error"}
    assert errors == rules


def test_convolution_that_something_else_reads_too_cannot_fuse_with_an_add():
    body = conv("x", "a") + "t = Add(a, x)\nn = Neg(a)\ny = Mul(t, n)"
    assert "residual-add" not in {finding.rule for finding in findings(graph(images(body)))}


@pytest.mark.parametrize(("behind", "expected"), [("s", set()), ("s2", {"concat-scales"})])
def test_output_of_a_concat_has_the_scale_of_its_inputs(behind: str, expected: set[str]):
    body = qdq("x", "one", "a") + qdq("x2", "two", "b") + "c = Concat<axis=0>(one, two)\n"
    body += qdq("c", "v", "v").replace("(c, s,", f"(c, {behind},")
    body = body.replace("(v_q, s,", f"(v_q, {behind},") + "y = Neg(v)"
    text = f"g (float[4,32] x, float[4,32] x2) => (float[8,32] y) {{ {body} }}"
    found = findings(graph(text, s2=np.array(0.2, np.float32)))
    assert {finding.rule for finding in found} == expected


@pytest.mark.parametrize(
    ("kind", "expected"), [(np.int8, {"float-island"}), (ml_dtypes.float8_e4m3fn, set())]
)
def test_average_pool_between_layers_is_an_island_of_int8_only(kind, expected: set[str]):
    body = (
        conv("x", "a", "one") + "p = AveragePool<kernel_shape=[1,1]>(a)\n" + conv("p", "y", "two")
    )
    zeros = {"z": np.array(0, kind), "wz": np.zeros(32, kind)}
    made = graph(images(body), wq=np.ones((32, 32, 3, 3)).astype(kind), **zeros)
    assert {finding.rule for finding in findings(made)} == expected


def test_initializer_that_is_an_input_too_needs_no_profile():
    made = graph("g (float[64,32] x, float[n] b) => (float[64,32] y) { y = Add(x, b) }")
    value = made.graph.inputs[1]
    value.const_value = ir.tensor(SHARED["b"], name="b")
    made.graph.register_initializer(value)
    assert value.shape is not None
    assert not isinstance(value.shape[0], int)
    assert findings(made) == []


def test_bodies_of_control_flow_are_linted():
    text = """g (bool c, float[4,4] x) => (float y) {
        [if] y = If (c) <
            then_branch = t () => (float a) { [inside] a = Det(x) },
            else_branch = e () => (float b) { b = ReduceMax<keepdims=0>(x) }
        >
    }"""
    assert [(f.rule, f.node) for f in findings(graph(text))] == [("unsupported-operator", "inside")]


def test_network_placed_by_the_rules_has_nothing_to_tell():
    body = conv("x", "a", "one") + "r = Relu(a)\n" + conv("r", "c", "two")
    body += qdq("r", "short", "s") + "t = Add(c, short)\nu = Relu(t)\n" + qdq("u", "v", "v")
    body += "p = GlobalAveragePool(v)\nf = Flatten(p)\n"
    body += product("f", "y", operator="Gemm<transB=1>", axis=0)
    text = f"g (float[64,32,8,8] x) => (float[64,32] y) {{ {body} }}"
    assert findings(graph(text)) == []


def test_every_residual_add_of_a_network_is_found_once():
    body = conv("x", "a0", "c0")
    for i in range(3):
        body += conv(f"a{i}", f"b{i}", f"left{i}") + f"[add{i}] s{i} = Add(b{i}, a{i})\n"
        body += f"a{i + 1} = Relu(s{i})\n"
    found = findings(graph(images(body + "y = Neg(a3)")))
    assert [(f.rule, f.node) for f in found] == [("residual-add", f"add{i}") for i in range(3)]


@needs_parser
@pytest.mark.parametrize("case", CASES, ids=str)
def test_parser_agrees(case: Case, tmp_path):
    broken, accepted = merged_with_parser(case.broken(), tmp_path / "broken.onnx")
    assert accepted == (case.parser == "accepts")
    if not accepted:
        both = [finding for finding in broken if finding.found_by == ("rules", "parser")]
        assert (case.rule, case.node) in {(finding.rule, finding.node) for finding in both}
        assert not [finding for finding in broken if finding.found_by == ("parser",)], broken
    sound, accepted = merged_with_parser(case.sound(), tmp_path / "sound.onnx")
    assert accepted
    assert case.rule not in {finding.rule for finding in sound}


def merged_with_parser(model: ir.Model, path) -> tuple[list[Finding], bool]:
    """As the linter does it, without the cost of a process for each graph."""
    from exporters.lint.trt.child import parse

    save_model(model, path)
    said = parse(str(path))
    found = [finding_of_error(error, list(model.graph)) for error in said["errors"]]
    found += [finding_of_warning(text) for text in said["warnings"]]
    return merged(findings(model), tuple(found)), said["accepted"]


@needs_parser
def test_operators_that_are_missing_are_those_that_the_parser_lacks():
    import tensorrt_rtx as trt

    from exporters.lint.trt.operators import IMPORTED_FOREIGN, MISSING

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    parser = trt.OnnxParser(network, logger)
    standard = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    lacking = {name for name in standard if not parser.supports_operator(name)}
    assert lacking - set(MISSING) == set()
    assert {name for name in MISSING if parser.supports_operator(name)} == set()
    assert all(parser.supports_operator(name) for name in IMPORTED_FOREIGN)
