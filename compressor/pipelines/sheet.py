"""What a loop generates before and after, with the same seeds, for a person to look at."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.pictures import side_by_side
from compressor.evaluation.spectrograms import is_sound, spectrograms
from compressor.graph.tensors import Array
from compressor.pipelines.clusters import Seen, clusters
from compressor.pipelines.loop import SEED
from compressor.pipelines.profiles import error_of, is_row, words_of
from compressor.results.pipeline import GeneratedUnit, UnitCluster
from exporters.base import Runner

SHOWN = 8
"""Units that are shown, the worst."""
LOOKED_AT = 256
"""Units that they are chosen from, at most."""
_WORDS = 32
"""Words or numbers of a row that are shown."""
_BEFORE = 8
"""Of these, in front of the first difference."""

Unit = Mapping[str, Array]


@dataclass(frozen=True)
class Sheet:
    """Units that differ most, and what kinds of them there are."""

    worst: tuple[GeneratedUnit, ...]
    clusters: tuple[UnitCluster, ...]


def sheet(original: Runner, result: Runner, data: CalibrationSet, output: str) -> Sheet:
    """The units that differ most.

    That is by ‖y - ŷ‖ / ‖y‖, or by the share of numbers or words that differ.

    Args:
        original: The loop on the graphs as captured.
        result: The loop on what ships.
        data: Seeds.
        output: What is looked at of a unit.
    """
    seen: list[Seen] = []
    worst: list[tuple[float, GeneratedUnit]] = []

    def both(seed: int) -> tuple[Unit, Unit]:
        feeds = {SEED: np.array([seed], np.int64)}
        one, other = (runner.run(feeds) for runner in (original, result))
        return {n: a[0] for n, a in one.items()}, {n: a[0] for n, a in other.items()}

    for batch in data.take(LOOKED_AT).batches(1):
        seed = int(np.asarray(batch.inputs[SEED]).reshape(-1)[0])
        before, after = both(seed)
        seen.append(Seen.of(seed, before, after, output))
        if len(worst) < SHOWN or seen[-1].error > worst[-1][0]:
            worst.append((seen[-1].error, shown(seed, before, after, output)))
            worst = sorted(worst, key=lambda one: -one[0])[:SHOWN]
    kinds = clusters(seen, lambda seed: shown(seed, *both(seed), output))
    return Sheet(tuple(unit for _, unit in worst), kinds)


def shown(seed: int, before: Unit, after: Unit, output: str) -> GeneratedUnit:
    """An image of both, or spectrograms, or both rows with where they part.

    Where a loop returns texts beside what is looked at, they are what is shown.
    """
    one, other = before[output], after[output]
    error = error_of(one, other)
    if is_sound(output, one, before) and is_sound(output, other, after):
        return GeneratedUnit(seed=seed, error=error, image=spectrograms(one, other), sound=True)
    texts = [name for name, array in before.items() if array.dtype.kind in "OSU"]
    if is_row(one) or texts:
        name = output if one.dtype.kind in "OSU" or not texts else texts[0]
        return _parted(seed, error, words_of(before[name]), words_of(after[name]))
    return GeneratedUnit(seed=seed, error=error, image=side_by_side(one, other))


def _parted(seed: int, error: float, before: list[str], after: list[str]) -> GeneratedUnit:
    """Two rows around the first place where they differ."""
    apart = (at for at, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    same_length = len(before) == len(after)
    first = next(apart, None if same_length else min(len(before), len(after)))
    start = (
        0 if first is None or max(len(before), len(after)) <= _WORDS else max(0, first - _BEFORE)
    )
    return GeneratedUnit(
        seed=seed,
        error=error,
        before=_window(before, start),
        after=_window(after, start),
        parts_at=first,
        marked=None if first is None else first - start + (1 if start else 0),
    )


def _window(row: list[str], start: int) -> str:
    told = ["…"] if start else []
    told += row[start : start + _WORDS]
    if len(row) > start + _WORDS:
        told.append(f"… ({len(row):,} in all)")
    return " ".join(told)
