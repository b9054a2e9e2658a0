"""Engines of graphs of several kinds, built for real, and what keeps one from being built."""

import os
from collections.abc import Callable
from importlib import util
from pathlib import Path

import onnx_ir as ir
import pytest
from graphs import model, residual
from trt_graphs import attention, feeds_for, quantized, unet

from compressor.errors import OutputError, RecipeError
from compressor.output import written_aside
from compressor.quantization.remainder import halved
from exporters.base import Artifact, Samples
from exporters.trt.backends import device
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

pytestmark = pytest.mark.skipif(
    util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
)
RTX = TrtOptions(backend="tensorrt-rtx")


def built(graph: ir.Model, folder: Path, options: TrtOptions = RTX) -> Artifact:
    samples = Samples(feeds_for(graph), (1, 4, 8))
    return TrtTarget(options).build(graph, folder, samples=samples)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "half"])
@pytest.mark.parametrize(
    ("build", "integer", "floating"),
    [
        (residual, {"Conv": 2, "MatMul": 1}, {}),
        (unet, {"Conv": 3, "ConvTranspose": 1}, {}),
        (attention, {"MatMul": 3}, {"MatMul": 2}),
    ],
)
def test_int8_is_built_with_every_layer_that_was_placed(
    tmp_path: Path,
    build: Callable[[], ir.Model],
    integer: dict[str, int],
    floating: dict[str, int],
    half: bool,
):
    graph = quantized(build())
    engine = built(halved(graph, ()) if half else graph, tmp_path).engine
    assert engine is not None
    assert engine.file == "model.rtx.engine", engine.reason
    assert (engine.integer, engine.floating) == (integer, floating)
    assert engine.warnings == ()


def test_float_in_half_is_built(tmp_path: Path):
    engine = built(halved(attention(), ("Softmax_5",)), tmp_path).engine
    assert engine is not None
    assert engine.file, engine.reason


@pytest.mark.parametrize(
    "options",
    [
        {"optimization_level": 0, "workspace": "64MB"},
        {"profiles": ("x:1x32x8x8,2x32x8x8,4x32x8x8", "x:16x32x8x8")},
        {"hardware_compatible": True},
    ],
    ids=str,
)
def test_options_reach_the_builder(tmp_path: Path, options: dict):
    given = TrtOptions.model_validate({"backend": "tensorrt-rtx", **options})
    engine = built(residual(), tmp_path, given).engine
    assert engine is not None
    assert engine.file, engine.reason
    assert len(engine.profiles) == len(options.get("profiles", (1,)))


@pytest.mark.skipif(device().name is not None, reason="tells what happens without a GPU")
@pytest.mark.parametrize("option", ["refit", "strip_weights", "version_compatible"])
def test_what_rtx_fails_at_is_refused_before_the_work(option: str):
    given = TrtOptions.model_validate({"backend": "tensorrt-rtx", option: True})
    assert option in (TrtTarget(given).available() or "")


def test_what_only_the_parser_refuses_is_told_and_the_model_kept(tmp_path: Path):
    graph = model("g (float[2,4] x) => (float[2,4] y) { y = Relu(x) }")
    graph.graph[0].op_type = "Bernoulli"
    target = TrtTarget(RTX)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("exporters.trt.target.linted", lambda model: ())
        made = target.build(graph, tmp_path)
    assert made.engine is not None
    assert made.engine.failed
    assert "unsupported-operator at 'Relu_0'" in (made.engine.reason or "")
    assert (tmp_path / "model.onnx").is_file()
    assert not list(tmp_path.glob("*.engine"))


def test_an_open_size_without_data_needs_a_profile(tmp_path: Path):
    with pytest.raises(RecipeError, match="no data tells them"):
        TrtTarget(RTX).build(residual(), tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder_is_an_error(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError):
        built(residual(), tmp_path)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez_compressed", full)
    with pytest.raises(OutputError, match="No space"), written_aside(tmp_path / "out") as folder:
        built(residual(), folder)
    assert list(tmp_path.iterdir()) == []
