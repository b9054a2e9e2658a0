"""Kinds of units: by the places in which their error lies, and what else they have in common."""

import numpy as np
import pytest

from compressor.pipelines.clusters import LEAST, Seen, clusters
from compressor.pipelines.profiles import SEGMENTS, error_of, profile_of, words_of
from compressor.results.pipeline import GeneratedUnit


def shown(seed: int) -> GeneratedUnit:
    return GeneratedUnit(seed=seed, error=0.0)


def rows(seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A row whose first or last tenth is wrong, by its class; half of them are as they were."""
    rng = np.random.default_rng(seed)
    row, kind = rng.standard_normal(200).astype(np.float32), seed % 2
    noise = np.zeros(200, np.float32)
    if seed % 4 < 2:
        noise[slice(0, 20) if kind else slice(180, 200)] = rng.standard_normal(20)
    return {"y": row, "kind": np.int64(kind)}, {"y": row + noise, "kind": np.int64(kind)}


def test_units_that_err_in_the_same_places_are_of_one_kind():
    seen = [Seen.of(seed, *rows(seed), "y") for seed in range(100)]
    found = clusters(seen, shown)
    assert len(found) == 2
    assert sum(one.units for one in found) == 25
    assert sum(one.share for one in found) == pytest.approx(1.0)
    for one in found:
        kind = one.example.seed % 2
        where, value = one.common
        assert (" from 0 to " if kind else " to 100 % of the length") in where, where
        assert value.startswith(f"kind is {kind} in {one.units} of {one.units}")


def test_units_that_are_alike_are_not_torn_apart():
    def alike(seed):
        rng = np.random.default_rng(seed)
        image = rng.standard_normal((3, 16, 16)).astype(np.float32)
        noise = 0.1 * rng.standard_normal((3, 16, 16)).astype(np.float32)
        noise[:, 8:] = 0
        return {"y": image}, {"y": image + noise}

    (found,) = clusters([Seen.of(seed, *alike(seed), "y") for seed in range(40)], shown)
    assert found.units == 10
    (where,) = found.common
    assert "100 % of the error lies in the upper half" in where


def test_too_few_units_have_no_kinds():
    seen = [Seen.of(seed, *rows(4 * seed), "y") for seed in range(LEAST - 1)]
    assert clusters(seen, shown) == ()
    same = [Seen.of(seed, {"y": np.ones(9)}, {"y": np.ones(9)}, "y") for seed in range(40)]
    assert clusters(same, shown) == ()


def test_rows_of_other_lengths_and_texts_have_places_too():
    short, long = np.array([1, 2, 3]), np.array([1, 2, 4, 5])
    assert error_of(short, long) == 0.5
    found = profile_of(short, long)
    assert found is not None
    assert np.flatnonzero(found).tolist() == [SEGMENTS // 2, 3 * SEGMENTS // 4]
    text = np.array("a cat sat")
    assert words_of(text) == ["a", "cat", "sat"]
    assert error_of(text, np.array("a dog sat")) == pytest.approx(1 / 3)
    assert profile_of(np.zeros((2, 2)), np.zeros((3, 2))) is None


def test_one_unit_that_is_like_no_other_is_no_kind():
    def odd(seed):
        row, noise = np.ones(160), np.full(160, 0.1)
        noise[: 80 if seed else 10] = 0
        noise[80 if seed else 10 :] *= 1 if seed else 5
        return {"y": row}, {"y": row + noise}

    seen = [Seen.of(seed, *odd(seed), "y") for seed in range(8)]
    (found,) = clusters(seen, shown)
    assert found.units == 8
