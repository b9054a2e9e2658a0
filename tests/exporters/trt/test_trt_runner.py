"""The order of calls, shapes and lifetimes of a run on a GPU, of which there is only a fake."""

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest
from fake_trt import FakeDriver, FakeTrt
from graphs import model, residual
from trt_graphs import quantized

from compressor.errors import DataError, TargetError
from compressor.graph.files import save_model
from compressor.report.verdict import engine_words
from compressor.results.graph_report import GraphReport
from exporters.base import Agreement, EngineBuild, Samples
from exporters.ort.target import OrtRunner
from exporters.trt import backends, cuda
from exporters.trt import target as target_module
from exporters.trt.agreement import agreements, not_integer
from exporters.trt.backends import ChosenBackend, Device
from exporters.trt.building import Built
from exporters.trt.cuda import Cuda
from exporters.trt.kernels import kernels_by_type, sparse_kernels
from exporters.trt.notation import Span
from exporters.trt.options import TrtOptions
from exporters.trt.runner import EngineRunner
from exporters.trt.target import TrtTarget, ran
from exporters.trt.timed import TimedRunner

X = np.arange(6, dtype=np.float32).reshape(2, 3)
OPEN = {"declared": (-1, 3), "profiles": [((1, 3), (2, 3), (4, 3)), ((5, 3), (8, 3), (9, 3))]}


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    path.write_bytes(b"engine")
    return path


def opened(engine: Path, driver: FakeDriver, **how) -> EngineRunner:
    return EngineRunner(engine, FakeTrt(driver, **how), Cuda(driver))


def test_a_run_uploads_executes_downloads_and_waits(engine: Path, driver: FakeDriver):
    with opened(engine, driver) as runner:
        assert [str(spec) for spec in (*runner.inputs, *runner.outputs)] == [
            "x:float32[2,3]",
            "y:float32[2,3]",
        ]
        driver.calls.clear()
        found = runner.run({"x": X, "more": X})
    np.testing.assert_array_equal(found["y"], 2 * X)
    steps = driver.named(
        "cuMemcpyHtoDAsync_v2", "execute_async_v3", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"
    )
    assert steps[:5] == [
        "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize", "execute_async_v3", "cuMemcpyDtoHAsync_v2",
        "cuStreamSynchronize",
    ]  # fmt: skip


def test_everything_goes_back_and_in_order(engine: Path, driver: FakeDriver):
    with opened(engine, driver) as runner:
        runner.bind({"x": X})()
    gc.collect()
    assert driver.memory == {}
    ends = ("cuGraphExecDestroy", "del FakeContext", "del FakeEngine", "del FakeRuntime",
            "cuStreamDestroy_v2", "cuDevicePrimaryCtxRelease_v2")  # fmt: skip
    assert driver.named(*ends) == list(ends)
    assert driver.calls.index("cuMemFree_v2") > driver.calls.index("del FakeRuntime")


def test_fixed_shapes_are_captured_once_and_launched(engine: Path, driver: FakeDriver):
    with opened(engine, driver) as runner:
        launch = runner.bind({"x": X})
        driver.calls.clear()
        launch()
        launch()
        assert driver.calls == 2 * ["cuGraphLaunch", "cuStreamSynchronize"]
        np.testing.assert_array_equal(runner.run({"x": X})["y"], 2 * X)


@pytest.mark.parametrize("how", [{}, OPEN], ids=["fixed", "open"])
def test_events_around_an_inference_tell_its_time(engine: Path, driver: FakeDriver, how: dict):
    with opened(engine, driver, **how) as runner:
        timed = runner.bind_timed({"x": X})
        driver.calls.clear()
        assert [timed(), timed()] == [0.25, 0.25]
        work = "execute_async_v3" if how else "cuGraphLaunch"
        once = ["cuEventRecord", work, "cuEventRecord", "cuStreamSynchronize", "cuEventElapsedTime"]
        assert driver.calls == ["cuEventCreate", "cuEventCreate", *once, *once]
        np.testing.assert_array_equal(runner.run({"x": X})["y"], 2 * X)
    assert driver.calls[-4:] == [
        "cuEventDestroy_v2", "cuEventDestroy_v2", "cuStreamDestroy_v2",
        "cuDevicePrimaryCtxRelease_v2",
    ]  # fmt: skip


def test_the_first_run_is_before_the_capture(engine: Path, driver: FakeDriver):
    with opened(engine, driver) as runner:
        runner.bind({"x": X})
    order = driver.named("execute_async_v3", "cuStreamBeginCapture_v2", "cuStreamEndCapture")
    assert order == [
        "execute_async_v3", "cuStreamBeginCapture_v2", "execute_async_v3", "cuStreamEndCapture",
    ]  # fmt: skip


def test_open_shapes_are_not_captured(engine: Path, driver: FakeDriver):
    with opened(engine, driver, **OPEN) as runner:
        inference = runner.bind({"x": X})
        driver.calls.clear()
        inference()
        assert driver.calls == ["execute_async_v3", "cuStreamSynchronize"]


def test_buffers_grow_and_the_profile_follows_the_shape(engine: Path, driver: FakeDriver):
    with opened(engine, driver, **OPEN) as runner:
        assert str(runner.inputs[0]) == "x:float32[?,3]"
        for rows in (1, 4, 2, 9, 5, 1):
            x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
            np.testing.assert_array_equal(runner.run({"x": x})["y"], 2 * x)
            assert len(driver.memory) == 2
        allocations = len(driver.named("cuMemAlloc_v2"))
    assert allocations == 6, "x and y, of 1, 4 and 9 rows"


def test_shapes_outside_of_every_profile_are_refused(engine: Path, driver: FakeDriver):
    with (
        opened(engine, driver, **OPEN) as runner,
        pytest.raises(DataError, match=r"no profile of the engine is for x\[10, 3\]"),
    ):
        runner.run({"x": np.zeros((10, 3), np.float32)})


def test_inputs_are_converted_and_made_contiguous(engine: Path, driver: FakeDriver):
    with opened(engine, driver) as runner:
        found = runner.run({"x": X.astype(np.float64)[:, ::-1]})
    np.testing.assert_array_equal(found["y"], 2 * X[:, ::-1])


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        ("set_input_shape", "TensorRT fails: set_input_shape x"),
        ("infer_shapes", "lacks shape or value of x"),
        ("get_tensor_shape", "depends on values"),
        ("execute_async_v3", "TensorRT fails: execute_async_v3"),
    ],
)
def test_what_tensorrt_refuses_is_an_error_and_leaves_nothing(
    engine: Path, driver: FakeDriver, refuses: str, words: str
):
    with pytest.raises(TargetError, match=words), opened(engine, driver, refuses=refuses) as runner:
        runner.run({"x": X})
    assert driver.memory == {}
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


@pytest.mark.parametrize("fails", ["cuMemAlloc_v2", "cuGraphInstantiateWithFlags", "cuGraphLaunch"])
def test_a_failure_of_the_gpu_is_an_error_and_leaves_nothing(engine: Path, fails: str):
    driver = FakeDriver(fails)
    words = f"{fails} returns CUresult 2"
    with pytest.raises(TargetError, match=words), opened(engine, driver) as runner:
        runner.bind({"x": X})()
    assert driver.memory == {}


def test_a_foreign_engine_is_refused_and_the_gpu_given_back(engine: Path, driver: FakeDriver):
    engine.write_bytes(b"of another version")
    with pytest.raises(TargetError, match="refuses the engine"):
        opened(engine, driver)
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_a_capture_that_fails_is_ended(driver: FakeDriver):
    gpu = Cuda(driver)

    def fail() -> None:
        raise TargetError("no")

    with pytest.raises(TargetError, match="no"):
        gpu.captured(fail)
    assert not driver.capturing


def test_without_a_driver_the_reason_is_told(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", missing)
    with pytest.raises(TargetError, match="there is no NVIDIA driver here"):
        Cuda()


def test_arguments_are_of_the_driver_s_types():
    for types in cuda.SIGNATURES.values():
        assert all(issubclass(kind, ctypes._SimpleCData | ctypes._Pointer) for kind in types)


def test_agreement_is_measured_at_every_corner_of_the_profiles(tmp_path: Path):
    path = tmp_path / "m.onnx"
    save_model(residual(), path)
    span = Span((1, 32, 8, 8), (2, 32, 8, 8), (8, 32, 8, 8))
    x = np.random.default_rng(0).standard_normal((3, 32, 8, 8)).astype(np.float32)
    with OrtRunner(path, 1, spin=False) as same:
        found = agreements(same, path, [{"x": span}], {"x": x})
    assert [one.shapes["x"][0] for one in found] == [1, 2, 8]
    assert all(one.cosine > 0.99999 and one.max_abs < 1e-4 and one.top1 == 1 for one in found)


def test_layers_that_did_not_become_integer_are_named():
    graph = quantized(residual())
    told = [
        {"Name": "Conv_0 + Relu_1", "Inputs": [{"Format/Datatype": "Row major Int8 format"}]},
        {
            "Name": "fused",
            "Metadata": "[ONNX Layer: Conv_2]",
            "Inputs": [{"Format/Datatype": "Half"}],
        },
        {"Name": "Gemm_7"},
    ]
    assert not_integer(told, graph) == ("Conv_2",)


def test_kernels_count_for_the_fewest_bits_that_they_read():
    def layer(*formats: str, tactic: str = "") -> dict:
        return {
            "Inputs": [{"Name": "x", "Format/Datatype": told} for told in formats],
            "TacticName": tactic,
        }

    told = [
        layer("Thirty-two wide channel vectorized row major Int8 format", "Half"),
        layer("Int8", tactic="sm80_xmma_fprop_sparse_conv_interleaved_i8i8_i8i32_f32"),
        layer("Channel major FP16 format where channel % 8 == 0"),
        layer("FP8", "Float"),
        layer("BFloat16"),
        layer("Row major linear FP32"),
        layer("Float", "Int64"),
        layer("Int32", "Bool"),
        layer(),
        {"Name": "of a build that kept names alone"},
    ]
    assert kernels_by_type(told) == {"INT8": 2, "FP8": 1, "half": 1, "BF16": 1, "FP32": 2}
    assert sparse_kernels(told) == 1
    assert kernels_by_type([]) == {}


class _Doubling:
    """An engine that computes something else."""

    def __init__(self, model: Path) -> None:
        self._real = OrtRunner(model, 1, spin=False)

    def __enter__(self):
        return self

    def __exit__(self, *ended: object) -> None:
        pass

    def run(self, feeds):
        return {name: -array for name, array in self._real.run(feeds).items()}

    def layers(self) -> list:
        return [{"Name": "Conv_0", "Inputs": [{"Format/Datatype": "Int8"}]}]


@pytest.mark.parametrize("wrong", [False, True])
def test_an_engine_that_ran_is_told_with_what_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bool
):
    path = tmp_path / "model.onnx"
    save_model(residual(), path)
    runner = _Doubling(path)
    if not wrong:
        runner.run = runner._real.run
    monkeypatch.setattr(target_module, "open_engine", lambda file, name: runner)
    said = EngineBuild(status="built, not run", precision="int8", reason="…", tolerance=0.99)
    x = np.random.default_rng(0).standard_normal((2, 32, 8, 8)).astype(np.float32)
    found = ran(said, path, tmp_path / "model.plan", (), Samples({"x": x}, (1, 2, 2)))
    assert found.status == "built"
    assert found.reason is None
    assert len(found.agreement) == 1
    assert (found.kernels, found.sparse_kernels) == ({"INT8": 1}, 0)
    assert ["disagreement" in one for one in found.warnings] == ([True] if wrong else [])


def test_an_engine_that_does_not_run_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(file: Path, name: str) -> None:
        raise TargetError("the runtime refuses the engine")

    monkeypatch.setattr(target_module, "open_engine", refuse)
    said = EngineBuild(status="built, not run", precision="int8", tolerance=0.99)
    found = ran(said, tmp_path / "m.onnx", tmp_path / "model.plan", (), Samples({}, (1, 1, 1)))
    assert found.status == "built, not run"
    assert "does not run: the runtime refuses the engine" in (found.reason or "")


@pytest.fixture
def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU on which a small engine ran."""
    chosen = ChosenBackend("tensorrt", "11.4")
    monkeypatch.setattr(target_module, "device", lambda: Device("a GPU"))
    monkeypatch.setattr(target_module, "choose", lambda asked: chosen)


@pytest.mark.usefixtures("with_gpu")
def test_where_engines_run_an_artifact_is_opened_as_its_engine(
    engine: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
):
    target = TrtTarget()
    assert target.why_not_measurable() is None
    assert target.why_not_memory_measurable() == "the memory of a GPU is not measured"
    monkeypatch.setattr(target_module, "open_engine", lambda file, name: opened(file, driver))
    with target.open(engine.with_name("model.onnx")) as runner:
        np.testing.assert_array_equal(runner.run({"x": X})["y"], 2 * X)
    graph = model("g (float[n,3] x) => (float[n,3] y) { y = Add(x, x) }")
    assert isinstance(target.open(graph, timed=False), OrtRunner)
    assert isinstance(target.open(graph), TimedRunner)


def test_a_model_in_memory_is_built_for_the_shapes_that_it_is_fed(
    engine: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
):
    scripts: list[str] = []

    def build(directory: Path, *arguments: object, **more: object) -> Built:
        scripts.append((directory / "build_engine.py").read_text())
        return Built(engine)

    monkeypatch.setattr("exporters.trt.timed.build_engine", build)
    graph = model("g (float[n,3] x) => (float[n,3] y) { y = Add(x, x) }")

    def opener(file: Path, name: str) -> EngineRunner:
        return opened(file, driver, declared=(-1, 3), profiles=[((1, 3), (2, 3), (9, 3))])

    with TimedRunner(graph, TrtOptions(), ChosenBackend("tensorrt"), opener) as runner:
        assert str(runner.inputs[0]) == "x:float32[n,3]"
        assert scripts == [], "nothing is built before shapes are known"
        for rows in (2, 2, 4):
            x = np.ones((rows, 3), np.float32)
            np.testing.assert_array_equal(runner.run({"x": x})["y"], 2 * x)
    assert len(scripts) == 2
    assert "{'x': [[4, 3], [4, 3], [4, 3]]}" in scripts[1]
    assert driver.memory == {}
    calls = {(("x", (rows, 3)),): 1 for rows in (2, 4, 8)}
    chosen = ChosenBackend("tensorrt")
    with TimedRunner(graph, TrtOptions(), chosen, opener, calls) as runner:
        for rows in (2, 8, 4, 9):
            runner.run({"x": np.ones((rows, 3), np.float32)})
    assert len(scripts) == 4, "a loop's shapes have one engine, and what is beyond one of its own"
    assert "{'x': [[2, 3], [4, 3], [8, 3]]}" in scripts[2]


def test_engines_run_only_where_a_small_one_did(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends, "device", lambda: Device("a GPU"))
    backends.why_not_run.cache_clear()
    try:
        assert backends.why_not_run("tensorrt") is not None, "the driver is missing"
    finally:
        backends.why_not_run.cache_clear()


def test_the_report_says_what_the_engine_computed():
    agreement = Agreement(output="y", shapes={"x": (1, 3)}, cosine=0.9987, max_abs=0.1)
    engine = EngineBuild(
        status="built", precision="int8", file="model.plan", backend="tensorrt", version="11.4",
        agreement=(agreement,), not_integer=("Conv_2",), kernels={"INT8": 19, "half": 3},
    )  # fmt: skip
    said = engine_words(GraphReport.model_construct(engine=engine))
    assert "cosine of 0.9987 or more with ONNX Runtime's" in said
    assert "not INT8 in it: Conv_2" in said
    assert "; its kernels: 19 INT8, 3 half; not INT8" in said
    engine = engine.model_copy(update={"sparse": 20, "sparse_kernels": 12})
    assert "3 half; 12 of them sparse" in engine_words(GraphReport.model_construct(engine=engine))
