"""What decisions about speed and quality are measured with."""

from dataclasses import dataclass

import onnx_ir as ir

from compressor.evaluation.latency import compare_latency
from compressor.evaluation.results import LatencyConfig, LatencyResult
from compressor.measure import beyond_memory, configurations
from compressor.prepare import Prepared
from compressor.progress import Progress
from compressor.recipe import Recipe
from exporters.base import Target


@dataclass(frozen=True)
class Bench:
    """What a decision about speed needs: the model, the target, and how to measure."""

    prepared: Prepared
    recipe: Recipe
    target: Target
    progress: Progress

    @property
    def deciding(self) -> LatencyConfig:
        """The deciding configuration; a batch that the graph has baked in goes before it."""
        return configurations(self.recipe, self.prepared.fixed_batch)[0]

    def unmeasurable(self, *models: ir.Model) -> str | None:
        """Why the speed of these models side by side is not measured; None where it is."""
        return self.target.unmeasurable() or beyond_memory(self.recipe, *models)

    def race(
        self, baseline: ir.Model, challenger: ir.Model, *, seconds: float
    ) -> LatencyResult | None:
        """Both models in turn, in the deciding configuration; None where nothing can be timed."""
        if self.unmeasurable(baseline, challenger) is not None:
            return None
        feeds = self.prepared.feeds(self.deciding.batch, self.recipe.seed)
        threads = self.deciding.threads
        with (
            self.target.open(baseline, threads=threads) as slow,
            self.target.open(challenger, threads=threads) as quick,
        ):
            return compare_latency(
                slow,
                quick,
                feeds,
                self.deciding,
                deciding=True,
                seconds=seconds,
                seed=self.recipe.seed,
            )
