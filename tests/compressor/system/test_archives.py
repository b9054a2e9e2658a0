"""Archives that would become far more than they are."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from calibration.stats import CalibrationStats
from compressor.checkpoint.kinds import find_kind
from compressor.errors import CheckpointError, DataError
from compressor.system import archives


def archive(path: Path, size: int, name: str = "m/data.pkl") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, bytes(size))
    return path


def test_an_archive_that_unpacks_to_far_more_than_weights_do_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "SMALL", 2**16)
    with pytest.raises(CheckpointError, match="would become 1,048,576"):
        find_kind(archive(tmp_path / "bomb.pt", 2**20))
    with pytest.raises(DataError, match="would become 1,048,576"):
        CalibrationStats.load(archive(tmp_path / "bomb.npz", 2**20, "document.npy"))
    assert find_kind(archive(tmp_path / "small.pt", 2**16)) == "torch archive"


def test_what_weights_pack_to_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 0)
    weights = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    np.savez_compressed(tmp_path / "w.npz", weights=weights, zeros=np.zeros(1000, np.float32))
    assert find_kind(tmp_path / "w.npz") == "numpy"
