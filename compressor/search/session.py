"""What decisions about speed and quality are measured with."""

from dataclasses import dataclass

import onnx_ir as ir

from compressor.checkpoint.prepare import Prepared
from compressor.evaluation.racing import on_one_thread, race
from compressor.graph.tensors import Arrays
from compressor.recipe.recipe import Recipe
from compressor.results.format import threads
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.search.measure import beyond_memory, configurations
from compressor.system.progress import Progress
from exporters.base import Target

AGAIN = 2
"""How often a decision is raced again where its interval is too wide to decide anything."""


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
        return configurations(self.recipe, self.prepared)[0]

    def feeds(self) -> Arrays:
        """One inference of the deciding configuration."""
        return self.prepared.timed(self.deciding, self.recipe.seed)

    def unmeasurable(self, *models: ir.Model) -> str | None:
        """Why the speed of these models side by side is not measured; None where it is."""
        return self.target.unmeasurable() or beyond_memory(self.recipe, *models)

    def untimed(self, *models: ir.Model) -> str:
        """Why a race of these models came to nothing."""
        return self.unmeasurable(*models) or "the machine was too busy to time it"

    def race(
        self, baseline: ir.Model, challenger: ir.Model, *, seconds: float, again: int = AGAIN
    ) -> LatencyResult | None:
        """Both models in turn, in the deciding configuration.

        On a machine too busy for several threads, on one: that can always be timed.

        Args:
            baseline: What is compared with.
            challenger: What may be faster.
            seconds: How long to measure at most, unless it has to be raced again.
            again: How often to race again where the interval decides nothing.

        Returns:
            A race whose ratio is known; None where nothing can be timed.
        """
        if self.unmeasurable(baseline, challenger) is not None:
            return None
        found = self._raced(baseline, challenger, self.deciding, seconds, again)
        if not found.is_known and self.deciding.threads != 1:
            self.progress.notice(
                f"{threads(self.deciding.threads)} could not be timed, as others use the machine: "
                "it is decided on one thread"
            )
            one = on_one_thread(self.deciding)
            found = self._raced(baseline, challenger, one, seconds, again)
        return found if found.is_known else None

    def _raced(
        self,
        baseline: ir.Model,
        challenger: ir.Model,
        config: LatencyConfig,
        seconds: float,
        again: int,
    ) -> LatencyResult:
        before, after = map(self.prepared.as_shipped, (baseline, challenger))
        return race(
            lambda: self.target.open(before, threads=config.threads),
            lambda: self.target.open(after, threads=config.threads),
            self.prepared.timed(config, self.recipe.seed),
            config,
            deciding=True,
            seconds=seconds,
            again=again,
        )
