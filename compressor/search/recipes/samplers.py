"""Optuna's samplers by the names that users give them.

A sampler's own random state is not in the storage. So each trial has a sampler of its own, seeded
by the seed of the search and the number of trials that were finished before it: what is proposed
depends on nothing else, and a search that was broken off goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from compressor.errors import UsageError
from compressor.recipe.searching import Sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS: tuple[str, ...] = get_args(Sampler)
POPULATION = 12
"""Recipes in a generation of NSGA-II: Optuna's 50 would make a search of 60 trials a random one."""
STARTUP = 12
"""Random trials before a model is made of the others."""
LEARN_FROM_ESTIMATES = frozenset({"nsga2", "gp"})
"""Samplers that pass over trials which were stopped; TPE ranks them behind the others."""
EXTRA = "pip install 'compressor[search]'"


def seed_of(seed: int, index: int) -> int:
    """The seed of one trial: 32 bits of a digest of both numbers."""
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def require_sampler(name: str, objectives: int) -> None:
    """Refuse a sampler that cannot do what is asked, or lacks a package.

    Raises:
        UsageError: Optuna is missing, or what the sampler needs of it.
    """
    try:
        import optuna  # noqa: F401, PLC0415 - only a search loads it
    except ImportError as error:
        raise UsageError(
            f"`compress search` needs optuna, which is not installed: {error}",
            hint=f"{EXTRA} installs it.",
        ) from error
    if name == "cmaes" and objectives > 1:
        raise UsageError(
            f"the sampler cmaes optimizes one objective, and {objectives} are given",
            hint="Pass --objectives latency with --max-drop, say, or --sampler nsga2.",
        )
    needs = {"cmaes": ("cmaes", EXTRA), "gp": ("torch", "pip install 'compressor[torch]'")}
    if name in needs:
        package, remedy = needs[name]
        try:
            __import__(package)
        except ImportError as error:
            raise UsageError(
                f"the sampler {name} needs the package {package}: {error}",
                hint=f"{remedy} installs it, or choose another --sampler.",
            ) from error


def sampler_of(name: str, seed: int, *, several: bool) -> BaseSampler:
    """A fresh sampler.

    Args:
        name: One of `SAMPLERS`; a grid is enqueued point by point, and random beyond its end.
        seed: Of this trial.
        several: Whether other trials are running, whose results it should not wait for.
    """
    from optuna import samplers  # noqa: PLC0415 - only a search loads it

    makers: dict[str, Callable[[], Any]] = {
        "grid": lambda: samplers.RandomSampler(seed=seed),
        "random": lambda: samplers.RandomSampler(seed=seed),
        "tpe": lambda: samplers.TPESampler(
            seed=seed, multivariate=True, n_startup_trials=STARTUP, constant_liar=several
        ),
        "gp": lambda: samplers.GPSampler(seed=seed, n_startup_trials=STARTUP),
        "nsga2": lambda: samplers.NSGAIISampler(seed=seed, population_size=POPULATION),
        "cmaes": lambda: samplers.CmaEsSampler(seed=seed, n_startup_trials=STARTUP // 2),
    }
    found: BaseSampler = makers[name]()
    return found
