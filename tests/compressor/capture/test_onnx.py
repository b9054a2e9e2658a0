"""ONNX models as a source: taken as they are, run, and raised from old opsets."""

import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest

from compressor.capture import capture
from compressor.capture.finishing import OLDEST_OPSET
from compressor.checkpoint import load_checkpoint, source_of
from compressor.errors import CaptureError, GraphError
from compressor.graph.shapes import input_specs
from compressor.recipe.loading import ModelOptions
from compressor.recipe.notation import parse_input

HEADER = '<ir_version: 8, opset_import: ["" : {opset}]>'
LINEAR = """agraph (float[{batch}, 3] x) => (float[{batch}, 2] y)
<float[3, 2] w = {{1, 2, 3, 4, 5, 6}}> {{ y = MatMul(x, w) }}"""


def _model(graph=LINEAR, *, opset=17, batch="N"):
    return ir.from_onnx_text(HEADER.format(opset=opset) + graph.format(batch=batch))


def _capture(model, *, declared=(), examples=None, opset=21):
    inputs = [parse_input(text) for text in declared]
    return capture(source_of(model), inputs=inputs, examples=examples, opset=opset)


def test_a_model_is_taken_as_it_is():
    model = _model()
    before = ir.to_proto(model).SerializeToString()
    captured = _capture(model, examples={"image": np.ones((4, 3), np.float32)})
    assert [str(s) for s in input_specs(captured.model)] == ["x:float32[N,3]"]
    assert captured.model.opset_imports[""] == 17
    assert captured.parity == ()
    assert captured.record.notices == ()
    (decision,) = captured.record.decisions
    assert (decision.subject, decision.verdict) == ("ONNX Runtime", "ok")
    assert "nothing to compare" in decision.reason
    assert captured.record.parameters["batch"] == "dynamic"
    assert ir.to_proto(model).SerializeToString() == before


def test_a_baked_batch_and_missing_data_are_notices():
    captured = _capture(_model(batch=5))
    assert captured.record.parameters["batch"] == 5
    baked, random = captured.record.notices
    assert "batch is baked in at 5" in baked
    assert "seeded random" in random


SCALED = """agraph (float[{batch}, 3] x) => (float[{batch}, 2] y)
<float[3, 2] w = {{1, 2, 3, 4, 5, 6}}, float[2] b = {{0, 1}}, float[2] c = {{0, 1}},
 float s = {{2}}>
{{ h = MatMul(x, w) i = Add(h, b) j = Add(i, c) y = Mul(j, s) }}"""


def _listed(*names, graph=LINEAR):
    model = _model(graph)
    model.graph.inputs.extend(model.graph.initializers[name] for name in names)
    return model


def test_weights_that_are_listed_as_inputs_are_constants():
    captured = _capture(_listed("w"), examples={"x": np.ones((4, 3), np.float32)})
    assert [value.name for value in captured.model.graph.inputs] == ["x"]
    (notice,) = captured.record.notices
    assert notice.startswith("1 of 1 weights were listed as inputs")


def test_a_default_that_may_be_given_stays_an_input():
    samples = {"x": np.ones((4, 3), np.float32)}
    captured = _capture(_listed("w", "s", graph=SCALED), examples=samples)
    assert [value.name for value in captured.model.graph.inputs] == ["x", "s"]
    assert captured.record.notices[0].startswith("1 of 4 weights were listed as inputs")
    assert captured.record.notices[1].startswith("1 of 4 constants are inputs with a default")


def test_weights_that_are_not_finite_are_a_notice():
    model = _model()
    weight = np.ones((3, 2), np.float32)
    weight[1, 1] = np.nan
    model.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    notices = _capture(model, examples={"x": np.ones((4, 3), np.float32)}).record.notices
    assert notices[-1].startswith("weights are not finite: 'w' holds 1 NaN")


def test_a_mask_of_infinities_is_none():
    model = _model(MASKED)
    notices = _capture(model, examples={"x": np.ones((4, 3), np.float32)}).record.notices
    assert not any("not finite" in notice for notice in notices)


MASKED = """agraph (float[{batch}, 3] x) => (float[{batch}, 3] y)
<float[3] m = {{0, 0, -inf}}> {{ h = Add(x, m) y = Softmax(h) }}"""

QUANTIZED = """agraph (float[{batch}, 3] x) => (float[{batch}, 3] y) <float s = {{0.1}}>
{{ q = QuantizeLinear(x, s) d = DequantizeLinear(q, s) y = Neg(d) }}"""


def test_a_quantized_model_is_said_to_be_one():
    notices = _capture(
        _model(QUANTIZED), examples={"x": np.ones((4, 3), np.float32)}
    ).record.notices
    assert "quantized already (1 QuantizeLinear, 1 DequantizeLinear)" in notices[-1]


RESHAPED = """agraph (float[{batch}, 4] x) => (float[{batch}, 4] y)
<int64[2] shape = {{1, 4}}> {{ y = Reshape(x, shape) }}"""


def test_a_batch_that_is_only_declared_dynamic_is_baked_in():
    captured = _capture(_model(RESHAPED))
    assert input_specs(captured.model)[0].shape == (1, 4)
    assert "declares a dynamic batch, and runs only at 1" in captured.record.notices[0]


DROPOUT = """agraph (float[{batch}, 3] x) => (float[{batch}, 3] y)
{{ h = Dropout <ratio = 0.5> (x)  y = Softmax <axis = 1> (h) }}"""


def test_old_opsets_are_raised_and_compared():
    captured = _capture(_model(DROPOUT, opset=11))
    assert captured.model.opset_imports[""] >= 13
    assert [(p.output, p.batch) for p in captured.parity] == [("y", 2), ("y", 1)]
    (raised,) = [notice for notice in captured.record.notices if "opset raised" in notice]
    assert raised.startswith("opset raised from 11 to ")
    assert raised.endswith(f"what is asked for needs {OLDEST_OPSET} or later")


def test_sizes_may_be_declared_where_the_model_does_not_say():
    pooled = """agraph (float[{batch}, 1, h, w] x) => (float[{batch}, 1, a, b] y)
    {{ y = AveragePool <kernel_shape = [30, 30]> (x) }}"""
    captured = _capture(_model(pooled), declared=["x:float32[N,1,40,50]"])
    assert "x:float32[2,1,40,50]" in captured.record.decisions[0].reason
    # Without, larger sizes are tried.
    assert "x:float32[2,1,64,64]" in _capture(_model(pooled)).record.decisions[0].reason


def test_data_that_does_not_fit_is_refused():
    with pytest.raises(CaptureError, match=r"takes x:float32\[N,3\].*data has x:float32\[4,2\]"):
        _capture(_model(), examples={"x": np.ones((4, 2), np.float32)})
    with pytest.raises(CaptureError, match="--input declares z:"):
        _capture(_model(), declared=["x:float32[N,3]", "z:float32[1]"])


@pytest.mark.parametrize("examples", [None, {"x": np.ones((4, 3), np.float32)}])
def test_a_declared_input_that_the_model_has_not_is_refused(examples):
    with pytest.raises(CaptureError, match=r"--input declares picture:.* takes x:") as info:
        _capture(_model(), declared=["picture:float32[N,3]"], examples=examples)
    assert info.value.hint.startswith("Did you mean x? It has no input 'picture'")


def test_samples_that_come_several_a_row_are_declared_where_the_model_has_no_names():
    several = """agraph (float[{batch}, 4] x, float[{batch}, 4] boxes) => (float[{batch}, 4] y)
    <int64[3] s = {{-1, 3, 4}}> {{ b = Reshape(boxes, s)
      m = ReduceMean <axes = [1], keepdims = 0> (b)  y = Add(x, m) }}"""
    model = _model(several, opset=17)
    for value in model.graph.inputs:
        value.shape = ir.Shape([None, 4])
    rows = {"x": np.ones((8, 4), np.float32), "boxes": np.ones((24, 4), np.float32)}
    declared = ["x:float32[n,4]", "boxes:float32[3*n,4]"]
    captured = _capture(model, declared=declared, examples=rows)
    assert [str(s) for s in input_specs(captured.model)] == declared


def test_a_model_that_does_not_run_is_refused():
    broken = """agraph (float[{batch}, 3] x) => (float[{batch}, 2] y)
    <float[5, 2] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 0}}> {{ y = MatMul(x, w) }}"""
    with pytest.raises((CaptureError, GraphError), match=r"MatMul|'w'"):
        _capture(_model(broken))
    gather = """agraph (int64[{batch}] i) => (float[{batch}] y)
    <float[1] w = {{1}}> {{ y = Gather(w, i) }}"""
    with pytest.raises(CaptureError, match=r"fails in ONNX Runtime on the inputs i:int64\[2\]"):
        _capture(_model(gather), examples={"i": np.full(4, 9)})


def test_outputs_that_are_no_tensors_are_refused_with_what_to_export():
    model = _model("agraph (float[{batch}, 3] x) => (float[{batch}, 3] y) {{ y = Relu(x) }}")
    (y,) = model.graph.outputs
    parts = ir.node("SequenceConstruct", [y])
    model.graph.append(parts)
    parts.outputs[0].name, parts.outputs[0].type = "parts", ir.SequenceType(y.type)
    model.graph.outputs[0] = parts.outputs[0]
    with pytest.raises(CaptureError, match="output 'parts' is no tensor but Sequence") as error:
        _capture(model)
    assert "ConcatFromSequence" in str(error.value)


def test_a_model_of_text_or_without_inputs_is_refused():
    text = "agraph (string[{batch}] x) => (string[{batch}] y) {{ y = Identity(x) }}"
    with pytest.raises(CaptureError, match="takes text"):
        _capture(_model(text))
    constant = "agraph () => (float[1] y) <float[1] w = {{1}}> {{ y = Identity(w) }}"
    with pytest.raises(CaptureError, match="has no inputs"):
        _capture(_model(constant))


def test_torch_is_never_imported(tiny_model):
    script = f"""
import sys
from pathlib import Path
from compressor.capture import capture
from compressor.checkpoint import load_checkpoint
from compressor.recipe.loading import ModelOptions
source = load_checkpoint(Path({str(tiny_model)!r}), ModelOptions())
captured = capture(source, inputs=None, examples=None, opset=21)
assert source.kind == "onnx" and captured.record.parameters["batch"] == "dynamic"
assert not [name for name in sys.modules if name.partition(".")[0] == "torch"]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("examples", [None, {"x": np.ones((4, 3), np.float32)}])
@pytest.mark.parametrize("declared", ["x:float32[N,4]", "x:int64[N,3]", "x:float32[N,3,1]"])
def test_declared_inputs_must_agree_with_the_model(declared, examples):
    with pytest.raises(CaptureError, match=r"--input declares x:.* takes x:float32\[N,3\]"):
        _capture(_model(), declared=[declared], examples=examples)


def test_a_broken_model_is_bad_input_and_said_in_one_line():
    unknown = "agraph (float[{batch}, 3] x) => (float[{batch}, 3] y) {{ y = Nonesuch(x) }}"
    with pytest.raises(CaptureError, match=r"onnx_ir\.Model agraph: .*Nonesuch") as info:
        _capture(_model(unknown))
    assert "\n" not in info.value.message


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (np.zeros((4, 8, 8, 3), np.uint8), ["--scale 1/255", "--layout nhwc-to-nchw"]),
        (np.zeros((4, 8, 8, 3), np.float32), ["--layout nhwc-to-nchw"]),
        (np.zeros((4, 3, 8, 8), np.uint8), ["--scale 1/255"]),
        (np.zeros((4, 3, 4, 4), np.float32), ["--image-size"]),
    ],
)
def test_data_that_does_not_fit_names_the_flag_that_helps(stored, said):
    graph = "net (float[{batch},3,8,8] x) => (float[{batch},3,8,8] y) {{ y = Relu(x) }}"
    with pytest.raises(CaptureError) as info:
        _capture(_model(graph), examples={"x": stored})
    assert all(flag in info.value.hint for flag in said)


def test_noise_is_named_and_not_taken_for_a_fixed_batch_or_a_changed_opset():
    text = """<ir_version: 8, opset_import: ["": 11]>
        g (float[n,4] x) => (float[n,4] y) { z = RandomNormalLike(x) y = Add(x, z) }"""
    captured = capture(
        source_of(ir.from_onnx_text(text)), inputs=None, examples=None, opset=21, least_opset=19
    )
    assert input_specs(captured.model)[0].shape == ("n", 4)
    assert captured.model.opset_imports[""] >= 19
    assert [noise.operator for noise in captured.noises] == ["RandomNormalLike"]
    assert "runs only at" not in " ".join(captured.record.notices)


def test_a_graph_that_brings_the_runtime_down_is_an_error_that_names_it(monkeypatch):
    def crashes(*work):
        return "crashes (SIGFPE)"

    monkeypatch.setattr("compressor.capture.onnx_source.why_not_survived", crashes)
    with pytest.raises(CaptureError, match=r"ONNX Runtime crashes \(SIGFPE\) on this graph"):
        _capture(_model())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ZeroDivisionError("by zero"), "can be read and run: ZeroDivisionError: by zero"),
        (MemoryError(), "more memory than there is"),
        (RecursionError(), "nested too deep"),
    ],
)
def test_whatever_a_graph_does_to_what_reads_it_is_said_of_the_graph(monkeypatch, error, words):
    def fails(model):
        raise error

    monkeypatch.setattr("compressor.capture.onnx_source.make_unique", fails)
    with pytest.raises(CaptureError, match=words):
        _capture(_model())


def test_an_input_of_no_type_is_refused():
    model = _model()
    model.graph.inputs[0].dtype = ir.DataType.UNDEFINED
    with pytest.raises(CaptureError, match="'x'"):
        _capture(model)


def test_a_file_that_the_runtime_reads_otherwise_is_refused(tmp_path):
    ir.save(_model(), tmp_path / "m.onnx")
    source = load_checkpoint(tmp_path / "m.onnx", ModelOptions())
    assert capture(source, inputs=None, examples=None, opset=21) is not None
    weight = source.model.graph.initializers["w"]
    weight.const_value = ir.tensor(np.zeros((3, 2), np.float32), name="w")
    with pytest.raises(CaptureError, match="computes something else from the file"):
        capture(source, inputs=None, examples=None, opset=21)
