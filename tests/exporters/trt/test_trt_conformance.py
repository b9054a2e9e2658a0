"""Every name of TensorRT that the exporter touches exists in the real bindings, as it is used.

Set TENSORRT_BINDINGS to wheels, separated by colons, that were fetched with
`pip download --no-deps tensorrt-cu13-bindings==11.4.* tensorrt-cu12-bindings==10.16.*`.
"""

import ast
import inspect
import json
import os
import shutil
import zipfile
from importlib import util
from pathlib import Path

import fake_trt
import pytest

from compressor.system.processes import run_python
from exporters.trt import build_engine, runner
from exporters.trt.options import FLAGS, SPARSE

HERE = Path(__file__).parent
WHEELS = [Path(name) for name in os.environ.get("TENSORRT_BINDINGS", "").split(":") if name]

USED: dict[str, dict[str, int | None]] = {
    "Builder": {
        "create_network": 1, "create_builder_config": 0, "create_optimization_profile": 0,
        "build_serialized_network": 2,
    },
    "INetworkDefinition": {"get_layer": 1, "num_layers": None},
    "ILayer": {
        "get_input": 1, "get_output": 1, "num_inputs": None, "num_outputs": None, "type": None,
    },
    "ITensor": {"name": None},
    "OnnxParser": {"parse_from_file": 1, "get_error": 1, "num_errors": None},
    "ParserError": {"code": 0, "desc": 0, "node": 0, "node_name": 0, "node_operator": 0},
    "IBuilderConfig": {
        "set_memory_pool_limit": 2, "set_flag": 1, "add_optimization_profile": 1,
        "set_timing_cache": 2, "create_timing_cache": 1, "get_timing_cache": 0,
        "builder_optimization_level": None, "profiling_verbosity": None,
        "hardware_compatibility_level": None, "progress_monitor": None,
    },
    "IOptimizationProfile": {"set_shape": 4, "__bool__": 0},
    "ITimingCache": {"combine": 2, "serialize": 0},
    "ILogger": {"log": 2, "WARNING": None, "ERROR": None, "INTERNAL_ERROR": None},
    "IProgressMonitor": {"phase_start": 3, "step_complete": 2, "phase_finish": 1},
    "NetworkDefinitionCreationFlag": {"STRONGLY_TYPED": None},
    "MemoryPoolType": {"WORKSPACE": None},
    "ProfilingVerbosity": {"DETAILED": None},
    "HardwareCompatibilityLevel": {"AMPERE_PLUS": None},
    "BuilderFlag": dict.fromkeys([*FLAGS.values(), SPARSE]),
    "LayerType": dict.fromkeys(
        ["CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "DEQUANTIZE", "SHUFFLE"]
    ),
    "Logger": {"ERROR": None},
    "Runtime": {"deserialize_cuda_engine": 1},
    "ICudaEngine": {
        "create_execution_context": 0, "num_io_tensors": None, "num_optimization_profiles": None,
        "get_tensor_name": 1, "get_tensor_mode": 1, "get_tensor_dtype": 1, "get_tensor_shape": 1,
        "get_tensor_location": 1, "get_tensor_profile_shape": 2, "create_engine_inspector": 0,
    },
    "IExecutionContext": {
        "set_optimization_profile_async": 2, "set_input_shape": 2, "set_tensor_address": 2,
        "infer_shapes": 0, "get_tensor_shape": 1, "execute_async_v3": 1,
    },
    "EngineInspector": {"execution_context": None, "get_engine_information": 1},
    "TensorIOMode": {"INPUT": None},
    "TensorLocation": {"HOST": None},
    "LayerInformationFormat": {"JSON": None},
}  # fmt: skip
"""Class → member → arguments that it is called with; None where it is not called."""

FUNCTIONS = {"nptype"}
"""Of the module itself."""

GONE = {"FP16", "BF16", "INT8", "FP8", "INT4", "EXPLICIT_BATCH", "supports_model"}
"""Names that TensorRT 11 no longer has, some of them."""


@pytest.fixture(params=["tensorrt_rtx", *(wheel.name for wheel in WHEELS)])
def offered(request: pytest.FixtureRequest, tmp_path: Path) -> dict:
    root = "-"
    if request.param == "tensorrt_rtx":
        if util.find_spec("tensorrt_rtx") is None:
            pytest.skip("tensorrt_rtx is not installed")
    else:
        if shutil.which("cc") is None:
            pytest.skip("there is no C compiler for the stub libraries")
        root = str(tmp_path)
        wheel = next(wheel for wheel in WHEELS if wheel.name == request.param)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)
    answer = tmp_path / "answer.json"
    assert run_python([str(HERE / "bindings.py"), root, str(answer)], timeout=120) is None
    return json.loads(answer.read_text())


def test_every_name_is_there_and_takes_the_arguments(offered: dict):
    wrong = []
    for kind, members in USED.items():
        for name, arguments in members.items():
            if name not in offered.get(kind, {}):
                wrong.append(f"{kind}.{name} is missing")
                continue
            known = offered[kind][name]
            if arguments is not None and known and not known[0] <= arguments <= known[1]:
                wrong.append(f"{kind}.{name} takes {known}, not {arguments}")
    assert wrong == [], offered["version"]


def test_the_table_holds_every_name_that_the_script_touches():
    tree = ast.parse(Path(build_engine.__file__).read_text())
    touched = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name | ast.Attribute | ast.Call)
        and _root(node) in ("trt", "builder", "network", "parser", "config", "profile", "error")
    }
    table = {name for members in USED.values() for name in members} | set(USED)
    own = {"__version__", "add_argument", "parse_args"}
    assert touched - table - own == set()
    assert touched & GONE == set()


def test_the_table_holds_every_name_that_the_runner_touches():
    tree = ast.parse(Path(runner.__file__).read_text())
    touched = {node.attr for node in ast.walk(tree) if _is_of_tensorrt(node)}
    touched |= {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._do"
    }
    table = {name for members in USED.values() for name in members} | set(USED) | FUNCTIONS
    assert {"execute_async_v3", "deserialize_cuda_engine", "nptype"} < touched
    assert touched - table == set()


def test_functions_of_the_module_are_there(offered: dict):
    assert set(offered[""]) >= FUNCTIONS


@pytest.mark.parametrize(
    ("fake", "kind"),
    [
        (fake_trt.FakeRuntime, "Runtime"),
        (fake_trt.FakeEngine, "ICudaEngine"),
        (fake_trt.FakeContext, "IExecutionContext"),
        (fake_trt.FakeInspector, "EngineInspector"),
    ],
)
def test_the_fakes_are_made_of_the_table(fake: type, kind: str):
    """So that the runner's tests ask nothing that the real bindings do not have."""
    offered = {name for name in vars(fake) if not name.startswith("_")}
    assert offered == set(USED[kind])
    for name, arguments in USED[kind].items():
        member = vars(fake)[name]
        if arguments is not None:
            assert len(inspect.signature(member).parameters) == arguments + 1


def _is_of_tensorrt(node: ast.AST) -> bool:
    roots = ("self._trt", "self._runtime", "engine", "inspector", "self._require_engine()")
    roots += ("self._require_context()",)
    if not isinstance(node, ast.Attribute):
        return False
    told = ast.unparse(node.value)
    return told in roots or told.startswith("self._trt.")


def _root(node: ast.Attribute) -> str:
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else ""


@pytest.mark.skipif(bool(WHEELS), reason="the bindings of tensorrt are tested")
def test_the_bindings_of_tensorrt_are_looked_at_where_they_are():
    pytest.skip(
        "TENSORRT_BINDINGS names no wheels of tensorrt-cu12-bindings, tensorrt-cu13-bindings"
    )
