"""Engines of graphs of several kinds, built for real, and what keeps one from being built."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from trt_graphs import attention, feeds_for, quantized, unet

from compressor.errors import OutputError, RecipeError
from compressor.quantization.remainder import halved
from compressor.system.output_folder import written_aside
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
    assert option in (TrtTarget(given).why_not_available() or "")


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


def test_several_inputs_and_an_open_sequence(tmp_path: Path):
    graph = model(
        """g (float[n,s,64] a, float[n,s,64] b, float[64,64] w) => (float[n,s,64] y)
        { m = MatMul(a, w)
          y = Add(m, b) }""",
        w=[64, 64],
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((2, 6, 64)).astype(np.float32)
    span = "1x1x64,2x6x64,4x32x64"
    given = TrtOptions(backend="tensorrt-rtx", profiles=(f"a:{span}", f"b:{span}"))
    made = TrtTarget(given).build(graph, tmp_path, samples=Samples({"a": x, "b": x}, (1, 2, 4)))
    assert made.engine is not None
    assert made.engine.file, made.engine.reason
    assert set(made.engine.profiles[0]) == {"a", "b"}
    assert made.engine.inputs == ("a:float[n,s,64]", "b:float[n,s,64]")


def test_inputs_whose_shapes_cannot_be_added_end_as_a_message(tmp_path: Path):
    graph = model("g (float[n,4] a, float[m,4] b) => (float[k,4] y) { y = Concat<axis=1>(a, b) }")
    given = TrtOptions(backend="tensorrt-rtx", profiles=("a:2x4", "b:3x4"))
    made = TrtTarget(given).build(graph, tmp_path)
    assert made.engine is not None
    assert made.engine.failed
    assert made.engine.reason
    assert (tmp_path / "model.onnx").is_file()
    assert not list(tmp_path.glob("*.engine*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    may = shutil.which("mount") is not None
    if not may or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_leaves_nothing_half_written(small_disk: Path):
    graph = model("g (float[n,512] x, float[512,600] w) => (float[n,600] y) { y = MatMul(x, w) }",
                  w=[512, 600])  # fmt: skip
    x = np.zeros((2, 512), np.float32)
    with pytest.raises(OutputError, match="No space"), written_aside(small_disk / "out") as folder:
        TrtTarget(RTX).build(graph, folder, samples=Samples({"x": x}, (1, 2, 2)))
    assert list(small_disk.iterdir()) == []


def test_an_engine_that_finds_the_disk_full_is_a_message(small_disk: Path):
    graph = model("g (float[n,512] x, float[512,256] w) => (float[n,256] y) { y = MatMul(x, w) }",
                  w=[512, 256])  # fmt: skip
    x = np.zeros((2, 512), np.float32)
    made = TrtTarget(RTX).build(graph, small_disk, samples=Samples({"x": x}, (1, 2, 2)))
    assert made.engine is not None
    assert made.engine.failed
    assert "No space left" in (made.engine.reason or "")
    assert sorted(path.name for path in small_disk.iterdir()) == [
        "build_engine.py", "model.onnx", "reference.npz",
    ]  # fmt: skip


def test_out_of_workspace_is_a_message(tmp_path: Path):
    given = TrtOptions.model_validate({"backend": "tensorrt-rtx", "workspace": 1})
    engine = built(residual(), tmp_path, given).engine
    assert engine is not None
    assert engine.failed
    assert "workspace limit" in (engine.reason or "")
    assert "give it more: `workspace` in section [trt] of the recipe" in (engine.reason or "")
    assert (tmp_path / "model.onnx").is_file()
    assert not list(tmp_path.glob("*.engine*"))
