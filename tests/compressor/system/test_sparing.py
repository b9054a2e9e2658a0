"""What only explains never costs the artifact: each such stage is broken, and the run goes on."""

import json
from pathlib import Path

import numpy as np
import pytest
from graphs import residual

from compressor import Recipe, compress
from compressor.errors import DataError
from compressor.graph.files import save_model
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.results.report import Report
from compressor.system.sparing import spared

RECIPE = Recipe(
    quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=4),
    measure=MeasureOptions(seconds=0.1),
)


def _failing(error: BaseException):
    def fail(*given: object, **named: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no such axis\nand more"), "an internal error (ValueError: no such axis)"),
        (RecursionError(), "an internal error (RecursionError)"),
        (MemoryError(), "out of memory"),
        (DataError("no samples", hint="Pass some."), "no samples"),
    ],
)
def test_a_failure_becomes_its_reason(error: Exception, said: str):
    assert spared(_failing(error), lambda reason: reason) == said
    assert spared(lambda: 3, lambda reason: 4) == 3


def test_an_interrupt_is_no_failure():
    with pytest.raises(KeyboardInterrupt):
        spared(_failing(KeyboardInterrupt()), lambda reason: reason)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A short run whose account is whole."""
    configurations = "compressor.search.measure.configurations"
    from compressor.search import measure

    kept = measure.configurations
    monkeypatch.setattr(configurations, lambda *of: kept(*of)[:1])

    def compressed() -> tuple[Path, Report]:
        save_model(residual(), tmp_path / "net.onnx")
        data = np.random.default_rng(3).standard_normal((40, 32, 8, 8)).astype(np.float32)
        report = compress(
            tmp_path / "net.onnx", calibration={"x": data}, recipe=RECIPE, output=tmp_path / "out"
        )
        written = Report.model_validate_json((tmp_path / "out" / "report.json").read_text())
        assert written == report
        return tmp_path / "out", report

    return compressed


def test_every_stage_that_explains_may_fail(run, monkeypatch: pytest.MonkeyPatch):
    broken = {
        "compressor.commands.final_measurements.explained_once": "measure layers",
        "compressor.commands.final_measurements.measure_changed": "compare decisions",
        "compressor.commands.final_measurements.measure_memory": "measure memory",
        "compressor.commands.account.placement": None,
        "compressor.search.precision.latency_placement.region_results": "tell regions",
        "compressor.report.html.region_rows": "report.html: regions",
        "compressor.report.html.layers_view": "report.html: layers",
        "compressor.report.html.frontier": "report.html: frontier",
        "compressor.report.html.waterfall": "report.html: stages",
        "compressor.report.html.plots.latency_distribution": "report.html: latency",
        "compressor.report.files.render_markdown": "report.md",
    }
    for place in broken:
        monkeypatch.setattr(place, _failing(ValueError("no such axis")))
    out, report = run()
    graph = report.graphs["model"]
    why = "an internal error (ValueError: no such axis)"
    assert graph.layers_reason == graph.changed_reason == graph.memory_reason == why
    assert graph.placement == ()
    told = " ".join(report.notices)
    missing = [stage for stage in broken.values() if stage and f"{stage} failed" not in told]
    assert missing in ([], ["tell regions"]), "regions are told where there are several"
    manifest = json.loads((out / "manifest.json").read_text())
    assert {"model.onnx", "plan.json", "report.json", "report.html"} <= set(manifest["files"])
    assert "no such axis" in (out / "report.html").read_text()
    assert (out / "report.md").read_text().startswith("This page could not be made: an internal")


def test_a_page_that_cannot_be_made_says_so(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compressor.commands.final_measurements.measure_memory", lambda pair: None)
    monkeypatch.setattr("compressor.report.files.render_html", _failing(OSError("<no> template")))
    out, report = run()
    assert "report.html failed" in report.notices[-1]
    assert "&lt;no&gt; template" in (out / "report.html").read_text()
    assert (out / "report.md").read_text().startswith("## ")


def test_what_the_result_rests_on_still_ends_the_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "compressor.commands.final_measurements.measure_scores",
        _failing(ValueError("no such axis")),
    )
    with pytest.raises(ValueError, match="no such axis"):
        run()
    assert not (tmp_path / "out").exists()
