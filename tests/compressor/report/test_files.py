"""Reports read back from a folder, and their pages written anew."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from graphs import residual

import compressor
from compressor import Recipe, compress, load_report, render_report
from compressor.cli.main import cli
from compressor.errors import OutputError, UsageError
from compressor.graph.files import save_model
from compressor.recipe.measuring import MeasureOptions
from compressor.report.files import pages
from compressor.system.output_folder import beside, prepare, sha256


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(residual(), folder / "net.onnx")
    compress(
        folder / "net.onnx",
        recipe=Recipe(measure=MeasureOptions(seconds=0.05)),
        output=folder / "out",
        command="compress 'my net.onnx'",
    )
    return folder / "out"


@pytest.fixture
def out(written: Path, tmp_path: Path) -> Path:
    """A copy of the folder, moved elsewhere."""
    copy = tmp_path / "moved"
    copy.mkdir()
    for file in written.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def test_pages_come_back_as_the_run_wrote_them(out: Path) -> None:
    before = {name: (out / name).read_bytes() for name in ("report.html", "report.md")}
    model, report = sha256(out / "model.onnx"), sha256(out / "report.json")
    for name in before:
        (out / name).unlink()
    found = render_report(out)
    assert found == load_report(out) == load_report(out / "report.json")
    assert {name: (out / name).read_bytes() for name in before} == before
    assert (sha256(out / "model.onnx"), sha256(out / "report.json")) == (model, report)
    assert "'my net.onnx'" in (out / "report.md").read_text()


def test_the_manifest_seals_the_pages_and_keeps_its_time(out: Path) -> None:
    (out / "report.md").write_text("damaged")
    os.utime(out / "manifest.json", (1_000_000_000, 1_000_000_000))
    render_report(out)
    assert (out / "manifest.json").stat().st_mtime == 1_000_000_000
    manifest = json.loads((out / "manifest.json").read_text())
    present = {path.name for path in out.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == present
    for name in present:
        assert manifest["files"][name]["sha256"] == sha256(out / name)
    prepare(out, force=False)


def test_a_page_that_was_cut_short_does_not_block_the_next_run(out: Path) -> None:
    (out / ".report.html.compress-new").write_text("half a p")
    prepare(out, force=False)


def test_a_damaged_manifest_is_said_before_a_page_is_written(out: Path) -> None:
    (out / "manifest.json").write_text('{"format": "compressor/1", "files": ["report.md"]}')
    (out / "report.md").write_text("as it was")
    done = CliRunner().invoke(cli, ["report", str(out)])
    assert done.exit_code == 2
    assert "manifest.json is damaged" in done.stderr
    assert (out / "report.md").read_text() == "as it was"


def test_a_folder_that_a_killed_swap_moved_away_is_put_back(out: Path) -> None:
    out.rename(beside(out, "old"))
    done = CliRunner().invoke(cli, ["report", str(out), "--quiet"])
    assert done.exit_code == 0, done.output
    prepare(out, force=False)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_folder_without_a_manifest_keeps_what_it_has(out: Path) -> None:
    (out / "manifest.json").unlink()
    render_report(out)
    (out / "report.md").write_text("notes of my own")
    with pytest.raises(OutputError, match=r"report\.md"):
        render_report(out)
    assert (out / "report.md").read_text() == "notes of my own"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "not the report of a run"),
        ('{"schema_version": 2}', "has report schema 2, this version reads 1"),
        ('{"schema_version": 1, "baseline": "a", "result": "b"}', "not the report of a run"),
        ("\udcff", "not JSON"),
    ],
)
def test_what_is_no_report_is_refused(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        text = content.encode("utf-8", "surrogateescape")
        (tmp_path / "report.json").write_bytes(text)
    with pytest.raises(UsageError, match=words):
        render_report(tmp_path)
    done = CliRunner().invoke(cli, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert words in done.stderr
    assert "Traceback" not in done.output
    assert {path.name for path in tmp_path.iterdir()} <= {"report.json"}


def test_the_command_shows_the_summary_where_the_folder_lies_now(out: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(out)])
    assert done.exit_code == 0, done.output
    assert "Float ships" in done.stdout
    assert str(out) in "".join(done.stdout.split()), "a long path is wrapped"
    assert "data:image" not in done.stdout


def test_json_is_the_report_as_it_was_written(out: Path) -> None:
    done = CliRunner().invoke(cli, ["report", str(out), "--json"])
    assert json.loads(done.stdout) == json.loads((out / "report.json").read_text())


def test_every_name_of_the_package_can_be_had() -> None:
    for name in compressor.__all__:
        assert getattr(compressor, name) is not None


def test_pages_name_the_files_that_hold_them(out: Path) -> None:
    report = load_report(out)
    assert set(pages(report, [])) < {Path(path).name for path in report.files.values()}


def test_json_nested_too_deep_is_no_report(out: Path) -> None:
    (out / "report.json").write_text("[" * 200_000)
    with pytest.raises(UsageError, match="is not a report"):
        render_report(out)


def test_the_file_in_place_of_its_folder_is_told(out: Path) -> None:
    with pytest.raises(UsageError, match="expected an output folder, found the file") as caught:
        render_report(out / "report.json")
    assert caught.value.hint == f"Pass {out}."
