from pathlib import Path

import pytest

from compressor.errors import OutputError
from compressor.output import beside, is_ours, prepare, write_manifest, written_aside


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
