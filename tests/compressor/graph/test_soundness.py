"""Files whose nodes are out of order are read; those that make no graph are refused by name."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from compressor.errors import CheckpointError
from compressor.graph.files import load_model
from compressor.graph.inlining import inline
from compressor.graph.invariants import check
from compressor.graph.names import make_unique
from compressor.graph.session import open_session

HEAD = '<ir_version: 9, opset_import: ["": 18, "local": 1]>\n'
ROWS = HEAD + "g (float[2,3] x) => (float[2,3] y) "


def written(text: str, path: Path, *, backwards: bool = False) -> Path:
    """A model file, with its nodes the other way round if asked for."""
    model = onnx.parser.parse_model(text)
    if backwards:
        nodes = list(model.graph.node)[::-1]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def run(model: ir.Model | Path, **feeds: np.ndarray) -> np.ndarray:
    (result,) = open_session(model).run(None, feeds)
    return np.asarray(result)


BRANCHES = """{ z = Sin(x)
    y = If(c) <
        then_branch = t () => (float[2,3] a) { a = Neg(z) },
        else_branch = e () => (float[2,3] b) { b = Abs(z) }
    > }"""


@pytest.mark.parametrize(
    "text",
    [
        ROWS + "{ a = Sin(x)\n b = Neg(a)\n y = Abs(b) }",
        HEAD + "g (bool c, float[2,3] x) => (float[2,3] y) " + BRANCHES,
    ],
    ids=["chain", "read in a branch"],
)
def test_nodes_are_brought_in_order(text: str, tmp_path: Path):
    forward = written(text, tmp_path / "forward.onnx")
    loaded = load_model(written(text, tmp_path / "m.onnx", backwards=True))
    make_unique(loaded)
    check(loaded, "loading")
    feeds: dict[str, np.ndarray] = {"x": np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3)}
    if "bool c" in text:
        feeds["c"] = np.array(True)
    np.testing.assert_array_equal(run(loaded, **feeds), run(forward, **feeds))


def test_nodes_in_order_stay_as_they_are(tmp_path: Path):
    # A sort would be free to put `late` beside what it reads.
    text = ROWS + "{ [a] a = Sin(x)\n [b] b = Cos(x)\n [late] c = Neg(a)\n [d] y = Add(b, c) }"
    loaded = load_model(written(text, tmp_path / "m.onnx"))
    assert [node.name for node in loaded.graph] == ["a", "b", "late", "d"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROWS + "{ [one] y = Neg(z) }", r"m\.onnx: node 'one' \(Neg\) reads 'z', which nothing"),
        (ROWS + "{ z = Neg(x) }", "nothing in the graph writes its output 'y'"),
        (ROWS + "{ a = Neg(b)\n b = Neg(a)\n y = Add(a, x) }", "graph 'g' wait for each other"),
        (
            ROWS + '{ [soft] y = Softmax<axis="one">(x) }',
            r"'axis' of node 'soft' \(Softmax\) should be INT and is STRING",
        ),
        (
            ROWS + '{ y = local.f(x) }\n<domain: "local", opset_import: ["": 18, "local": 1]>\n'
            "f (v) => (w) { w = local.f(v) }",
            "call each other in a circle",
        ),
        (
            ROWS + '{ y = local.f(x) }\n<domain: "local", opset_import: ["": 13]>\n'
            "f (v) => (w) { w = Relu(v) }",
            "'f' means Relu of opset 13, and the model imports 18",
        ),
    ],
    ids=["undefined", "output", "circle", "attribute", "recursion", "versions"],
)
def test_what_makes_no_graph_is_refused(text: str, message: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(written(text, tmp_path / "m.onnx"))
    assert caught.value.hint is not None


def test_a_standard_node_without_outputs_is_refused(tmp_path: Path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    nodes = [helper.make_node("Transpose", ["x"], [], "lost"), helper.make_node("Abs", ["x"], "y")]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match=r"'lost' .* writes no output"):
        load_model(tmp_path / "m.onnx")


def test_a_function_of_another_opset_can_be_inlined_where_operators_are_the_same(tmp_path: Path):
    text = (
        ROWS + '{ y = local.f(x) }\n<domain: "local", opset_import: ["": 13]>\n'
        "f (v) => (w) { w = Sin(v) }"
    )
    loaded = load_model(written(text, tmp_path / "m.onnx"))
    inline(loaded)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_allclose(run(loaded, x=x), np.sin(x), rtol=1e-6)


def test_functions_that_double_a_graph_over_and_over_are_refused(tmp_path: Path) -> None:
    head = '<ir_version: 9, opset_import: ["": 18, "f": 1]>\n'
    text = head + "g (float[2] x) => (float[2] y) { y = f.F0(x) }\n"
    for index in range(24):
        inner = "Neg" if index == 23 else f"f.F{index + 1}"
        text += '<domain: "f", opset_import: ["" : 18, "f" : 1]>\n'
        text += f"F{index} (a) => (c) {{ b = {inner}(a) c = {inner}(b) }}\n"
    with pytest.raises(CheckpointError, match="16,777,216 nodes"):
        load_model(written(text, tmp_path / "m.onnx"))


def test_an_attribute_that_refers_to_a_function_is_refused_outside_of_one(tmp_path: Path) -> None:
    path = written(ROWS + "{ y = Softmax<axis=-1>(x) }", tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[0].attribute[0].ref_attr_name = "axis"
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match="'axis' of a function, and the node is in none"):
        load_model(path)


QUANTIZED = HEAD + "g (float[2,3] x) => (float[2,3] y) <float s = {SCALE}, int8 z = {-128}> "
QUANTIZED += "{ a = Relu(x)\n q = QuantizeLinear(a, s, z)\n y = DequantizeLinear(q, s, z) }"


@pytest.mark.parametrize("scale", ["-1.0", "0.0", "0.5"])
def test_a_negative_scale_is_refused_since_runtimes_take_it_for_positive(
    scale: str, tmp_path: Path
) -> None:
    path = written(QUANTIZED.replace("SCALE", scale), tmp_path / "m.onnx")
    if scale == "-1.0":
        with pytest.raises(CheckpointError, match=r"node '' \(QuantizeLinear\) has the scale -1"):
            load_model(path)
    else:
        assert len(load_model(path).graph) == 3
