"""Small things that tests of the whole share."""

from collections.abc import Iterator
from copy import copy
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from compressor.search import measure

# On a busy machine an example takes as long as it takes: no test is about time.
settings.register_profile("compressor", deadline=None)
settings.load_profile("compressor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that none is left to a single process at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests measure is not kept in the user's home, and nothing from there is used."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        # What one test decides, another does not take: only a cache that is named is used.
        patched.setattr("compressor.recipe.keeping.default_folder", lambda: None)
        # Graphs of tests kill no process: those of tests/fuzz do, in processes of their own.
        patched.setattr("compressor.capture.onnx_source.why_not_survived", lambda *work: None)
        patched.setattr("compressor.checkpoint.torch_files.why_not_survived", lambda *work: None)
        patched.setattr("exporters.lint.trt.linter.why_not_survived", lambda *work: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _tables_of_exporter() -> Iterator[None]:
    """Tables of operators that torch's exporter makes anew for each export: here once a process.

    That takes longer than the export of most networks of tests. Where torch has them under other
    names, all is as it was.
    """
    try:
        from torch.onnx._internal.exporter import _decomp, _registration

        registry, table = (
            _registration.ONNXRegistry,
            _decomp.create_onnx_friendly_decomposition_table,
        )
        made = cache(registry.from_torchlib)
    except (ImportError, AttributeError):
        yield
        return

    def from_torchlib(**options: object) -> object:
        one = made(**options)
        copied = copy(one)  # to which a caller may add
        copied.functions = {name: list(known) for name, known in one.functions.items()}
        return copied

    tables: dict[frozenset[object], dict[object, object]] = {}

    def friendly(known: set[object]) -> dict[object, object]:
        key = frozenset(known)
        if key not in tables:
            tables[key] = table(known)
        return dict(tables[key])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "from_torchlib", staticmethod(from_torchlib))
        patched.setattr(_decomp, "create_onnx_friendly_decomposition_table", friendly)
        yield


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of `compress` without what only their account needs, which takes most of a short run.

    That is pages, memory in child processes, and configurations that decide nothing. What a module
    fixture has made before is whole.
    """
    configurations = measure.configurations
    monkeypatch.setattr("compressor.commands.final_measurements.measure_memory", lambda pair: None)
    monkeypatch.setattr("compressor.commands.account.pages", lambda report, failures: {})
    monkeypatch.setattr(
        "compressor.search.measure.configurations", lambda *of: configurations(*of)[:1]
    )


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """tiny.onnx: float x[batch, 16] → Gemm → Relu → Gemm → y[batch, 4]."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (16, 32), "b1": (32,), "w2": (32, 4), "b2": (4,)}
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "tiny", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    """tiny.npz: 64 samples for `tiny_model`."""
    path = tmp_path / "tiny.npz"
    np.savez(path, x=np.random.default_rng(1).normal(size=(64, 16)).astype(np.float32))
    return path
