import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from compressor.errors import OutputError
from compressor.system import output_folder
from compressor.system.output_folder import (
    beside,
    is_ours,
    prepare,
    put_back,
    reseal,
    write_manifest,
    written_aside,
)


def write(directory: Path, text: str) -> None:
    with written_aside(directory) as folder:
        (folder / "model.onnx").write_text(text)
        write_manifest(folder, {"seed": 0})


def test_result_replaces_the_earlier_one_whole(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    (out / "stale").write_text("left over")
    write(out, "two")
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "model.onnx"]
    assert (out / "model.onnx").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_earlier_result_is_replaced_in_one_step(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("one")
    else:
        write(out, "one")
    if not exchangeable(tmp_path):
        pytest.skip("system or file system cannot exchange two folders")

    def rename(path: Path, target: Path) -> Path:
        raise AssertionError(f"{path} is missing for a moment")

    monkeypatch.setattr(Path, "rename", rename)
    write(out, "two")
    assert (out / "model.onnx").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def exchangeable(folder: Path) -> bool:
    if sys.platform != "linux":
        return False
    one, other = folder / "one", folder / "other"
    one.mkdir()
    other.write_text("")
    done = output_folder._exchanged(one, other)
    assert one.is_file() == done
    assert other.is_dir() == done
    output_folder._remove(one)
    output_folder._remove(other)
    return done


def test_where_nothing_can_be_exchanged_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(output_folder, "_exchanged", lambda one, other: False)
    test_result_replaces_the_earlier_one_whole(tmp_path)


def test_what_cannot_be_exchanged_stays(tmp_path: Path):
    write(tmp_path / "out", "one")
    assert not output_folder._exchanged(tmp_path / "out", tmp_path / "missing")
    assert (tmp_path / "out" / "model.onnx").read_text() == "one"


def test_failure_leaves_the_earlier_result(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    with pytest.raises(KeyboardInterrupt), written_aside(out) as folder:
        (folder / "model.onnx").write_text("half")
        raise KeyboardInterrupt
    assert (out / "model.onnx").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_swap_killed_between_its_renames_is_repaired(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    out.rename(beside(out, "old"))
    beside(out, "new").mkdir()
    prepare(out, force=False)
    assert (out / "model.onnx").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_folder_that_is_there_is_not_put_back(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    out.rename(beside(out, "old"))
    write(out, "two")
    put_back(out)
    assert (out / "model.onnx").read_text() == "two"


def test_swap_killed_before_clearing_up_keeps_the_new(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    out.rename(beside(out, "old"))
    write(out, "two")
    prepare(out, force=False)
    assert (out / "model.onnx").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_foreign_folder_is_left_alone_without_force(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="was not written by this tool") as error:
        prepare(out, force=False)
    assert "--force" in str(error.value)
    assert (out / "thesis.tex").exists()
    prepare(out, force=True)


def test_file_in_the_way_is_left_alone(tmp_path: Path):
    out = tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(OutputError):
        prepare(out, force=False)
    assert out.read_text() == "a file"


def test_empty_folder_may_be_used(tmp_path: Path):
    (tmp_path / "out").mkdir()
    prepare(tmp_path / "out", force=False)


def test_manifest_holds_the_hash_of_every_file(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    assert is_ours(out)
    text = (out / "manifest.json").read_text()
    assert "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed" in text


@pytest.mark.parametrize("files", [["model.onnx"], [{"name": "model.onnx"}], "model.onnx", None])
def test_damaged_manifest_is_named(files: object, tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    damaged = json.dumps({"format": "compressor/1", "files": files})
    (out / "manifest.json").write_text(damaged)
    for use in (is_ours, lambda out: reseal(out, ["model.onnx"]), partial(prepare, force=False)):
        with pytest.raises(OutputError, match=r"manifest\.json is damaged: expected its 'files'"):
            use(out)
    assert (out / "manifest.json").read_text() == damaged
    prepare(out, force=True)


def test_file_of_the_user_in_our_folder_is_not_lost(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    prepare(out, force=False)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        prepare(out, force=False)
    prepare(out, force=True)


@pytest.mark.parametrize("where", [".", "..", "/"])
def test_folder_above_the_work_is_never_replaced(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="working directory"):
        prepare(Path(where), force=True)


def test_folder_of_an_input_is_never_replaced(tmp_path: Path):
    out = tmp_path / "out"
    write(out, "one")
    with pytest.raises(OutputError, match=r"holds the input .*model\.onnx"):
        prepare(out, force=True, inputs=[out / "model.onnx"])


def test_two_runs_into_one_folder_do_not_share_what_they_write(tmp_path: Path):
    out, other = tmp_path / "out", beside(tmp_path / "out", f"new-{os.getppid()}")
    other.mkdir()
    (other / "model.onnx").write_text("of a run that is at work")
    prepare(out, force=False)
    write(out, "mine")
    assert (other / "model.onnx").read_text() == "of a run that is at work"
    assert (out / "model.onnx").read_text() == "mine"


def test_what_a_killed_run_left_is_removed(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = [beside(tmp_path / "out", name) for name in ("new", f"new-{ended.pid}")]
    near = beside(tmp_path / "out", "newer-things")
    for folder in (*left, near):
        folder.mkdir()
    prepare(tmp_path / "out", force=False)
    assert list(tmp_path.iterdir()) == [near]
