"""What a loop generates before and after, with the same seeds, for a person to look at."""

from dataclasses import dataclass

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.pictures import side_by_side
from compressor.graph.tensors import Array
from compressor.pipelines.loop import SEED
from compressor.results.report import GeneratedUnit
from exporters.base import Runner

SHOWN = 8
"""Units that are shown, the worst."""
LOOKED_AT = 256
"""Units that they are chosen from, at most."""
_WORDS = 32
"""Numbers of a row that are shown."""


@dataclass(frozen=True)
class _Seen:
    seed: int
    error: float
    before: Array
    after: Array


def worst_units(
    original: Runner, result: Runner, data: CalibrationSet, output: str
) -> tuple[GeneratedUnit, ...]:
    """The units that differ most, by ‖y - ŷ‖ / ‖y‖, or by the share of numbers that differ.

    Args:
        original: The loop on the graphs as captured.
        result: The loop on what ships.
        data: Seeds.
        output: What is looked at of a unit.
    """
    worst: list[_Seen] = []
    for batch in data.take(LOOKED_AT).batches(1):
        before, after = (runner.run(batch.inputs)[output][0] for runner in (original, result))
        seed = int(np.asarray(batch.inputs[SEED]).reshape(-1)[0])
        worst.append(_Seen(seed, _error(before, after), before, after))
        worst = sorted(worst, key=lambda one: -one.error)[:SHOWN]
    return tuple(_shown(one) for one in worst)


def _error(before: Array, after: Array) -> float:
    if before.shape != after.shape or before.dtype.kind not in "fiub":
        return 1.0
    if before.dtype.kind != "f":
        return float(np.mean(before != after))
    exact = before.astype(np.float64)
    norm = float(np.linalg.norm(exact))
    apart = float(np.linalg.norm(exact - after.astype(np.float64)))
    return apart / norm if norm else apart


def _shown(one: _Seen) -> GeneratedUnit:
    """An image of both, or both rows of numbers with where they part."""
    if one.before.ndim == 1 and one.before.dtype.kind in "iu":
        shared = min(len(one.before), len(one.after))
        apart = np.flatnonzero(one.before[:shared] != one.after[:shared])
        same_length = len(one.before) == len(one.after)
        first = int(apart[0]) if len(apart) else None if same_length else shared
        return GeneratedUnit(
            seed=one.seed,
            error=one.error,
            before=_row(one.before),
            after=_row(one.after),
            parts_at=first,
        )
    return GeneratedUnit(seed=one.seed, error=one.error, image=side_by_side(one.before, one.after))


def _row(array: Array) -> str:
    told = " ".join(str(int(number)) for number in array[:_WORDS])
    return told if len(array) <= _WORDS else f"{told} … ({len(array):,} numbers)"
