"""What a loop has to return for what is asked of it."""

import numpy as np
import pytest

from compressor.commands.loop_tracing import require_target, with_own_inputs
from compressor.errors import UsageError
from compressor.pipelines.builtin import find
from compressor.pipelines.loop import Builtin, UserLoop
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe

LOOP = UserLoop(lambda models, seed, count: {}, "generate")
IMAGE = np.zeros((1, 3, 8, 8), np.float32)


@pytest.mark.parametrize("metric", ["top5", "perplexity"])
def test_metrics_of_labels_take_those_that_a_loop_returns(metric: str):
    recipe = Recipe(measure=MeasureOptions(metric=metric))
    with pytest.raises(UsageError, match=f"metric {metric} needs labels.*it returns image") as told:
        require_target(recipe, {"image": IMAGE}, LOOP)
    assert '"target"' in str(told.value.hint)
    require_target(recipe, {"image": IMAGE, "target": np.zeros(1, np.int64)}, LOOP)
    require_target(Recipe(measure=MeasureOptions(metric="psnr")), {"image": IMAGE}, LOOP)


def test_a_built_in_loop_that_can_return_labels_says_how():
    recipe = Recipe(measure=MeasureOptions(metric="perplexity"))
    loop = Builtin(find("text-generation")(calibration=np.zeros((2, 4))), "text-generation")
    with pytest.raises(UsageError, match="needs what would be right") as told:
        require_target(recipe, {"tokens": IMAGE}, loop)
    assert "--pipeline-option teacher_forcing=true" in str(told.value.hint)


def test_inputs_are_declared_for_a_graph_or_for_all():
    """A slash may be part of an input's name, and then names no graph."""
    given = ["unet/x:float32[n,4]", "t:int64[n]", "vae/z:float32[n,2]", "deep/er:float32[n]"]
    recipe = Recipe(
        model={"inputs": given}, graphs={"unet": {"model": "u.pt", "inputs": ["c:float32[n,8]"]}}
    )
    of = {name: with_own_inputs(recipe, name, ("unet", "vae")) for name in ("unet", "vae")}
    common = ("t:int64[n]", "deep/er:float32[n]")
    assert of["unet"].model.inputs == ("x:float32[n,4]", *common, "c:float32[n,8]")
    assert of["vae"].model.inputs == (common[0], "z:float32[n,2]", common[1])
