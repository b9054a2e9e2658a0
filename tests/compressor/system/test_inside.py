"""Names in files, which must not lead out of their folder."""

from pathlib import Path

import pytest

from compressor.system.inside import file_inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "outside").touch()
    made = tmp_path / "model"
    (made / "deep").mkdir(parents=True)
    (made / "weights").touch()
    (made / "own").symlink_to(made / "weights")
    (made / "link").symlink_to(tmp_path / "outside")
    (made / "up").symlink_to(tmp_path)
    (made / "circle").symlink_to(made / "circle")
    return made


@pytest.mark.parametrize("name", ["weights", "./weights", "deep/not-there", "own", "a..b"])
def test_names_within_are_files(folder: Path, name: str) -> None:
    assert file_inside(folder, name) == folder / name


@pytest.mark.parametrize(
    "name",
    ["", "/etc/hostname", "../outside", "deep/../../outside", "link", "up/outside", "circle",
     "a\0b", "C:\\x", "..\\outside", "\\\\host\\share", "C:x"],
)  # fmt: skip
def test_names_that_lead_out_are_none(folder: Path, name: str) -> None:
    assert file_inside(folder, name) is None


def test_links_of_the_hub_lead_to_the_blobs_of_the_same_model(tmp_path: Path) -> None:
    model, other = tmp_path / "models--a--b", tmp_path / "models--c--d"
    for one in (model, other):
        (one / "blobs").mkdir(parents=True)
        (one / "blobs" / "sha").touch()
    snapshot = model / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/sha")
    (snapshot / "stolen").symlink_to(other / "blobs" / "sha")
    assert file_inside(snapshot, "model.safetensors") is not None
    assert file_inside(snapshot, "stolen") is None
