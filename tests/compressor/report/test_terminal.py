import io

import pytest
from rich.console import Console, RenderableType

from compressor.report.rows import latency_rows
from compressor.report.terminal import comparison, profile_table, summary
from compressor.results.measurements import Profile, UseResult
from compressor.results.records import Interval
from compressor.results.report import Comparison, Report


def shown(renderable: RenderableType, *, width: int = 80, encoding: str = "utf-8") -> str:
    """What reaches a pipe of that encoding; a character it lacks raises."""
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding), width=width)
    console.print(renderable)
    console.file.flush()
    return raw.getvalue().decode(encoding)


def test_a_summary_is_twenty_lines_of_eighty_columns(int8_report: Report) -> None:
    lines = shown(summary(int8_report)).splitlines()
    assert len(lines) <= 22
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("INT8 ships: 1.56× faster (95 % interval 1.52–1.60)")
    assert lines[-2].split() == ["artifact", "resnet20-ort/model.onnx"]
    assert lines[-1].split() == ["report", "resnet20-ort/report.html"]


def test_every_figure_has_before_after_change_and_interval(int8_report: Report) -> None:
    rows = {tuple(line.split()) for line in shown(summary(int8_report)).splitlines()}
    for row in (
        "batch 1, one thread 4.21 ms 2.70 ms 1.56× faster 1.52–1.60",
        "batch 1, all threads 2.31 ms 2.27 ms 1.01× insignificant 0.97–1.05",
        "batch 32, all threads 66.1 ms 73.9 ms 0.89× slower 0.85–0.93",
        "accuracy 86.95 % 86.80 % −0.15 points −0.50…+0.20",
        "file size 1.09 MB 0.29 MB 3.81× smaller",
        "peak memory 96.4 MB 88.1 MB 1.09× less",
    ):
        assert tuple(row.split()) in rows, row


def test_one_use_of_a_decoder_stands_behind_its_phases(int8_report: Report) -> None:
    use = UseResult(
        prompt=2000,
        new=20,
        baseline_ms=90.0,
        result_ms=30.0,
        ratio=3.0,
        interval=Interval(low=2.8, high=3.2),
        phases={"decode": 2.0, "prefill": 3.5},
    )
    graph = int8_report.graphs["model"].model_copy(update={"use": use})
    labels = [row.label for row in latency_rows(graph)]
    assert labels.index("one use: 2000 tokens read, 20 written") == 2
    row = latency_rows(graph)[2]
    assert (row.before, row.after, row.change, row.tone) == (
        "90.0 ms",
        "30.0 ms",
        "3.00×",
        "better",
    )


def test_losses_notices_and_reasons_are_told(int8_report: Report, float_report: Report) -> None:
    assert "! Slower at batch 32, all threads" in shown(summary(int8_report))
    text = shown(summary(float_report))
    assert "* This CPU has no VNNI" in text
    assert "- quality: no data to measure on; --eval adds it" in text
    assert "- peak memory: the child process was killed" in text
    assert "There is no calibration data; --calib adds it." in text


def test_many_notices_do_not_push_the_rest_away(int8_report: Report) -> None:
    notices = tuple(f"notice {i}" for i in range(9))
    text = shown(summary(int8_report.model_copy(update={"notices": notices})))
    assert "* Notice 4." in text
    assert "* 4 more notices in the report" in text
    assert "Notice 5" not in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_an_output_without_unicode_gets_the_nearest_spelling(
    int8_report: Report, model_profile: Profile, model_comparison: Comparison, encoding: str
) -> None:
    text = shown(summary(int8_report), encoding=encoding)
    assert "1.56x faster (95 % interval 1.52-1.60)" in text
    assert "-0.50..+0.20" in text
    unicode_lines = shown(summary(int8_report)).splitlines()
    assert len(text.splitlines()) == len(unicode_lines)
    named = model_comparison.model_copy(update={"baseline": "модель.onnx"})
    assert ".onnx -> b.onnx" in shown(comparison(named), encoding=encoding)
    shown(profile_table(model_profile), encoding=encoding)


def test_names_are_neither_markup_nor_commands(int8_report: Report) -> None:
    hostile = int8_report.model_copy(
        update={
            "notices": ("[red]loud[/red] \x1b]0;title\x07 [/]",),
            "files": {"model": "[bold]x\x1b[2J"},
        }
    )
    text = shown(summary(hostile))
    assert "[red]loud[/red] \\x1b]0;title\\x07 [/]" in text
    assert "[bold]x\\x1b[2J" in text
    assert "\x1b" not in text


def test_long_paths_are_folded_not_cut(int8_report: Report) -> None:
    path = "/data/" + "deep/" * 30 + "model.onnx"
    text = shown(summary(int8_report.model_copy(update={"files": {"model": path}})))
    assert path in "".join(line.removeprefix(" " * 10).strip() for line in text.splitlines())


def test_each_graph_of_a_job_has_a_table(job_report: Report) -> None:
    lines = shown(summary(job_report)).splitlines()
    assert {"encoder", "decoder"} <= set(lines)
    assert sum(line.startswith("file size") for line in lines) == 2


def test_comparison_names_both_and_their_figures(model_comparison: Comparison) -> None:
    text = shown(comparison(model_comparison))
    assert text.startswith("a.onnx → b.onnx")
    assert "1.56× faster (95 % interval 1.52–1.60) at batch 1, one thread" in text
    assert "ships" not in text
    assert "3.81× smaller" in text


def test_profile_lists_operators_and_slowest_nodes(model_profile: Profile) -> None:
    text = shown(profile_table(model_profile, top=3))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "resnet20.onnx: 4.21 ms" in text
    assert "not measured (the child process was killed)" in " ".join(text.split())
    operators = [" ".join(line.split()) for line in lines]
    assert "Conv 16 3.20 ms 80.0 % 200 M 7.00 MB compute" in operators
    assert "ReorderInput 4 0.800 ms 20.0 % — — —" in operators
    named = [line.split()[0] for line in lines if line.startswith("/layer")]
    assert named == [
        "/layer19/conv/Conv_nchwc",
        "/layer18/conv/Conv_nchwc",
        "/layer17/conv/Conv_nchwc",
    ]
    assert "17 more nodes with" in text
    assert "48.1 GFLOP/s in float" in text


def test_a_profile_shorter_than_the_list_has_no_rest(model_profile: Profile) -> None:
    assert "more node" not in shown(profile_table(model_profile, top=20))
