"""What a built-in loop reads: each purpose has samples of its own."""

import numpy as np
import pytest

from calibration.preprocess import Preprocess
from compressor.errors import DataError
from compressor.pipelines.samples import Samples

DATA = np.arange(20).reshape(20, 1)


def samples(calibration=DATA, evaluation=None) -> Samples:
    return Samples(calibration, evaluation, Preprocess(), 0)


def drawn(one: Samples, seeds: range) -> list[int]:
    return [int(one.of(seed)["input"][0]) for seed in seeds]


def test_purposes_share_no_sample():
    one = samples()
    calibrating, *judging = (range(start, start + 1000) for start in (0, 1000, 5000, 9000))
    one.deal(calibrating, judging)
    assert one.most_distinct() == 5
    parts = [drawn(one, range(r.start, r.start + 5)) for r in (calibrating, *judging)]
    assert sorted(one for part in parts for one in part) == list(range(20))
    assert drawn(one, range(1005, 1010)) == drawn(one, range(1000, 1005))


def test_calibration_and_evaluation_are_kept_apart():
    one = samples(DATA, DATA + 100)
    one.deal(range(10), [range(10, 20), range(20, 30)])
    assert one.most_distinct() == 10
    assert max(drawn(one, range(10))) < 20
    judged = drawn(one, range(10, 30))
    assert sorted(judged) == list(range(100, 120))


def test_before_purposes_are_said_a_seed_has_a_sample():
    one = samples()
    assert sorted(drawn(one, range(7, 27))) == list(range(20))
    assert drawn(one, range(7, 8)) == drawn(one, range(27, 28))


def test_fewer_samples_than_purposes_are_shared():
    one = samples(DATA[:2])
    one.deal(range(10), [range(10, 20), range(20, 30)])
    assert one.most_distinct() == 0
    assert set(drawn(one, range(25, 30))) <= {0, 1}


def test_calls_of_other_lengths_are_samples_too():
    one = samples([{"input_ids": np.ones((1, n), np.int64)} for n in (3, 5, 4)])
    assert sorted(one.of(seed)["input_ids"].shape for seed in range(3)) == [(3,), (4,), (5,)]


def test_data_that_is_not_there_is_told():
    assert not samples(None).given
    with pytest.raises(DataError, match="there is no such file"):
        samples("nowhere.npz").of(0)
