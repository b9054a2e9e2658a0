"""What is said where OpenVINO is missing, too old, or refuses; it need not be installed."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from graphs import residual

from compressor import Recipe
from compressor.checkpoint.prepare import prepare
from compressor.graph.files import save_model
from exporters.base import find_target
from exporters.base.execution import NOTE, Execution, executed
from exporters.openvino import runtime
from exporters.openvino.policy import openvino_policy, why_not_integer
from exporters.openvino.runtime import reason_of, why_not_available

UNKNOWN = """Exception from src/inference/src/cpp/core.cpp:105:
Check 'false' failed at src/frontends/common_translators/src/unconverted_ops_report.cpp:151:
FrontEnd API failed with OpConversionFailure:
Model wasn't fully converted.
Summary:
-- No conversion rule found for operations: my.domain.Foo
To facilitate the conversion of unsupported operations, refer to Frontend Extension documentation
"""
RANK = """Exception from src/inference/src/cpp/core.cpp:105:
Model wasn't fully converted. Failed operations detailed log:
-- Conv-18 with a message:
While validating ONNX node '<Node(Conv): y>': Check 'ov::util::is_rank' failed at src/x.hpp:288:
Expected a 3D, 4D or 5D tensor for the input. Got: [1,1,1,1,1,1,8,8]

Summary:
-- Conversion is failed for: Conv-18
"""
SHAPE = """Exception from src/inference/src/cpp/infer_request.cpp:224:
Exception from src/plugins/intel_cpu/src/node.cpp:794:
[CPU] Reshape node with name 'y' Check 'minusOneCount <= 1' failed at src/plugins/reshape.cpp:77:
[cpu]reshape: the shape of input data (2.4) conflicts with the reshape pattern (2.2)
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (UNKNOWN, "it has no operator my.domain.Foo"),
        (RANK, "Node(Conv): y: Expected a 3D, 4D or 5D tensor for the input. Got: [1,1,1,1,1,1,8"),
        (SHAPE, "[cpu]reshape: the shape of input data (2.4) conflicts with the reshape pattern"),
        ("", "RuntimeError"),
        ("plain words", "plain words"),
    ],
    ids=["operator", "rank", "shape", "nothing", "plain"],
)
def test_a_refusal_is_told_in_a_line_without_places_in_sources(text: str, told: str):
    found = reason_of(RuntimeError(text))
    assert told in found
    assert "\n" not in found
    assert "src/" not in found


def test_a_missing_or_an_old_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(runtime, "version", missing)
    assert why_not_available() == ("OpenVINO is not installed: pip install 'compressor[openvino]'")
    monkeypatch.setattr(runtime, "version", lambda name: "2023.1.0-1-abc")
    told = why_not_available()
    assert told is not None
    assert told.startswith("openvino 2023.1.0-1-abc is too old, 2026.0 or later is needed")


def test_a_plugin_for_the_cpu_is_needed(monkeypatch: pytest.MonkeyPatch):
    class Core:
        available_devices = ("GPU",)

    monkeypatch.setattr(runtime, "version", lambda name: "2026.4.1")
    monkeypatch.setattr(runtime, "core", Core)
    assert why_not_available() == "openvino 2026.4.1 has no CPU plugin here, only GPU"

    def broken() -> None:
        raise RuntimeError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr(runtime, "core", broken)
    assert "does not load: libtbb.so.12" in (why_not_available() or "")


def test_listing_targets_loads_no_package():
    target = find_target("openvino")
    assert target.own_files == (".xml",)
    assert target.arithmetics == ()


def test_a_note_travels_with_the_graph_and_adds_up(tmp_path: Path):
    graph = residual()
    assert Execution.of(graph) == Execution()
    noted = executed(executed(graph, rounds=True), floats="bf16")
    assert Execution.of(noted) == Execution(floats="bf16", rounds=True)
    assert NOTE not in graph.metadata_props
    assert Execution.of(noted.clone()) == Execution.of(noted)
    save_model(noted, tmp_path / "noted.onnx")
    read = prepare(tmp_path / "noted.onnx", target=find_target("ort"), recipe=Recipe())
    assert Execution.of(read.model) == Execution(), "a source is executed as it says itself"


def test_weights_have_seven_bits_where_sums_of_pairs_saturate():
    assert openvino_policy("avx2").weight.bits == 7
    assert openvino_policy("vnni").weight.bits == 8
    policy = openvino_policy("vnni")
    assert not policy.activation.symmetric
    assert policy.weight.symmetric
    assert policy.weight.per_channel
    assert policy.dynamic == frozenset()
    assert all(why_not_integer(node) is None for node in residual().graph)
