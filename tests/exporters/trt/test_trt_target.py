"""`compress --target trt` from end to end, on a machine without a GPU."""

import json
import os
import subprocess
import sys
import time
from importlib import util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from graphs import model, residual

from compressor.cli.main import cli
from compressor.errors import LintError, RecipeError, TargetError
from compressor.graph.files import save_model
from compressor.system.output_folder import sha256
from compressor.system.processes import run_python
from compressor.system.progress import Silent
from exporters.base import Samples, find_target
from exporters.trt import backends, building
from exporters.trt.notation import asked, parse_profile
from exporters.trt.options import TrtOptions
from exporters.trt.profiles import profiles_for, require_fitting
from exporters.trt.target import TrtTarget

needs_rtx = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
without_gpu = pytest.mark.skipif(
    backends.device().name is not None, reason="tensorrt would build where there is a GPU"
)
QUICK = ("--measure-seconds", "0.1", "--calib-batch", "4", "--quiet")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    save_model(residual(), folder / "net.onnx")
    x = np.random.default_rng(3).standard_normal((40, 32, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    return folder


def run(source: Path, out: Path, *more: str, **flags: str) -> Result:
    arguments = [str(source / "net.onnx"), "--target", "trt", "-o", str(out), *QUICK, *more]
    for name, value in {"calib": str(source / "data.npz"), **flags}.items():
        arguments += [f"--{name.replace('_', '-')}", value] if value else []
    return CliRunner().invoke(cli, arguments)


def report_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())["graphs"]["model"]


def samples(batch: int = 2) -> Samples:
    x = np.random.default_rng(0).standard_normal((batch, 32, 8, 8)).astype(np.float32)
    return Samples({"x": x}, (1, batch, 8))


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = run(source, out)
    assert result.exit_code == 0, result.output
    return out


@needs_rtx
@without_gpu
def test_the_folder_holds_model_engine_script_and_reference(done: Path):
    names = {path.name for path in done.iterdir()}
    assert names == {
        "model.onnx", "model.rtx.engine", "build_engine.py", "reference.npz", "plan.json",
        "plan.safetensors", "manifest.json", "report.json", "report.html", "report.md", "USAGE.md",
    }  # fmt: skip
    manifest = json.loads((done / "manifest.json").read_text())
    for name in names - {"manifest.json"}:
        assert manifest["files"][name]["sha256"] == sha256(done / name)
    engine = manifest["engines"]["model"]
    assert engine["status"] == "built, not run"
    assert engine["backend"] == "tensorrt-rtx"
    assert engine["file_bytes"] == (done / "model.rtx.engine").stat().st_size
    assert engine["inputs"] == ["x:float[n,32,8,8]"]
    assert engine["profiles"] == [{"x": [[1, 32, 8, 8], [1, 32, 8, 8], [4, 32, 8, 8]]}]
    assert engine["integer"] == {"Conv": 2, "MatMul": 1}
    assert engine["floating"] == {}


@needs_rtx
@without_gpu
def test_what_the_compiler_fuses_is_not_said_to_lack_a_kernel(done: Path):
    reasons = {layer["operator"]: layer["reason"] for layer in report_of(done)["layers"]}
    assert reasons["Conv"] is None
    assert reasons["Relu"] == "it has no Q/DQ of its own; the runtime fuses it where it can"


@needs_rtx
@without_gpu
def test_the_report_says_what_is_not_known(done: Path):
    graph = report_of(done)
    assert graph["shipped"] == "int8"
    assert "speed unproven" in graph["shipped_reason"]
    assert graph["latency"] == []
    assert graph["latency_reason"]
    assert graph["memory_reason"]
    assert graph["quality"][0]["samples"] == 8
    assert graph["result_size"]["file_bytes"] < graph["baseline_size"]["file_bytes"] / 2
    for name in ("report.md", "report.html"):
        text = (done / name).read_text()
        assert "speed unproven" in text
        assert "built, not run" in text


@needs_rtx
def test_the_reference_is_what_onnx_runtime_computes(done: Path):
    with np.load(done / "reference.npz") as stored:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        session = onnxruntime.InferenceSession(done / "model.onnx", options)
        found = session.run(None, {"x": stored["input/x"]})[0]
        np.testing.assert_allclose(found, stored["output/y"], rtol=1e-5, atol=1e-5)


def test_the_reference_is_of_shapes_that_the_engine_takes(tmp_path: Path):
    two = ("x:4x32x8x8,6x32x8x8,8x32x8x8", "x:16x32x8x8")
    kept = {}
    for batch in (2, 5, 16, 32):
        folder = tmp_path / str(batch)
        folder.mkdir()
        target = TrtTarget(TrtOptions(backend="script", profiles=two))
        target.build(residual(), folder, samples=samples(batch))
        with np.load(folder / "reference.npz") as stored:
            kept[batch] = (len(stored["input/x"]), len(stored["output/y"]))
    assert kept == {2: (6, 6), 5: (5, 5), 16: (16, 16), 32: (6, 6)}


def test_bias_and_zero_points_are_as_tensorrt_wants_them(done: Path):
    graph = onnx.load(done / "model.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    quantizers = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert quantizers
    assert all(kinds[node.input[2]] == onnx.TensorProto.INT8 for node in quantizers)
    biases = [node.input[2] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert {kinds[name] for name in biases} == {onnx.TensorProto.FLOAT16}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


@needs_rtx
@pytest.mark.parametrize(
    ("precision", "shipped", "integers"),
    [("int8-fp32", "int8", 3), ("fp16", "fp16", 0), ("fp32", "float", 0)],
)
def test_every_precision_is_built(
    source: Path, tmp_path: Path, precision: str, shipped: str, integers: int
):
    result = run(source, tmp_path / "out", precision=precision)
    assert result.exit_code == 0, result.output
    graph = report_of(tmp_path / "out")
    assert graph["shipped"] == shipped
    assert graph["engine"]["status"] != "script only"
    assert graph["engine"]["precision"] == precision
    assert sum(graph["engine"]["integer"].values()) == integers
    assert sum(graph["engine"]["floating"].values()) == 3 - integers
    proto = onnx.load(tmp_path / "out" / "model.onnx")
    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) == (precision == "fp16")
    assert graph["quality"][0]["result"] > 0.99


@needs_rtx
def test_matrices_in_blocks_of_4_bits_are_built_from_a_model_of_an_older_opset(tmp_path: Path):
    graph = model(
        """g (float[n,8,256] x, float[256,64] w, float[64,128] v) => (float[n,8,128] y)
        { h = MatMul(x, w)
          a = Tanh(h)
          y = MatMul(a, v) }""",
        w=[256, 64], v=[64, 128],
    )  # fmt: skip
    graph.opset_imports[""] = 17
    save_model(graph, tmp_path / "net.onnx")
    x = np.random.default_rng(3).standard_normal((40, 8, 256)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    out = tmp_path / "out"
    result = run(tmp_path, out, precision="int4-weights", plan="", trt_backend="tensorrt-rtx")
    assert result.exit_code == 0, result.output
    told = report_of(out)
    assert told["shipped"] == "int4"
    assert told["engine"]["file"] == "model.rtx.engine", told["engine"]["reason"]
    assert told["engine"]["warnings"] == []
    assert told["quality"][0]["result"] > 0.98
    proto = onnx.load(out / "model.onnx")
    kinds = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert kinds["w_codes"] == onnx.TensorProto.INT4
    assert sorted(kinds.values()) == [
        onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT4,
    ], "scales in half; rows of 64 are no block of 128"  # fmt: skip
    again = run(tmp_path, tmp_path / "again", plan=str(out / "plan.json"), trt_backend="script",
                precision="int4-weights")  # fmt: skip
    assert again.exit_code == 0, again.output
    assert sha256(tmp_path / "again" / "model.onnx") == sha256(out / "model.onnx")


@needs_rtx
def test_the_script_stands_alone(done: Path, tmp_path: Path):
    for name in ("model.onnx", "build_engine.py"):
        (tmp_path / name).write_bytes((done / name).read_bytes())
    command = [sys.executable, "-P", "build_engine.py", "--output", "mine.engine"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "bytes in" in ran.stdout
    assert (tmp_path / "mine.engine").stat().st_size > 10_000


def test_the_script_tells_what_it_needs(done: Path):
    command = [sys.executable, "-S", "-P", str(done / "build_engine.py")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 4
    assert "tensorrt (10 or 11) or tensorrt_rtx has to be installed for" in ran.stderr


@needs_rtx
def test_the_script_tells_what_the_parser_refuses(done: Path, tmp_path: Path):
    (tmp_path / "build_engine.py").write_bytes((done / "build_engine.py").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no model")
    command = [sys.executable, "-P", str(tmp_path / "build_engine.py")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "the parser refuses" in ran.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build_engine.py", "model.onnx"]


def test_script_only_is_a_success_unless_an_engine_is_required(source: Path, tmp_path: Path):
    result = run(source, tmp_path / "out", trt_backend="script")
    assert result.exit_code == 0, result.output
    engine = report_of(tmp_path / "out")["engine"]
    assert engine["status"] == "script only"
    assert engine["file"] is None
    assert (tmp_path / "out" / "build_engine.py").is_file()
    refused = run(source, tmp_path / "other", "--require-engine", trt_backend="script")
    assert refused.exit_code == 4
    assert not (tmp_path / "other").exists()


def test_a_replayed_plan_gives_the_same_model(source: Path, done: Path, tmp_path: Path):
    result = run(source, tmp_path / "out", plan=str(done / "plan.json"), trt_backend="script")
    assert result.exit_code == 0, result.output
    assert sha256(tmp_path / "out" / "model.onnx") == sha256(done / "model.onnx")
    assert "rounding between nodes" in (tmp_path / "out" / "report.md").read_text()


def test_a_model_in_half_becomes_int8_and_keeps_its_interface(tmp_path: Path):
    half = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float16[n,32] x) => (float16[n,32] y) '
        "{ y = MatMul(x, w) }"
    )
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float16)
    half.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(half, tmp_path / "net.onnx")
    x = np.random.default_rng(1).standard_normal((8, 32)).astype(np.float16)
    np.savez(tmp_path / "data.npz", x=x)
    result = run(tmp_path, tmp_path / "out", trt_backend="script")
    assert result.exit_code == 0, result.output
    made = onnx.load(tmp_path / "out" / "model.onnx").graph
    kinds = {v.type.tensor_type.elem_type for v in (*made.input, *made.output)}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert "QuantizeLinear" in {node.op_type for node in made.node}
    assert "computes in float16" in (tmp_path / "out" / "report.md").read_text()


def test_where_nothing_becomes_integer_it_is_told_why(tmp_path: Path):
    computed = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[n,32] x) => (float[n,32] y) '
        "{ axes = Constant<value_ints=[0]>() b = ReduceMean<keepdims=0>(x, axes) "
        "y = Gemm(x, w, b) }"
    )
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((32, 32)).astype(np.float32)
    computed.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save(computed, tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((8, 32)).astype(np.float32))
    result = run(tmp_path, tmp_path / "out", trt_backend="script")
    assert result.exit_code == 0, result.output
    assert "1 of 1 layer: its bias is not a constant" in (tmp_path / "out/report.md").read_text()


def test_a_budget_is_kept_and_a_share_pruned(source: Path, tmp_path: Path):
    more = ("--max-drop", "60%", "--budget", "point", "--prune", "20%")
    result = run(source, tmp_path / "out", *more, trt_backend="script", metric="cosine")
    assert result.exit_code == 0, result.output
    graph = report_of(tmp_path / "out")
    assert graph["budget"]["met"]
    assert graph["goal"]["met"]
    assert graph["shipped"] == "int8"
    assert "speed unproven" in graph["shipped_reason"]


@pytest.mark.parametrize("goal", [("--speedup", "1.5x"), ("--latency", "4ms")])
def test_goals_of_speed_are_refused(source: Path, tmp_path: Path, goal: tuple[str, str]):
    result = run(source, tmp_path / "out", *goal)
    assert result.exit_code == 2
    assert goal[0] in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--activation", "uint8"), "wrong numbers"),
        (("--profile", "x:1x3"), "is no shape of the input"),
        (("--profile", "z:1x32x8x8"), "the input 'z', which the model does not have"),
        (("--profile", "x:4x32x8x8,2x32x8x8,1x32x8x8"), "MIN ≤ OPT ≤ MAX"),
        (("--profile", "x"), "expected name:MIN,OPT,MAX"),
        (("--target", "ort", "--precision", "fp32"), "not for the target 'ort'"),
        (("--precision", "fp8", "--quantize", "none"), "contradict each other"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(
    source: Path, tmp_path: Path, more: tuple[str, ...], words: str
):
    result = run(source, tmp_path / "out", *more)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert not (tmp_path / "out").exists()


def test_profile_needs_a_gpu_and_compare_says_what_it_lacks(source: Path):
    net = str(source / "net.onnx")
    refused = CliRunner().invoke(cli, ["profile", net, "--target", "trt"])
    assert refused.exit_code == 2
    arguments = ["compare", net, net, "--target", "trt", "--json", "--calib"]
    compared = CliRunner().invoke(cli, [*arguments, str(source / "data.npz")])
    assert compared.exit_code == 0, compared.output
    found = json.loads(compared.stdout)
    assert found["latency"] == []
    assert found["latency_reason"]


@without_gpu
def test_a_gpu_alone_makes_nothing_measurable(monkeypatch: pytest.MonkeyPatch):
    """Only an engine that ran does; ONNX Runtime's milliseconds must never pass for a GPU's."""
    monkeypatch.setattr(backends, "device", lambda: backends.Device("a GPU"))
    monkeypatch.setattr("exporters.trt.target.device", lambda: backends.Device("a GPU"))
    backends.why_not_run.cache_clear()
    try:
        assert TrtTarget().why_not_measurable()
    finally:
        backends.why_not_run.cache_clear()


def test_targets_tell_what_builds_here():
    rows = json.loads(CliRunner().invoke(cli, ["targets", "--json"]).stdout)
    row = next(row for row in rows if row["name"] == "trt")
    assert row["unavailable"] is None
    assert "builds engines with" in row["state"] or "script only" in row["state"]


@needs_rtx
@without_gpu
def test_a_backend_without_its_gpu_is_not_available():
    with pytest.raises(TargetError, match="--trt-backend tensorrt cannot build here"):
        TrtTarget(TrtOptions(backend="tensorrt")).why_not_available()


def test_an_unsupported_operator_ends_the_build_with_advice(tmp_path: Path):
    graph = model("g (float[n,4] x) => (float[n,4] y) { y = Bernoulli(x) }")
    with pytest.raises(LintError, match="unsupported-operator"):
        TrtTarget().build(graph, tmp_path, samples=Samples({}, (1, 1, 1)))
    assert list(tmp_path.iterdir()) == []


@needs_rtx
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "was ended by signal 11 on model.onnx"),
        ("time.sleep(60)", "took more than 1 s on model.onnx; allow it more: `time_limit`"),
        ("time.sleep(1.5)", "took more than 1 s on model.onnx; allow it more: `time_limit`"),
    ],
)
def test_a_crash_or_a_hang_keeps_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
):
    write = building.write_script

    def broken(directory: Path, settings: dict) -> Path:
        path = write(directory, settings)
        path.write_text(path.read_text().replace("    logger = _logger(trt)\n", f"    {code}\n"))
        return path

    monkeypatch.setattr("exporters.trt.target.write_script", broken)
    made = TrtTarget(TrtOptions(time_limit=1 if "sleep" in code else 60)).build(
        residual(), tmp_path, samples=samples()
    )
    assert made.engine is not None
    assert made.engine.failed
    assert words in (made.engine.reason or "")
    assert made.model.is_file()
    assert not (tmp_path / "model.rtx.engine").exists()


@needs_rtx
def test_ctrl_c_ends_the_build_and_leaves_no_engine(tmp_path: Path):
    class Impatient(Silent):
        def stage(self, name, total=None):
            from contextlib import nullcontext

            def stop(units: int) -> None:
                if units:
                    raise KeyboardInterrupt

            return nullcontext(stop)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        TrtTarget().build(residual(), tmp_path, samples=samples(), progress=Impatient())
    assert time.monotonic() - began < 30
    assert not list(tmp_path.rglob("*.engine*"))


@needs_rtx
def test_an_engine_that_is_done_when_ctrl_c_comes_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def late(arguments, *, timeout, poll):
        assert run_python(arguments, timeout=timeout, poll=poll) is None
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "run_python", late)
    with pytest.raises(KeyboardInterrupt):
        TrtTarget().build(residual(), tmp_path, samples=samples())
    assert not list(tmp_path.rglob("*.engine*"))
    assert not list(tmp_path.glob(".engine-*"))


@needs_rtx
def test_progress_goes_forward_to_the_end(tmp_path: Path):
    told: list[int] = []

    class Listening(Silent):
        def stage(self, name, total=None):
            from contextlib import nullcontext

            assert total == building.PARTS
            return nullcontext(told.append)

    TrtTarget().build(residual(), tmp_path, samples=samples(), progress=Listening())
    assert all(units >= 0 for units in told)
    assert 0.9 * building.PARTS < sum(told) <= building.PARTS


def test_profiles_come_from_the_data_or_from_the_user():
    graph = residual()
    span = profiles_for(graph, (), samples())[0]["x"]
    assert span == ((1, 32, 8, 8), (2, 32, 8, 8), (8, 32, 8, 8))
    two = ("x:1x32x8x8,2x32x8x8,4x32x8x8", "x:16x32x8x8")
    found = profiles_for(graph, two, None)
    assert [profile["x"].most[0] for profile in found] == [4, 16]
    fixed = model("g (float[1,4] x) => (float[1,4] y) { y = Relu(x) }")
    assert profiles_for(fixed, (), None) == ()


def test_a_profile_of_a_decoder_reaches_from_one_token_to_a_prompt():
    graph = model("g (float[n,length] x) => (y) { y = Relu(x) }")
    one, prompt = ({"x": np.zeros((1, length), np.float32)} for length in (1, 16))
    span = profiles_for(graph, (), Samples(one, (1, 1, 8), also=(prompt,)))[0]["x"]
    assert span == ((1, 1), (1, 1), (8, 16))


def test_open_sizes_without_data_need_a_profile():
    graph = model("g (float[n,length] x) => (y) { y = Relu(x) }")
    unreal = Samples({"x": np.zeros((1, 16), np.float32)}, (1, 1, 1), are_real=False)
    with pytest.raises(RecipeError, match="length"):
        profiles_for(graph, (), unreal)


def test_every_open_input_needs_its_shapes():
    graph = model("g (float[n,4] a, float[n,4] b) => (y) { y = Add(a, b) }")
    with pytest.raises(RecipeError, match="no shapes for the input 'b'"):
        require_fitting(graph, asked(["a:1x4"]))


@pytest.mark.parametrize("text", ["x:", "x:1x", ":1x2", "x:1x2,1x3", "x:1x2,1,1x2"])
def test_a_profile_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match=r"expected|differ"):
        parse_profile(text)


def test_the_target_is_found_by_name():
    assert find_target("trt").title == "TensorRT"
