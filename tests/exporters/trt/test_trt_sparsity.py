"""`compress --target trt --sparsity 2:4` from end to end, on a machine without a GPU."""

import json
from importlib import util
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from graphs import model, residual
from onnx import numpy_helper

from compressor.cli.main import cli
from compressor.graph.files import save_model
from compressor.plan.plan import Plan
from exporters.base import find_target
from exporters.trt.building import settings
from exporters.trt.facts import sparse_layers
from exporters.trt.options import SPARSE, TrtOptions

needs_rtx = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
QUICK = ("--measure-seconds", "0.1", "--calib-batch", "4", "--quiet", "--prune", "none")
FLAG = ("--sparsity", "2:4")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    save_model(residual(), folder / "net.onnx")
    mixed = np.random.default_rng(4).standard_normal((32, 32)) / 6
    x = np.random.default_rng(3).standard_normal((64, 8, 8, 32)) @ mixed
    np.savez(folder / "data.npz", x=x.transpose(0, 3, 1, 2).astype(np.float32))
    return folder


def run(source: Path, out: Path, *more: str, target: str = "trt", calib: bool = True) -> Result:
    arguments = [str(source / "net.onnx"), "--target", target, "-o", str(out), *QUICK, *more]
    if calib:
        arguments += ["--calib", str(source / "data.npz")]
    return CliRunner().invoke(cli, arguments)


def graph_of(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())["graphs"]["model"]


def stage_of(out: Path) -> dict:
    stages = json.loads((out / "report.json").read_text())["stages"]
    return next(stage for stage in stages if stage["name"] == "2:4 sparsity")


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    result = run(source, out, *FLAG)
    assert result.exit_code == 0, result.output
    return out


def is_sparse(array: np.ndarray) -> bool:
    quads = np.moveaxis(array, 1, -1).reshape(-1, 4)
    return bool((np.count_nonzero(quads, axis=1) <= 2).all())


def test_integers_of_eligible_layers_keep_the_pattern(done: Path):
    assert Plan.load(done / "plan.json").graphs["model"].rounded, "weights were rounded together"
    arrays = [numpy_helper.to_array(t) for t in onnx.load(done / "model.onnx").graph.initializer]
    weights = {array.shape: array for array in arrays if array.ndim > 1}
    convolutions = [array for array in arrays if array.shape == (32, 32, 3, 3)]
    assert [array.dtype for array in convolutions] == [np.int8, np.int8]
    assert all(is_sparse(array) for array in convolutions)
    assert not is_sparse(weights[10, 32])


def test_the_report_tells_what_is_eligible_and_what_it_cost(done: Path):
    stage = stage_of(done)
    assert stage["changed"] == {"2:4 sparse layers": 2}
    told = [(one["subject"], one["verdict"]) for one in stage["decisions"]]
    assert told[0] == ("2:4 sparse", "kept in 2 layers")
    assert "2 of 3 layers are eligible" in stage["decisions"][0]["reason"]
    assert [subject for subject, verdict in told if verdict == "2:4 sparse"] == ["Conv_0", "Conv_2"]
    assert ("Gemm_7", "not eligible") in told
    assert graph_of(done)["engine"]["sparse"] == 2
    assert "2 layers with 2:4 sparse weights" in (done / "report.md").read_text()


@needs_rtx
def test_the_engine_is_built_with_sparse_kernels_allowed(done: Path):
    assert graph_of(done)["engine"]["file"] == "model.rtx.engine"
    assert f"'{SPARSE}'" in (done / "build_engine.py").read_text()


def test_only_sparse_weights_set_the_flag():
    assert sparse_layers(residual()) == 0
    for sparse, flags in ((0, []), (2, [SPARSE])):
        assert settings(TrtOptions(), (), sparse=sparse)["flags"] == flags


@pytest.mark.parametrize("pruned", [False, True])
def test_the_plan_replays_byte_for_byte(source: Path, done: Path, tmp_path: Path, pruned: bool):
    script = ("--trt-backend", "script")
    if pruned:
        done = tmp_path / "pruned"
        assert run(source, done, *FLAG, *script, "--prune", "25%").exit_code == 0
        assert stage_of(done)["changed"] == {"2:4 sparse layers": 2}
    out = tmp_path / "out"
    result = run(source, out, "--plan", str(done / "plan.json"), *script, calib=False)
    assert result.exit_code == 0, result.output
    for name in ("model.onnx", "plan.safetensors", "plan.json"):
        assert (out / name).read_bytes() == (done / name).read_bytes()


@pytest.mark.parametrize(("drop", "sparse"), [("90%", 2), ("0.052%", 1), ("0.0001%", 0)])
def test_the_budget_decides_how_many_layers(source: Path, tmp_path: Path, drop: str, sparse: int):
    script = ("--trt-backend", "script", "--precision", "fp32")
    budget = ("--max-drop", drop, "--budget", "point", "--metric", "cosine")
    result = run(source, tmp_path / "out", *FLAG, *script, *budget)
    assert result.exit_code == 0, result.output
    graph = graph_of(tmp_path / "out")
    names = ["2 layers 2:4 sparse, float", "1 layer 2:4 sparse, float"]
    accepted = [True] if sparse == 2 else [False, sparse == 1]
    tried = graph["candidates"]
    assert [one["name"] for one in tried] == names[: len(accepted)]
    assert [one["accepted"] for one in tried] == [one["shipped"] for one in tried] == accepted
    assert graph["engine"]["sparse"] == sparse
    verdict = stage_of(tmp_path / "out")["decisions"][0]["verdict"]
    assert verdict == ["dense", "kept in 1 layer", "kept in 2 layers"][sparse]
    assert ("refused 2:4" in graph["shipped_reason"]) == (sparse == 0)
    # Sparse weights do not compute what the original does: nobody takes them on trust.
    assert ("computes what the original does" in graph["budget"]["reason"]) == (sparse == 0)
    if sparse:
        assert graph["quality"][0]["result"] < graph["quality"][0]["baseline"]


REFUSED = [
    ((), "ort", True, "is not for the target 'ort'"),
    ((), "trt", False, "needs calibration data"),
    (("--precision", "int4-weights"), "trt", True, "skip no zeros"),
]


@pytest.mark.parametrize(("more", "target", "calib", "words"), REFUSED)
def test_what_cannot_be_is_refused_at_once(source, tmp_path, more, target, calib, words):
    result = run(source, tmp_path / "out", *FLAG, *more, target=target, calib=calib)
    assert result.exit_code == 2
    assert words in result.output
    assert not (tmp_path / "out").exists()


def test_few_channels_and_single_rows_stay_dense():
    target = find_target("trt")
    narrow = model(
        "g (float[n,8,9,9] x, float[32,8,1,1] w) => (float[n,32,9,9] y) { y = Conv(x, w) }",
        w=[32, 8, 1, 1],
    )
    single = model(
        "g (float[1,32] x, float[32,32] w) => (float[1,32] y) { y = MatMul(x, w) }", w=[32, 32]
    )
    assert "8 channels in" in (target.why_not_sparse(narrow.graph[0]) or "")
    assert "matrix-vector" in (target.why_not_sparse(single.graph[0]) or "")
    assert target.why_not_sparse(residual().graph[0]) is None
