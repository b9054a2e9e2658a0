"""Arrays on disk, a batch after the other."""

from pathlib import Path

import numpy as np
import pytest

from calibration.dataset import CalibrationSet
from calibration.preprocess import Preprocess
from calibration.sources.spooled import Spool, SpooledSource
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec

SPECS = (
    TensorSpec("h", np.dtype(np.float32), ("n", 3)),
    TensorSpec("ids", np.dtype(np.int64), ("n", 2)),
)


def test_what_is_spooled_comes_back_in_parts(tmp_path: Path) -> None:
    h, ids = np.arange(30, dtype=np.float32).reshape(10, 3), np.arange(20).reshape(10, 2)
    spool = Spool(tmp_path)
    for start in range(0, 10, 4):
        spool.add({"h": h[start : start + 4], "ids": ids[start : start + 4]})
    arrays = spool.close()
    assert arrays["h"].shape == (10, 3)
    np.testing.assert_array_equal(arrays["h"].rows(3, 5), h[3:5])
    made = CalibrationSet(SpooledSource(arrays, 2, 9), Preprocess(), "calibration").bind(SPECS)
    assert len(made) == 7
    found = list(made.batches(4))
    np.testing.assert_array_equal(np.concatenate([b.inputs["h"] for b in found]), h[2:9])
    np.testing.assert_array_equal(np.concatenate([b.inputs["ids"] for b in found]), ids[2:9])


def test_samples_of_two_sizes_are_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add({"h": np.zeros((2, 3), np.float32)})
    with pytest.raises(DataError, match="takes samples of one size") as found:
        spool.add({"h": np.zeros((2, 4), np.float32)})
    assert found.value.hint
    spool.close()


def test_a_file_that_ends_early_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.add({"h": np.zeros((2, 3), np.float32)})
    arrays = spool.close()
    arrays["h"].path.write_bytes(b"1234")
    with pytest.raises(DataError, match="ends early"):
        arrays["h"].rows(0, 2)
