"""Signal to noise along a run."""

import numpy as np
from loops import Doubling

from compressor.pipelines.drift import PARTS, errors_by_part


class Worse(Doubling):
    """Errs by a tenth of the output."""

    factor = 2.2


def test_each_part_has_its_own_ratio():
    ones, zeros = (np.full((1, 2), value, np.float32) for value in (1.0, 0.0))
    found = errors_by_part(Doubling(), Worse(), [{"x": ones}] * 2 + [{"x": zeros}] * 2)
    np.testing.assert_allclose(found[:2], 20.0, atol=1e-4)  # (2 / 0.2)²
    assert found[2:] == (float("inf"), float("inf"))


def test_of_no_calls_there_is_nothing_to_tell():
    assert errors_by_part(Doubling(), Worse(), []) == ()


def test_long_runs_are_told_in_parts():
    calls = [{"x": np.ones((1, 2), np.float32)}] * 100
    assert len(errors_by_part(Doubling(), Worse(), calls)) == PARTS
