"""The real parser's process: absent, broken, crashing or hanging, it costs a finding at most."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx_ir as ir
import pytest
from quantized import conv, graph, images

from compressor.graph.files import save_model
from exporters.lint.base import find_linter
from exporters.lint.trt import parser
from exporters.lint.trt.messages import finding_of_error, finding_of_warning, merged, readable
from exporters.lint.trt.operators import UNSUPPORTED

CUDA = (
    "Invalid Node - bd\n"
    "ITensor::getDimensions: Error Code 4: API Usage Error (bd: input has type Int32 but must have "
    "type FP8, FP4, Int4, Int8, or UInt8. In checkType at /_src/common/nodeBase.cpp:456)\n"
    "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
    "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient "
    "for CUDA runtime version))"
)

DET = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[4,4] x) => (float d) { r = Relu(x)
     d = Det(r) }"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    save_model(graph(images(conv("x", "y"))), path)
    return path


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package in front that is called like the real one."""

    def install(code: str) -> None:
        folder = tmp_path / "site" / parser.PACKAGE
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(code)
        monkeypatch.syspath_prepend(folder.parent)
        monkeypatch.delitem(sys.modules, parser.PACKAGE, raising=False)

    return install


def test_crash_of_the_parser_is_an_error_that_names_the_graph(model: Path, fake):
    fake("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    said = parser.parse(model, [], time_limit=60)
    assert said.run.accepted is None
    assert [finding.rule for finding in said.findings] == ["parser-crash"]
    assert "signal 11" in said.findings[0].reason
    assert str(model) in said.findings[0].reason


def test_hanging_parser_is_ended_at_the_limit(model: Path, fake):
    fake("import time; time.sleep(600)")
    said = parser.parse(model, [], time_limit=0.5)
    assert said.run.accepted is None
    assert "took more than 0.5 s" in said.findings[0].reason
    assert said.run.seconds < 20


def test_parser_that_fails_in_python_shows_its_last_line(model: Path, fake):
    fake("raise RuntimeError('out of luck')")
    said = parser.parse(model, [], time_limit=60)
    assert said.findings[0].severity == "error"
    assert "out of luck" in said.findings[0].reason


def test_package_that_does_not_start_is_a_reason_and_no_finding(model: Path, fake):
    fake("raise ImportError('libtensorrt_rtx.so.1: cannot open shared object file')")
    said = parser.parse(model, [], time_limit=60)
    assert said.findings == ()
    assert "libtensorrt_rtx.so.1" in (said.run.reason or "")


def test_absent_package_leaves_the_rules_and_says_so(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parser, "util", SimpleNamespace(find_spec=lambda name: None))
    broken = graph(images(conv("x", "y", axis=1)))
    report = find_linter("trt").lint(broken, model, time_limit=60)
    assert [finding.rule for finding in report.findings] == ["weight-axis"]
    assert report.parser.accepted is None
    assert "not installed" in (report.parser.reason or "")


def test_working_directory_cannot_shadow_what_the_parser_imports(
    model: Path, fake, monkeypatch: pytest.MonkeyPatch
):
    fake("raise ImportError('as expected')")
    (model.parent / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(model.parent)
    assert "as expected" in (parser.parse(model, [], time_limit=60).run.reason or "")


def test_message_loses_the_missing_gpu_and_the_assertion():
    said = "bd: input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8"
    assert readable(CUDA) == said
    assert readable("Assertion failed: check(x): Non-zero zero point.") == "Non-zero zero point."
    assert readable("Parser.cpp:12: Make sure input x has Int64 binding.").startswith("Make sure")
    assert readable('convert(t, &k) && "Unsupported data type!"') == "Unsupported data type!"
    assert readable('(mode == "a") && "Only `a`."') == "Only `a`."
    assert readable("false") == ""


def test_error_at_an_unnamed_node_is_told_by_its_place():
    error = {"code": "UNSUPPORTED_NODE", "text": "false", "index": 1, "operator": "Det", "node": ""}
    nodes = list(ir.from_onnx_text(DET).graph)
    finding = finding_of_error(error, nodes)
    assert finding.node == "(unnamed Det that writes d)"
    assert finding.rule == "unsupported-operator"
    assert "determinant" in finding.fix
    assert finding.found_by == ("parser",)


def test_place_of_another_operator_names_no_node():
    # The error is inside a function that the node calls, or the file has its nodes out of order.
    error = {"code": "UNSUPPORTED_NODE", "text": "false", "index": 0, "operator": "Det", "node": ""}
    finding = finding_of_error(error, list(ir.from_onnx_text(DET).graph))
    assert finding.node is None
    own = UNSUPPORTED.at(ir.node("Det", [], name="inside"), "TensorRT has no Det")
    (both,) = merged([own], (finding,))
    assert (both.node, both.found_by) == ("inside", ("rules", "parser"))
    other = UNSUPPORTED.at(ir.node("Unique", [], name="other"), "TensorRT has no Unique")
    assert len(merged([other], (finding,))) == 2


def test_every_warning_is_kept_and_none_is_told_twice():
    said = ["Make sure input a has Int64 binding.", "Make sure input b has Int64 binding."]
    found = merged([], tuple(finding_of_warning(text) for text in [*said, said[0]]))
    assert [finding.reason.split()[-4] for finding in found] == ["a", "b"]
    assert {finding.found_by for finding in found} == {("parser",)}


def test_unknown_messages_are_passed_on():
    error = {"code": "INTERNAL_ERROR", "text": "no idea", "index": -1, "operator": "", "node": ""}
    finding = finding_of_error(error, [])
    assert (finding.rule, finding.node, finding.severity) == ("parser", None, "error")
    assert "no idea" in finding.reason
    assert finding_of_warning("how odd").severity == "note"


def test_unnamed_nodes_and_local_functions_are_linted(tmp_path: Path):
    text = """<ir_version: 10, opset_import: ["" : 20, "local" : 1]>
    g (float[64,32] x) => (float[64,32] y) { a = Relu(x)
     y = local.f(a) }
    <domain: "local", opset_import: ["" : 20]>
    f (v) => (d) { d = Det(v) }"""
    report = find_linter("trt").lint(ir.from_onnx_text(text), tmp_path / "none", time_limit=60)
    own = [finding for finding in report.findings if "rules" in finding.found_by]
    assert [(f.rule, f.operator) for f in own] == [("unsupported-operator", "Det")]


def test_answer_is_plain_json(model: Path, tmp_path: Path, fake, monkeypatch):
    from exporters.lint.trt import child

    monkeypatch.setattr(child, "_leave_no_core", lambda: None)  # not for this process
    fake("raise ImportError('no such thing')")
    child.main(str(model), str(tmp_path / "answer"))
    assert "no such thing" in json.loads((tmp_path / "answer").read_text())["unavailable"]
