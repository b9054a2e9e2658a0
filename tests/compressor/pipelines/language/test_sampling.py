"""The next token: the likeliest, or drawn from those that are allowed, by one number."""

import numpy as np
import pytest

from compressor.pipelines.language.sampling import next_token

ODDS = np.array([0.1, 0.4, 0.05, 0.25, 0.2])


def shares(draws: int = 4000, **options: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    found = [next_token(np.log(ODDS), rng, **options) for _ in range(draws)]
    return np.bincount(found, minlength=5) / draws


def test_without_a_temperature_it_is_the_likeliest():
    assert next_token(np.log(ODDS), np.random.default_rng(0)) == 1
    assert next_token(np.full(4, np.nan), np.random.default_rng(0), temperature=1) == 0


def test_tokens_are_drawn_by_their_softmax():
    np.testing.assert_allclose(shares(temperature=1), ODDS, atol=0.03)
    cold = ODDS**2 / (ODDS**2).sum()
    np.testing.assert_allclose(shares(temperature=0.5), cold, atol=0.03)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"top_k": 2}, [1, 3]),
        ({"top_p": 0.5}, [1, 3]),
        ({"top_p": 0.4}, [1]),
        ({"top_p": 0.84}, [1, 3, 4]),
        ({"top_k": 3, "top_p": 0.8}, [1, 3, 4]),
        ({"top_k": 9}, [0, 1, 2, 3, 4]),
    ],
)
def test_only_the_likeliest_are_drawn(options: dict[str, float], kept: list[int]):
    wanted = np.zeros(5)
    wanted[kept] = ODDS[kept] / ODDS[kept].sum()
    np.testing.assert_allclose(shares(temperature=1, **options), wanted, atol=0.03)


def test_each_draw_takes_one_number():
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    next_token(np.log(ODDS), rng, temperature=1, top_p=0.5)
    other.random()
    assert rng.random() == other.random()
