"""Robust accuracy: the share of samples that stay right under every attack that was tried.

    robust_accuracy = 100 · mean(argmax f(x) = y, and argmax f(x + δ) = y for each δ), ‖δ‖∞ ≤ radius

δ are those of FGSM and PGD by the model's own gradients and, for a result, by the original's as
well (`compressor.training.attacks`). Each has a metric beside it. They bound from one side: a
stronger attack may find more. Transferred attacks alone would take pruning for a defence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.attacked import ATTACKS, COLUMNS, TRANSFERRED, Attacked, Attacker
from compressor.evaluation.classification import Classes, ClassificationMetric, ranks
from compressor.evaluation.metrics.base import FloatArray, Metric, Scores
from exporters.base import Runner


@dataclass(frozen=True, eq=False)
class RobustAccuracy(ClassificationMetric):
    """Hits among samples after attacks.

    Attributes:
        name: As the user calls it.
        columns: Under which attacks a sample has to stay right.
        attacked: Makes and keeps the attacks; None before it is known how far they may go.
    """

    name: str = "robust_accuracy"
    columns: tuple[str, ...] = COLUMNS
    attacked: Attacked | None = None
    unit = "%"
    proportion: ClassVar[bool] = True
    needs_gradients: ClassVar[bool] = True

    @property
    def settings(self) -> str | None:
        """Which attacks, and how far they may go."""
        return None if self.attacked is None else self.attacked.attacker.words

    def under(self, attacker: Attacker) -> tuple[Metric, ...]:
        """This metric with attacks, and one for each attack by itself."""
        attacked = Attacked(attacker)
        beside = [RobustAccuracy(f"{name}_accuracy", (name,), attacked) for name in ATTACKS]
        beside += [
            RobustAccuracy(f"{TRANSFERRED}_{name}_accuracy", (f"{name} {TRANSFERRED}",), attacked)
            for name in ATTACKS
        ]
        return RobustAccuracy(attacked=attacked), *beside

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Attack every model, and count what stays right.

        Raises:
            DataError: There are no labels, or they are not class numbers of these scores.
            UsageError: The output is not (samples, classes), or there are no attacks.
        """
        if self.attacked is None:
            raise UsageError(
                f"metric {self.name} attacks the inputs of one model by its gradients, and a loop "
                "over several has none",
                hint="Measure each graph by itself, or choose another metric.",
            )
        found = self.attacked.hits(self.name, runners, data, batch)
        places = [COLUMNS.index(column) for column in self.columns]
        units = {
            name: hits[:, places].min(axis=1, keepdims=True)
            for name, hits in found.by_runner.items()
        }
        reasons = {n: r for n, r in found.reasons.items() if np.isnan(units[n]).any()}
        return Scores(units, "labels", len(data), reasons=reasons)

    def units(self, scores: FloatArray, labels: Classes) -> FloatArray:
        """1 for a hit without an attack, (b, 1)."""
        return np.asarray(ranks(scores, labels) == 0, dtype=np.float64)[:, None]

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · mean."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))


METRIC = RobustAccuracy()
