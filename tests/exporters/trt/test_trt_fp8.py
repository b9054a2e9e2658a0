"""8-bit floats for TensorRT: where they stand, what they compute, and the folder that ships."""

import json
from collections.abc import Callable
from importlib import util
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result
from graphs import model, residual
from trt_graphs import attention, feeds_for, quantized, unet

from compressor.cli.main import cli
from compressor.graph.files import save_model
from compressor.graph.session import open_session
from compressor.quantization.placement import place
from compressor.quantization.remainder import halved
from compressor.system.output_folder import sha256
from exporters.lint.trt.rules import RULES
from exporters.trt.graph import is_fp8, is_integer, layers, prepared
from exporters.trt.policy import fp8_policy
from exporters.trt.target import TARGET as TRT

POLICY = fp8_policy()
FLOAT8 = onnx.TensorProto.FLOAT8E4M3FN

needs_rtx = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def outputs(graph: ir.Model, feeds: dict[str, np.ndarray]) -> np.ndarray:
    with TRT.open(graph) as runner:
        return runner.run(feeds)["y"]


@pytest.mark.parametrize("build", [residual, attention])
@pytest.mark.parametrize("half", [False, True])
def test_the_outputs_stay_near(build: Callable[[], ir.Model], half: bool):
    graph = build()
    result = quantized(graph, POLICY)
    assert any(is_fp8(node) for node in layers(prepared(result)))
    result = halved(result, ()) if half else result
    found, expected = outputs(result, feeds_for(graph)), outputs(graph, feeds_for(graph))
    assert not np.array_equal(found, expected)
    assert cosine(found, expected) > 0.999


@pytest.mark.parametrize("build", [residual, unet, attention])
def test_the_linter_has_nothing_against_it(build: Callable[[], ir.Model]):
    ready = prepared(halved(quantized(build(), POLICY), ()))
    assert [f for rule in RULES for f in rule(ready) if f.severity != "note"] == []


@pytest.mark.parametrize("half", [False, True])
def test_what_lies_beyond_the_range_saturates(half: bool):
    graph = residual()
    result = quantized(graph, POLICY)
    result = halved(result, ()) if half else result
    feeds = {"x": 1e3 * feeds_for(graph)["x"]}
    found = outputs(result, feeds)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 0.1 * np.abs(outputs(graph, feeds)).max()


@pytest.mark.parametrize("by_path", [False, True])
def test_onnx_runtime_keeps_the_relu_in_front_of_them(tmp_path: Path, by_path: bool):
    """Its optimizer drops it, as if zero were the least code."""
    graph = model(
        """g (float[n,32] x, float[32,32] w) => (float[n,32] y)
        { r = Relu(x)
          y = MatMul(r, w) }""",
        w=[32, 32],
    )  # fmt: skip
    result = quantized(graph, POLICY)
    x = feeds_for(graph)
    expected = np.asarray(open_session(result, optimize=False).run(None, x)[0])
    if by_path:
        save_model(result, tmp_path / "model.onnx")
        with TRT.open(tmp_path / "model.onnx") as runner:
            found = runner.run(x)["y"]
    else:
        found = np.asarray(open_session(result).run(None, x)[0])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("text", "shapes", "why"),
    [
        ("Conv<group=2, pads=[1,1,1,1]>(x, w)", [64, 32, 3, 3], "grouped"),
        ("Conv<pads=[3,3,3,3]>(x, w)", [64, 64, 7, 7], "this has 49"),
        ("ConvTranspose(x, w)", [64, 64, 1, 1], "transposed"),
        ("Conv(x, w)", [8, 64, 1, 1], "TensorRT's FP8 mostly loses"),
        ("GlobalAveragePool(x)", [1, 1, 1, 1], None),
    ],
)
def test_what_has_no_fp8_kernel_stays_half(text: str, shapes: list[int], why: str | None):
    declared = ",".join(map(str, shapes))
    graph = model(
        f"g (float[n,64,8,8] x, float[{declared}] w) => (float[n,m,k,l] y) {{ y = {text} }}",
        w=shapes,
    )
    placement = place(graph, POLICY)
    assert placement.integer == ()
    assert why is None or why in next(iter(placement.float_reasons.values()))


def test_every_scale_covers_what_was_seen_and_no_more():
    result = quantized(residual(), POLICY)
    checked = 0
    for node in layers(prepared(result)):
        dequantizer = node.inputs[1].producer() if node.inputs[1] else None
        assert is_integer(node)
        assert dequantizer is not None
        codes, scale, zero = (v.const_value.numpy() for v in dequantizer.inputs if v)
        axis = dequantizer.attributes.get_int("axis", 1)
        others = tuple(a for a in range(codes.ndim) if a != axis)
        assert (np.abs(codes.astype(np.float32)).max(axis=others) == 448).all()
        assert scale.shape == zero.shape == (codes.shape[axis],)
        assert zero.dtype == codes.dtype
        checked += 1
    assert checked == 3


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    save_model(residual(), folder / "net.onnx")
    x = np.random.default_rng(3).standard_normal((40, 32, 8, 8)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    return folder


def run(source: Path, out: Path, *more: str, precision: str = "fp8") -> Result:
    arguments = [str(source / "net.onnx"), "--target", "trt", "--precision", precision]
    arguments += ["--calib", str(source / "data.npz"), "--calib-batch", "4", "-o", str(out)]
    return CliRunner().invoke(cli, [*arguments, "--measure-seconds", "0.1", "--quiet", *more])


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = run(source, out, "--trt-backend", "script")
    assert result.exit_code == 0, result.output
    return out


def test_the_report_says_fp8(done: Path):
    graph = json.loads((done / "report.json").read_text())["graphs"]["model"]
    assert graph["shipped"] == "fp8"
    assert graph["shipped_reason"].startswith("FP8 as asked for, speed unproven")
    assert graph["candidates"][0]["name"] == "FP8"
    assert graph["engine"]["precision"] == "fp8"
    assert graph["quality"][0]["metric"] == "r2"
    assert graph["quality"][0]["result"] > 0.9
    assert graph["layers"]
    text = (done / "report.md").read_text() + (done / "report.html").read_text()
    assert "FP8 ships, speed unproven" in text
    assert "INT8" not in text
    stored = onnx.load(done / "model.onnx").graph.initializer
    kinds = {tensor.data_type for tensor in stored if tensor.dims}
    assert kinds == {FLOAT8, onnx.TensorProto.FLOAT16}


def test_compress_lint_has_no_objection(done: Path):
    arguments = ["lint", str(done / "model.onnx"), "--target", "trt", "--strict"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output


def test_a_replayed_plan_gives_the_same_model(source: Path, done: Path, tmp_path: Path):
    plan = ("--plan", str(done / "plan.json"), "--trt-backend", "script")
    result = run(source, tmp_path / "out", *plan)
    assert result.exit_code == 0, result.output
    assert sha256(tmp_path / "out" / "model.onnx") == sha256(done / "model.onnx")
    refused = run(source, tmp_path / "other", *plan, precision="int8")
    assert refused.exit_code == 2
    assert "the plan is of FP8, and INT8 is asked for" in refused.output


def test_a_budget_is_searched_in_fp8(source: Path, tmp_path: Path):
    more = ("--max-drop", "60%", "--budget", "point", "--metric", "cosine", "--prune", "none")
    result = run(source, tmp_path / "out", *more, "--trt-backend", "script")
    assert result.exit_code == 0, result.output
    graph = json.loads((tmp_path / "out" / "report.json").read_text())["graphs"]["model"]
    assert graph["shipped"] == "fp8"
    assert all(one["name"].startswith("FP8") for one in graph["candidates"])


@pytest.mark.parametrize(
    "more", [("--activation", "int8"), ("--symmetric", "false"), ("--weight-bits", "7")]
)
def test_schemes_of_integers_are_refused(source: Path, tmp_path: Path, more: tuple[str, ...]):
    result = run(source, tmp_path / "out", *more)
    assert result.exit_code == 2, result.output
    assert not (tmp_path / "out").exists()


@needs_rtx
def test_an_engine_is_built(source: Path, tmp_path: Path):
    result = run(source, tmp_path / "out", "--trt-backend", "tensorrt-rtx")
    assert result.exit_code == 0, result.output
    graph = json.loads((tmp_path / "out" / "report.json").read_text())["graphs"]["model"]
    assert graph["engine"]["file"] == "model.rtx.engine", graph["engine"]["reason"]
    assert graph["engine"]["integer"] == {"Conv": 2, "MatMul": 1}
