"""Which samples serve which purpose of a built-in loop."""

import numpy as np
import pytest

from compressor.commands.loop_data import dealt, judging
from compressor.commands.loop_job import Units
from compressor.pipelines.builtin.reconstruct import LOOP
from compressor.pipelines.loop import SEED, Builtin
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe


@pytest.mark.parametrize(("metric", "purposes"), [("psnr", 4), ("inception_score", 4), ("fid", 8)])
def test_units_of_other_seeds_have_samples_of_their_own(metric: str, purposes: int):
    recipe = Recipe(measure=MeasureOptions(metric=metric), budget=BudgetOptions(max_drop="5%"))
    data = {"x": np.arange(80, dtype=np.float32)[:, None]}
    loop = Builtin(LOOP(calibration=data, evaluation=data), "reconstruct")
    units, _ = dealt(loop, Units(0, 50, 8), judging(recipe, 1), recipe, asked=None)
    assert units.count == 80 // purposes

    def samples(block: int, *, again: bool) -> set[float]:
        own = units.of(block, units.count)
        seeds = units.reseeded(own) if again else own
        found = [loop.generate.samples.of(int(s)) for b in seeds.batches(9) for s in b.inputs[SEED]]
        return {float(one["x"][0]) for one in found}

    if purposes == 8:
        parts = [samples(b, again=again) for b in judging(recipe, 1) for again in (False, True)]
        assert sum(map(len, parts)) == len(set().union(*parts)) == 80
