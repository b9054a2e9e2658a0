"""Samplers by name, each with a seed of its trial."""

import pytest

from compressor.errors import UsageError
from compressor.search.recipes.samplers import SAMPLERS, require_sampler, sampler_of, seed_of

pytest.importorskip("optuna")


def test_a_seed_is_of_the_search_and_of_the_trial() -> None:
    seeds = {seed_of(seed, index) for seed in range(3) for index in range(50)}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize("name", [one for one in SAMPLERS if one not in ("gp", "cmaes")])
def test_every_name_has_a_sampler(name: str) -> None:
    require_sampler(name, 2)
    assert hasattr(sampler_of(name, 3, several=False), "sample_independent")


def test_a_sampler_says_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="optimizes one objective, and 2 are given"):
        require_sampler("cmaes", 2)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cmaes", None)
    with pytest.raises(UsageError, match="needs the package cmaes") as found:
        require_sampler("cmaes", 1)
    assert "compressor[search]" in str(found.value.hint)
