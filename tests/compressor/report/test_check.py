"""`compress check`: figures of a finished folder against limits and a stored folder."""

import pytest

from compressor.commands.check import check, require_met
from compressor.errors import BudgetError, UsageError
from compressor.results.measured import UNCHANGED
from compressor.results.report import Report
from compressor.system.output_folder import write_manifest


def folder_of(report: Report, path):
    path.mkdir()
    (path / "report.json").write_text(report.model_dump_json())
    (path / "model.onnx").write_bytes(b"onnx")
    write_manifest(path, {})
    return path


def changed(report: Report, **updates) -> Report:
    graph = report.graphs["model"].model_copy(update=updates)
    return report.model_copy(update={"graphs": {"model": graph}})


@pytest.mark.parametrize(
    ("limits", "met"),
    [
        ({}, True),
        ({"max_drop": "1%", "min_speedup": "1.5x"}, True),  # 86.95 → 86.80 %, 1.56x
        ({"max_drop": "0.1pt"}, False),
        ({"min_speedup": "1.6x"}, False),
    ],
)
def test_figures_are_held_against_limits(int8_report: Report, tmp_path, limits, met) -> None:
    result = check(folder_of(int8_report, tmp_path / "new"), **limits)
    assert result.met is met
    if not met:
        with pytest.raises(BudgetError) as info:
            require_met(result)
        assert info.value.exit_code == 3


def test_a_new_folder_must_not_fall_behind_a_stored_one(int8_report: Report, tmp_path) -> None:
    stored = folder_of(int8_report, tmp_path / "stored")
    same = folder_of(int8_report, tmp_path / "same")
    assert check(same, against=stored).met
    quality = int8_report.graphs["model"].quality
    worse = (quality[0].model_copy(update={"result": 80.0}), *quality[1:])
    behind = folder_of(changed(int8_report, quality=worse), tmp_path / "behind")
    result = check(behind, against=stored)
    assert [one.subject for one in result.checks if not one.met] == ["accuracy"]
    assert check(behind, against=stored, max_drop="10%").met
    larger = int8_report.graphs["model"].result_size.model_copy(update={"file_bytes": 10**9})
    result = check(folder_of(changed(int8_report, result_size=larger), tmp_path / "larger"),
                   against=stored)  # fmt: skip
    assert [one.subject for one in result.checks if not one.met] == ["size"]


def test_an_unchanged_graph_is_as_fast_as_its_baseline(int8_report: Report, tmp_path) -> None:
    same = changed(int8_report, latency=(), latency_reason=UNCHANGED)
    folder = folder_of(same, tmp_path / "same")
    assert check(folder, min_speedup="1x").met
    assert "1.00×, at least 1.50× is asked for" in check(folder, min_speedup="1.5x").text
    untimed = changed(int8_report, latency=(), latency_reason="not measured: no GPU")
    told = check(folder_of(untimed, tmp_path / "untimed"), min_speedup="1x")
    assert "not known: not measured: no GPU" in told.text
    assert not told.met


def test_a_changed_file_and_a_missing_figure_fail(int8_report: Report, tmp_path) -> None:
    folder = folder_of(changed(int8_report, quality=(), quality_reason="no data"), tmp_path / "new")
    (folder / "model.onnx").write_bytes(b"other")
    result = check(folder, max_drop="1%")
    assert [one.met for one in result.checks] == [False, False]
    assert "model.onnx is gone or was changed" in result.text
    assert "not known: no data" in result.text
    with pytest.raises(UsageError, match="cannot be read"):
        check(tmp_path)
