"""What a loop has to return for what is asked of it."""

import numpy as np
import pytest

from compressor.commands.loop_tracing import require_target
from compressor.errors import UsageError
from compressor.recipe.recipe import MeasureOptions, Recipe

IMAGE = np.zeros((1, 3, 8, 8), np.float32)


@pytest.mark.parametrize("metric", ["top5", "perplexity"])
def test_metrics_of_labels_take_those_that_a_loop_returns(metric: str):
    recipe = Recipe(measure=MeasureOptions(metric=metric))
    with pytest.raises(UsageError, match=f"metric {metric} needs labels.*it returns image") as told:
        require_target(recipe, {"image": IMAGE})
    assert '"target"' in str(told.value.hint)
    require_target(recipe, {"image": IMAGE, "target": np.zeros(1, np.int64)})
    require_target(Recipe(measure=MeasureOptions(metric="psnr")), {"image": IMAGE})
