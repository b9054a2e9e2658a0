"""Outputs of a loop in which nothing could differ are refused."""

import numpy as np
import pytest

from compressor.errors import UsageError
from compressor.pipelines.judgeable import require_judgeable

FINE = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("array", "said"),
    [(np.full((2, 3), np.nan), "has no finite number"), (np.ones((2, 0)), "is empty")],
)
def test_what_decides_has_to_have_numbers(array: np.ndarray, said: str):
    with pytest.raises(UsageError, match=f"'image' {said}"):
        require_judgeable("generate", {"image": array}, "image")
    with pytest.raises(UsageError, match=said):
        require_judgeable("generate", {"image": array}, None)
    assert require_judgeable("generate", {"image": array, "other": FINE}, "other")


def test_a_part_that_is_not_finite_is_told():
    half = np.array([[1.0, np.inf, np.nan, 2.0]])
    (said,) = require_judgeable("generate", {"image": half, "text": np.array(["a"])}, None)
    assert said.startswith("50 % of output image")
    assert require_judgeable("generate", {"image": FINE, "n": np.array([1])}, "image") == []
