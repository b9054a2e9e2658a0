"""Which seeds serve which purpose."""

import numpy as np
import pytest

from calibration.dataset import CalibrationSet
from compressor.commands.loop_job import CONFIRMATIONS, SEEDS, Units
from compressor.pipelines.loop import SEED


def seeds(data: CalibrationSet) -> set[int]:
    return {int(seed) for step in data.batches(7) for seed in step.inputs[SEED]}


@pytest.mark.parametrize("base", [0, 3, 2**31])
def test_units_of_other_seeds_serve_nothing_else(base: int):
    units = Units(base, 20, 8)
    purposes = [0, 1, 2, CONFIRMATIONS - 1, *range(CONFIRMATIONS, CONFIRMATIONS + 10)]
    own = [seeds(units.of(block, 20)) for block in purposes]
    others = [seeds(units.reseeded(units.of(block, 20))) for block in purposes]
    together = set().union(*own, *others)
    assert len(together) == 2 * 20 * len(purposes)
    assert all(0 <= seed < SEEDS for seed in together)


def test_a_part_of_the_units_has_a_part_of_the_others():
    units = Units(0, 20, 8)
    found = units.reseeded(units.of(1, 20).take(5))
    assert seeds(found) < seeds(units.reseeded(units.of(1, 20)))
    assert np.all([len(step) for step in found.batches(5)] == [5])
