"""`compress lint` and `compressor.lint` on graphs of others and of ours."""

import json
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from click.testing import CliRunner, Result
from graphs import residual
from quantized import conv, graph, images, qdq, rows
from rich.console import Console

import compressor
from calibration.dataset import open_dataset
from compressor.cli.main import cli
from compressor.commands.lint import require_clean
from compressor.errors import CheckpointError, LintError, UsageError
from compressor.graph import files
from compressor.graph.files import save_model
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.report.terminal_lint import findings
from exporters.base import find_target
from exporters.lint.base import LintReport, ParserRun
from exporters.lint.trt import rules

HAS_PARSER = util.find_spec("tensorrt_rtx") is not None


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="compress")


def saved(model: ir.Model, folder: Path) -> Path:
    path = folder / "net.onnx"
    save_model(model, path)
    return path


def counted(report: LintReport, severity: str = "error") -> dict[str, int]:
    names = [finding.rule for finding in report.findings if finding.severity == severity]
    return {name: names.count(name) for name in names}


def shown(report: LintReport, encoding: str = "utf-8") -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(findings(report))
    return capture.get()


def test_clean_graph_exits_0_and_says_who_looked(tmp_path: Path):
    done = run("lint", saved(graph(images(conv("x", "y"))), tmp_path), "--target", "trt")
    assert done.exit_code == 0, done.output
    assert "nothing to tell in 4 nodes" in done.stdout
    if HAS_PARSER:
        assert "accepts the graph" in done.stdout
    else:
        assert "Rules only: tensorrt_rtx is not installed" in done.stdout


def test_errors_exit_5_with_node_reason_and_fix(tmp_path: Path):
    done = run("lint", saved(graph(images(conv("x", "y", axis=1))), tmp_path))
    assert done.exit_code == 5
    assert "convw (DequantizeLinear): its scales run along axis 1" in " ".join(done.stdout.split())
    assert "→ Scale per output channel" in done.stdout
    assert "1 error" in done.stderr


def test_json_is_the_report_and_nothing_else(tmp_path: Path):
    done = run("lint", saved(graph(images(conv("x", "y", axis=1))), tmp_path), "--json")
    assert done.exit_code == 5
    report = LintReport.model_validate_json(done.stdout)
    assert report.schema_version == 1
    assert [(f.rule, f.node) for f in report.findings] == [("weight-axis", "convw")]
    assert json.loads(done.stdout)["parser"]["package"] == "tensorrt_rtx"


def test_warnings_exit_0_unless_strict(tmp_path: Path):
    path = saved(graph(rows("[a] r = Relu(x)\n[a] y = Neg(r)")), tmp_path)
    assert run("lint", path, "--quiet").exit_code == 0
    done = run("lint", path, "--quiet", "--strict")
    assert done.exit_code == 5
    assert done.stdout == ""


def test_notes_never_fail(tmp_path: Path):
    path = saved(graph(rows("y = Relu(x)", count="n")), tmp_path)
    done = run("lint", path, "--strict")
    assert done.exit_code == 0, done.output
    assert "input 'x' is dynamic: [n,32]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lint", "missing.onnx"], "missing.onnx"),
        (["lint", "text.onnx"], "expected an ONNX model"),
        (["lint", "tiny.onnx", "--target", "ort"], "no linter for the target 'ort'"),
        (["lint", "tiny.onnx", "--time-limit", "0"], "--time-limit"),
    ],
)
def test_mistakes_exit_2_with_advice(arguments, words: str, tiny_model: Path, monkeypatch):
    monkeypatch.chdir(tiny_model.parent)
    Path("text.onnx").write_text("no model")
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert not Path("tiny-trt").exists()


def test_lint_takes_paths_and_models_in_memory(tmp_path: Path):
    model = graph(images(conv("x", "y", axis=1)))
    path = saved(model, tmp_path)
    before = path.read_bytes()
    reports = [
        compressor.lint(path, target="trt"),
        compressor.lint(str(path)),
        compressor.lint(model),
        compressor.lint(ir.to_proto(model)),
    ]
    assert {report.findings for report in reports} == {reports[0].findings}
    assert reports[0].model == str(path)
    assert reports[2].model == "g"
    assert path.read_bytes() == before


def test_lint_of_what_is_no_model_or_has_no_linter(tiny_model: Path):
    with pytest.raises(CheckpointError):
        compressor.lint(tiny_model.with_name("missing.onnx"))
    with pytest.raises(UsageError, match="Choose one of: trt"):
        compressor.lint(tiny_model, target="tflite")


def test_require_clean_raises_for_errors(tmp_path: Path):
    report = compressor.lint(graph(images(conv("x", "y", axis=1))))
    with pytest.raises(LintError, match="1 error"):
        require_clean(report)
    require_clean(compressor.lint(graph(images(conv("x", "y")))), strict=True)


def test_linting_loads_neither_torch_nor_onnxruntime(tiny_model: Path):
    code = (
        f"import sys, compressor; compressor.lint({str(tiny_model)!r});"
        "print(sorted({'torch', 'onnxruntime', 'tensorrt_rtx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HOSTILE = "\x1b[2J[red]evil[/red]\n\u202egnp"


def test_hostile_names_are_shown_escaped_and_kept_in_json(tmp_path: Path):
    model = graph(images(conv("x", "y", axis=1)))
    next(node for node in model.graph if node.name == "convw").name = HOSTILE
    next(node for node in model.graph if node.name == "conv").name = "\x07\x9b31m"
    report = compressor.lint(saved(model, tmp_path))
    text = shown(report)
    assert not any(c != "\n" and not c.isprintable() for c in text)
    assert r"\x1b[2J[red]evil[/red]\n\u202egnp (DequantizeLinear)" in text
    assert json.loads(report.model_dump_json())["findings"][0]["node"] == HOSTILE


def test_many_nodes_of_one_rule_are_told_once():
    body = "".join(qdq(f"x{i}" if i else "x", f"x{i + 1}", f"n{i}") for i in range(5))
    report = compressor.lint(graph(rows(f"{body}y = Neg(x5)"), z=np.array(0, np.uint8)))
    text = shown(report)
    assert counted(report) == {"uint8": 10}
    assert text.count("TensorRT reads its uint8") == 3
    assert "and 7 more" in text


def test_report_without_a_parser_gives_the_reason():
    run_ = ParserRun(package="tensorrt_rtx", reason="tensorrt_rtx is not installed")
    text = shown(LintReport(model="m", target="trt", nodes=1, parser=run_))
    assert "Rules only: tensorrt_rtx is not installed." in text


def test_every_rule_is_documented():
    guide = (Path(__file__).parents[3] / "docs" / "lint.md").read_text()
    modules = {sys.modules[rule.__module__] for rule in rules.RULES}
    named = {
        value.name
        for module in modules
        for value in vars(module).values()
        if type(value).__name__ == "Rule"
    }
    assert len(named) > 20
    assert [name for name in sorted(named) if f"| `{name}` |" not in guide] == []


@pytest.fixture(scope="module")
def by_onnxruntime(tmp_path_factory: pytest.TempPathFactory):
    """The residual network as `quantize_static` makes it, with given options."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    folder = tmp_path_factory.mktemp("ort")
    save_model(residual(), folder / "float.onnx")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            rng = np.random.default_rng(0)
            shape = (2, 32, 8, 8)
            self.batches = [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(2)]

        def get_next(self):
            return self.batches.pop() if self.batches else None

    def quantize(name: str, **options) -> Path:
        path = folder / f"{name}.onnx"
        quantization.quantize_static(folder / "float.onnx", path, Reader(), **options)
        return path

    return quantize


def test_quantize_static_by_default_is_rejected_and_explained(by_onnxruntime):
    report = compressor.lint(by_onnxruntime("default"))
    assert set(counted(report)) == {"zero-point", "int32-bias"}
    assert counted(report)["int32-bias"] == 3  # two convolutions and the Gemm
    assert counted(report, "warning") == {"residual-add": 1}
    told_by_parser_alone = [f for f in report.findings if f.found_by == ("parser",)]
    assert told_by_parser_alone == []
    if HAS_PARSER:
        assert report.parser.accepted is False


def test_quantize_static_symmetric_with_float_bias_is_accepted(by_onnxruntime):
    from onnxruntime.quantization import QuantType

    options = {"ActivationSymmetric": True, "QuantizeBias": False}
    path = by_onnxruntime(
        "symmetric", per_channel=True, activation_type=QuantType.QInt8, extra_options=options
    )
    report = compressor.lint(path)
    assert counted(report) == {}
    assert counted(report, "warning") == {"residual-add": 1}
    notes = {"dynamic-shapes", "quantized-output", "unaligned-channels"}  # ten classes
    assert set(counted(report, "note")) == notes
    if HAS_PARSER:
        assert report.parser.accepted is True


def test_quantize_static_uint8_symmetric_is_read_wrongly(by_onnxruntime):
    from onnxruntime.quantization import QuantFormat, QuantType

    path = by_onnxruntime("uint8", activation_type=QuantType.QUInt8)
    assert {"uint8", "zero-point", "int32-bias"} == set(counted(compressor.lint(path)))
    path = by_onnxruntime("qlinear", quant_format=QuantFormat.QOperator)
    report = compressor.lint(path)
    lacking = {f.operator for f in report.findings if f.rule == "unsupported-operator"}
    assert lacking == {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"}


def test_our_own_graph_for_onnx_runtime_is_rejected_and_explained():
    policy = find_target("ort").policy("host")
    values = np.random.default_rng(0).normal(size=(8, 32, 8, 8)).astype(np.float32)
    model = residual()
    options = CalibrationOptions("minmax", batch=4)
    chosen = calibrate(model, open_dataset({"x": values}), policy, options)
    ours = quantize_static(model, chosen.integer, chosen.ranges, policy, weight_bits=8)
    report = compressor.lint(ours)
    assert set(counted(report)) == {"zero-point", "uint8", "int32-bias"}
    assert counted(report)["int32-bias"] == 3
    if HAS_PARSER:
        assert report.parser.accepted is False
        assert [f for f in report.findings if f.found_by == ("parser",)] == []


def test_message_too_large_to_serialize_is_linted_with_its_weights_beside_it(
    monkeypatch: pytest.MonkeyPatch,
):
    def refuses(path: Path, data: bytes) -> int:
        raise ValueError(f"{path.name}: {len(data)} bytes are too many")

    proto = ir.to_proto(graph(images(conv("x", "y", axis=1))))
    monkeypatch.setattr(files, "PROTOBUF_LIMIT", 0)
    monkeypatch.setattr(Path, "write_bytes", refuses)
    report = compressor.lint(proto, target="trt")
    assert [finding.rule for finding in report.findings] == ["weight-axis"]
    assert report.parser.accepted in (True, None)


def test_a_result_of_several_graphs_names_one_of_them(tmp_path: Path):
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.onnx").touch()
    with pytest.raises(CheckpointError, match="is a folder") as told:
        compressor.lint(tmp_path)
    assert str(tmp_path / "unet" / "model.onnx") in str(told.value.hint)
