"""A row of `benchmarks/trt_device.py` on a GPU and a TensorRT that are not there (`fake_trt`).

Networks compute y = 2 x, as all engines do, but for one.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest
from fake_trt import FakeDriver, FakeTrt
from graphs import model

import trt_device_nets
import trt_device_row
from compressor.report.files import load_report
from compressor.results.engine import Agreement
from exporters.trt import target
from exporters.trt.building import Built
from exporters.trt.cuda import Cuda
from exporters.trt.runner import EngineRunner
from trt_device_nets import Net, normal

SHAPE = (4, 64)
LOOP = f"{__file__}:generate"


def graph(first: str, factor: float):
    """y = factor x, as a product with a matrix; `first` is the number of samples."""

    def make(net: Net) -> ir.Model:
        rows = f"float[{first},64]"
        made = model(
            f"g ({rows} x, float[64,64] w) => ({rows} y) {{ y = MatMul(x, w) }}", w=[64, 64]
        )
        weight = made.graph.initializers["w"]
        weight.const_value = ir.tensor((factor * np.eye(64)).astype(np.float32), name="w")
        if factor < 0:
            weight.const_value = ir.tensor(np.ones((64, 64), np.float32), name="w")
        return made

    return make


def generate(models, seed, count):
    x = np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)
    for _ in range(2):
        x = models["g"](x=x)["y"] / 2
    return {"x": x}


NETS = (
    Net("good", "4 rows", normal("x", *SHAPE), graph("4", 2.0)),
    Net("wrong", "4 rows", normal("x", *SHAPE), graph("4", -1.0)),
    Net(
        "loop", "4 rows", normal("x", *SHAPE), graph("n", 2.0), LOOP, "g", 4,
        ("g/x:1x64,4x64,4x64",),
    ),
)  # fmt: skip
LAYERS = {
    "FP16": [{"Name": "MatMul_0", "Inputs": [{"Format/Datatype": "Half"}]}],
    "INT8": [{"Name": "MatMul_0", "Inputs": [{"Format/Datatype": "Int8"}]}],
}


def built(place, chosen, nodes, *, cache, time_limit, progress):
    engine = place / "model.plan"
    engine.write_bytes(b"engine")
    return Built(engine, seconds=0.5)


def opened(engine, name) -> EngineRunner:
    """INT8 engines are twice as fast as the others."""
    kind = "INT8" if "INT8" in str(engine) else "FP16"
    driver = FakeDriver()
    driver.milliseconds = {"FP16": 0.5, "INT8": 0.25}[kind]
    is_open = "loop" in str(engine)
    profiles = [((1, 64), SHAPE, SHAPE)] if is_open else ()
    trt = FakeTrt(driver, (-1, 64) if is_open else SHAPE, profiles)
    trt.layers = LAYERS[kind]
    return EngineRunner(engine, trt, Cuda(driver))


def compressed(net, source, asked, output):
    """What a run of the command on a GPU would have reported."""
    report = load_report(output.with_name(f"{net.name}-INT8"))
    engine = report.graphs["model"].engine
    agreement = Agreement(output="y", shapes={"x": SHAPE}, cosine=0.9995, max_abs=0.1)
    engine = engine.model_copy(update={"status": "built", "agreement": (agreement,)})
    known = report.graphs["model"].model_copy(update={"engine": engine})
    return report.model_copy(update={"graphs": {"model": known}})


@contextmanager
def in_place() -> Iterator[None]:
    """Rows are made with all that as long as the block lasts."""
    graphs = ModuleType("trt_device_graphs")
    graphs.compressed, graphs.recipe = compressed, lambda *of: None
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "trt_device_graphs", graphs)
        patched.setattr(trt_device_nets, "NETS", NETS)
        patched.setattr(trt_device_row, "build_engine", built)
        patched.setattr(trt_device_row, "asked_of_smi", lambda field: "1980")
        patched.setitem(trt_device_row.interleaved.__kwdefaults__, "seconds", 0.01)
        for module in (trt_device_row, target):
            patched.setattr(module, "open_engine", opened)
        yield


def here(arguments, *, timeout, poll) -> None:
    """In place of a process of its own, which takes seconds to begin."""
    with in_place(), pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", arguments)
        trt_device_row.main()
