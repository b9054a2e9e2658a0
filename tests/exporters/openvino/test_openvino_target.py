"""The target held against the runtime itself."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.errors import DataError, GraphError, TargetError
from compressor.evaluation.profile import profile_model
from compressor.evaluation.turns import own_kernel_seconds
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.results.measurements import Ceilings
from exporters.base import Samples, find_target, target_of
from exporters.base.execution import Execution, executed
from exporters.base.reference import read_reference
from exporters.openvino.options import OpenVinoOptions

pytest.importorskip("openvino", reason="the extra openvino is not installed")

TARGET = find_target("openvino")


def feeds(samples: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.standard_normal((samples, 32, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def integers() -> ir.Model:
    graph, policy = residual(), TARGET.policy("vnni")
    data = open_dataset(feeds(16))
    choice = calibrate(graph, data, policy, CalibrationOptions())
    return quantize_static(graph, choice.integer, choice.ranges, policy, weight_bits=8)


def test_it_computes_what_onnx_runtime_does(tmp_path: Path):
    graph = residual()
    with find_target("ort").open(graph) as reference, TARGET.open(graph) as runner:
        assert [spec.name for spec in runner.inputs] == ["x"]
        assert [(spec.name, spec.dtype, spec.shape) for spec in runner.outputs] == [
            ("y", np.float32, (None, 10))
        ]
        for samples in (3, 1):
            np.testing.assert_allclose(
                runner.run(feeds(samples))["y"], reference.run(feeds(samples))["y"], atol=1e-4
            )


def test_the_artifact_is_an_ir_of_whole_floats_beside_portable_onnx(tmp_path: Path):
    artifact = TARGET.build(residual(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.xml", "model.bin", "model.onnx"}
    assert [path.name for path in artifact.files] == ["model.xml", "model.bin"]
    assert artifact.file_bytes == sum(path.stat().st_size for path in artifact.files)
    assert artifact.roles["onnx"].name == "model.onnx"
    assert target_of(artifact.model) is TARGET
    assert target_of(artifact.roles["onnx"]) is None
    with TARGET.open(residual()) as memory, TARGET.open(artifact.model) as disk:
        np.testing.assert_array_equal(memory.run(feeds())["y"], disk.run(feeds())["y"])
        call = disk.bind({**feeds(), "label": np.zeros(3)})
        call()
        call()


def test_every_layer_is_an_integer_one(integers: ir.Model):
    found, floating = TARGET.integer_nodes(integers)
    assert found["Convolution"] == 2
    assert found["FullyConnected"] == 1
    assert not {"Convolution", "FullyConnected"} & set(floating)
    none, floats = TARGET.integer_nodes(residual())
    assert none == {}
    assert floats["Convolution"] == 2


def test_integers_are_near_the_float_graph(integers: ir.Model):
    with TARGET.open(integers) as result, TARGET.open(residual()) as original:
        one, other = result.run(feeds())["y"], original.run(feeds())["y"]
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999


def test_the_note_is_in_the_ir_and_decides_how_it_is_compiled(tmp_path: Path):
    noted = executed(residual(), floats="bf16", rounds=True)
    artifact = TARGET.build(noted, tmp_path)
    told = TARGET.loading(artifact.model, 2)
    assert '"INFERENCE_PRECISION_HINT": "bf16"' in told
    assert '"DYNAMIC_QUANTIZATION_GROUP_SIZE": 32' in told
    assert '"INFERENCE_NUM_THREADS": 2' in told
    assert 'compile_model("model.xml"' in told


def test_float_work_is_float32_unless_the_note_says_otherwise():
    with TARGET.open(residual()) as plain, TARGET.open(executed(residual(), floats="f32")) as f32:
        np.testing.assert_array_equal(plain.run(feeds())["y"], f32.run(feeds())["y"])


def test_another_arithmetic_is_tried_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    from exporters.openvino import runtime

    monkeypatch.setattr(runtime, "capabilities", lambda: frozenset({"BF16", "INT8"}))
    asked = TARGET.configured(OpenVinoOptions(precision="bf16"))
    assert asked.arithmetics == ("bf16",)
    assert asked.why_no_arithmetic is None
    assert "AVX512-BF16" in asked.arithmetic_words("bf16")
    monkeypatch.setattr(runtime, "capabilities", lambda: frozenset({"INT8"}))
    assert asked.arithmetics == ()
    assert "does not compute in bfloat16" in (asked.why_no_arithmetic or "")
    monkeypatch.setattr(runtime, "own_hint", lambda: "f32")
    own = TARGET.configured(OpenVinoOptions(precision="auto"))
    assert own.arithmetics == ()
    assert "float32" in (own.why_no_arithmetic or "")
    monkeypatch.setattr(runtime, "own_hint", lambda: "bf16")
    assert own.arithmetics == ("bf16",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("g (float[4,4] x) => (float y) { y = Det(x) }", "it has no operator Det"),
        (
            "g (float[1,1,1,1,1,8,8] x, float[1,1,1,1,1,3,3] w) => (y) { y = Conv(x, w) }",
            "Expected a 3D, 4D or 5D tensor",
        ),
    ],
    ids=["operator", "rank"],
)
def test_what_it_refuses_is_told_before_anything_runs(text: str, told: str):
    graph = model(text)
    with pytest.raises(TargetError, match="OpenVINO refuses the model") as error:
        TARGET.require_buildable(graph)
    assert told in error.value.message
    assert error.value.exit_code == 4
    assert "another target" in (error.value.hint or "")
    with pytest.raises(GraphError, match="OpenVINO refuses the model"):
        TARGET.open(graph)


def test_feeds_that_do_not_fit_are_named():
    with TARGET.open(residual()) as runner, pytest.raises(DataError, match=r"x\[2, 3, 8, 8\]"):
        runner.run({"x": np.zeros((2, 3, 8, 8), np.float32)})


def test_inputs_that_are_outputs_and_scalars_keep_their_names():
    graph = model(
        """g (float[n] x, float s, int64[2] i) => (float[n] y, float[n] z, int64[2] j)
        { y = Mul(x, s)  z = Identity(x)  j = Identity(i) }"""
    )
    given = {"x": np.ones(3, np.float32), "s": np.float32(2), "i": np.arange(2)}
    with TARGET.open(graph) as runner:
        found = runner.run(given)
    np.testing.assert_array_equal(found["y"], [2, 2, 2])
    np.testing.assert_array_equal(found["z"], [1, 1, 1])
    np.testing.assert_array_equal(found["j"], [0, 1])


@pytest.mark.parametrize("bits", [4, 8])
def test_stored_weights_are_constants_of_few_bits(bits: int, tmp_path: Path):
    graph = model(
        "g (float[n,64] x, float[64,128] w) => (float[n,128] y) { y = MatMul(x, w) }",
        w=[64, 128],
    )
    graph.opset_imports[""] = 21
    plan = stored_plan(graph, bits)
    made = realize(graph, plan, TARGET)
    assert Execution.of(made).rounds
    assert {node.domain for node in made.graph} == {""}
    artifact = TARGET.build(made, tmp_path)
    weights = artifact.model.with_suffix(".bin").stat().st_size
    assert weights < 1.3 * (64 * 128 * bits / 8 + 64 * 128 / 32 * 4)
    x = {"x": np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)}
    with TARGET.open(made) as result, TARGET.open(graph) as original:
        one, other = result.run(x)["y"], original.run(x)["y"]
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > (0.99 if bits == 4 else 0.999)
    counted = TARGET.integer_nodes(made)
    assert counted[0].get("FullyConnected") == 1, "products round what they read"
    exact = plan.model_copy(update={"stored": plan.stored.model_copy(update={"accuracy_level": 1})})
    assert TARGET.integer_nodes(realize(graph, exact, TARGET))[1].get("FullyConnected") == 1


def stored_plan(graph: ir.Model, bits: int) -> GraphPlan:
    from compressor.plan.storage import StoragePlan, StoredMatrix, arrays_of
    from compressor.quantization import weight_only

    how = weight_only.StoringOptions(bits=bits, block=32, symmetric=True, standard=True)
    chosen = weight_only.choose(graph, None, how)
    stored = StoragePlan(
        matrices={name: StoredMatrix.of(form) for name, form in chosen.forms.items()},
        accuracy_level=4,
        nodes=chosen.nodes,
        arrays=arrays_of(chosen.packed),
    )
    ship = "int4" if bits == 4 else "int8-weights"
    return GraphPlan(graph="", baseline="captured", ship=ship, stored=stored)


def test_its_profiler_tells_whose_work_a_kernel_does(integers: ir.Model):
    graph = residual()
    found = own_kernel_seconds(TARGET, [graph, integers], graph, feeds(), threads=1, seconds=0.01)
    assert found is not None
    for one in found:
        assert {"Conv_0", "Conv_2", "Gemm_7"} <= set(one)
        assert all(seconds >= 0 for seconds in one.values())
    assert own_kernel_seconds(
        find_target("ort"), [graph], graph, feeds(), threads=1, seconds=0.01
    ) is None  # fmt: skip


def test_a_build_stores_what_it_answers(tmp_path: Path):
    artifact = TARGET.build(residual(), tmp_path, samples=Samples(feeds(2), (1, 2, 2)))
    inputs, outputs = read_reference(artifact.roles["reference"])
    np.testing.assert_array_equal(inputs["x"], feeds(2)["x"])
    with TARGET.open(artifact.model) as runner:
        np.testing.assert_allclose(runner.run(inputs)["y"], outputs["y"], rtol=1e-5)


def test_an_ir_is_the_same_bytes_however_many_were_made(tmp_path: Path, integers: ir.Model):
    made = []
    for name in "ab":
        (tmp_path / name).mkdir()
        artifact = TARGET.build(integers, tmp_path / name)
        made.append([path.read_bytes() for path in (*artifact.files, artifact.roles["onnx"])])
    assert made[0] == made[1]
    with TARGET.open(integers) as memory, TARGET.open(artifact.model) as disk:
        np.testing.assert_array_equal(memory.run(feeds())["y"], disk.run(feeds())["y"])


def test_a_profile_is_of_the_layers_that_it_executes():
    found = profile_model(
        residual(), feeds(), target="openvino", seconds=0.01, memory=False,
        ceilings=measure_ceilings_of_nothing(),
    )  # fmt: skip
    assert {"Convolution", "FullyConnected"} <= {node.operator for node in found.nodes}
    assert sum(node.share for node in found.nodes) == pytest.approx(1)


def measure_ceilings_of_nothing() -> Ceilings:
    one = dict.fromkeys(Ceilings.model_fields, 1.0)
    return Ceilings.model_validate(one | {"threads": 1, "cache_bytes": 1})
