"""What candidates lose, where no budget says how much they may: measured, shown, nothing more.

No decision rests on it, so that the samples may be among those that judge the result.
"""

from dataclasses import dataclass

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.prepare import Prepared
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import QualityResult
from compressor.search.measure import scores_of, told
from exporters.base import Target

SAMPLES = 512
"""Samples on which candidates are measured, at most."""


@dataclass(frozen=True)
class Gauge:
    """A few samples and how to score on them.

    Attributes:
        recipe: Which metric, and the seed.
        data: The samples.
        words: Where they come from, for the report.
    """

    recipe: Recipe
    data: CalibrationSet
    words: str

    def measured(
        self, prepared: Prepared, target: Target, candidate: ir.Model
    ) -> QualityResult | None:
        """A candidate against the original; None where no metric fits.

        Raises:
            DataError: The metric needs labels that the data does not have.
        """
        yardstick = prepared.yardstick
        if yardstick is None or not yardstick.metrics:
            return None
        metric, batch = yardstick.metrics[0], prepared.fixed_batch or self.recipe.quantize.batch
        scores = scores_of(metric, prepared.model, candidate, target, self.data, batch, yardstick)
        return told([(metric, scores)], yardstick, self.words, self.recipe.seed)[0]


def gauge(recipe: Recipe, data: CalibrationSet | None, words: str) -> Gauge | None:
    """A gauge of some of the samples that judge; None where there are none.

    Args:
        recipe: Which metric, and the seed by which the samples are drawn.
        data: What judges the result.
        words: Where that comes from.
    """
    if data is None or len(data) == 0:
        return None
    if len(data) <= SAMPLES:
        return Gauge(recipe, data, words)
    few, _ = data.split(SAMPLES / len(data), recipe.seed)
    return Gauge(recipe, few, f"{words}, {len(few):,} of {len(data):,}")
