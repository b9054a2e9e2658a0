"""A figure for every output by itself, so that none hides behind another."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.evaluation.fidelity import sums_of
from compressor.evaluation.metrics.agreement import share_alike
from compressor.evaluation.metrics.base import BASELINE, RESULT, FloatArray, predictions
from compressor.evaluation.metrics.cosine import METRIC as COSINE
from compressor.evaluation.metrics.residual import METRIC as RESIDUAL
from compressor.evaluation.metrics.residual import error_and_change, nearest_input
from compressor.evaluation.outputs import paired_outputs
from compressor.evaluation.ruin import departs
from compressor.evaluation.seen import SeenOutput
from compressor.evaluation.views import only
from compressor.evaluation.yardstick import Yardstick, relative_metric
from compressor.graph.tensors import Array
from compressor.results.measurements import OutputResult
from exporters.base import Runner

_UNITS = {"agreement": "%"}


def output_results(
    runners: Mapping[str, Runner], data: CalibrationSet, batch: int, yardstick: Yardstick
) -> tuple[OutputResult, ...]:
    """Every output of the result against the original's, in one pass.

    Args:
        runners: Original and result as `BASELINE` and `RESULT`.
        data: Samples that judge.
        batch: Samples per inference.
        yardstick: What is known of the outputs.
    """
    names = [one.name for one in yardstick.seen.outputs]
    sums = {
        one.name: _Sums(one, relative_metric(one, yardstick.roles) if one.floating else "agreement")
        for one in yardstick.seen.outputs
        if one.misfit is None
    }
    for step, outputs in predictions(only(runners, names), data, batch):
        for name, own in sums.items():
            if name in outputs[RESULT]:
                own.add(step, outputs[BASELINE][name], outputs[RESULT][name])
    return tuple(_told(one, sums.get(one.name), yardstick) for one in yardstick.seen.outputs)


def _told(output: SeenOutput, sums: "_Sums | None", yardstick: Yardstick) -> OutputResult:
    is_primary = output.name == yardstick.primary
    role = "primary" if is_primary else "state" if output.name in yardstick.roles.states else None
    found = OutputResult(name=output.name, role=role or "output", reason=output.misfit)
    if sums is None:
        return found
    value, metric = sums.value(), sums.metric
    finite = value is not None and np.isfinite(value)
    reason = None if finite else f"{metric} has no finite value: the outputs hold NaN or infinity"
    if not finite and metric == "r2":
        reason = "the original's output does not vary over these samples, and the result's errs"
    return found.model_copy(
        update={
            "metric": metric,
            "unit": _UNITS.get(metric, ""),
            "value": value if finite else None,
            "departs": finite and departs(metric, value or 0.0),
            "reason": reason,
        }
    )


@dataclass
class _Sums:
    """Sums behind one output's figure, added up batch by batch.

    `first` and `second` are of the reference and its squares: those of each element, by how many
    elements a sample has, as calls may differ in length.
    """

    output: SeenOutput
    metric: str
    scores: list[FloatArray] = field(default_factory=list)
    error: float = 0.0
    count: int = 0
    values: int = 0
    first: dict[int, FloatArray] = field(default_factory=dict)
    second: dict[int, FloatArray] = field(default_factory=dict)

    def add(self, step: Batch, original: Array, result: Array) -> None:
        """One batch."""
        samples = len(step)
        if not self.output.floating:
            pair = [array.reshape(samples, -1) for array in (original, result)]
            self.scores.append(share_alike(pair[0], pair[1])[:, 0])
            return
        if self.metric == "residual":
            before = nearest_input(step.inputs, original)
            if before is not None:
                self.scores.append(error_and_change(original, result, before))
            return
        for left, right in paired_outputs({"y": original}, {"y": result}, samples, self.metric):
            found = sums_of(left, right)
            if self.metric == "cosine":
                self.scores.append(COSINE.units(found)[:, 0])
                continue
            self.error += float(found.error.sum())
            self.count += samples
            self.values += left.size
            exact, size = np.where(np.isfinite(left), left, 0).astype(np.float64), left.shape[1]
            for sums, power in ((self.first, exact), (self.second, exact**2)):
                sums[size] = sums.get(size, 0.0) + power.sum(axis=0)

    def value(self) -> float | None:
        """The figure of all batches; None where there was none."""
        if self.metric == "residual":
            return float(RESIDUAL.aggregate(np.concatenate(self.scores))) if self.scores else None
        if self.metric not in ("r2", "mse"):
            scale = 100 if self.metric == "agreement" else 1
            return scale * float(np.concatenate(self.scores).mean()) if self.scores else None
        if not self.count:
            return None
        if self.metric == "mse":
            return self.error / self.values
        spread, squares = self._spread(), sum(float(sums.sum()) for sums in self.second.values())
        if spread > 1e-12 * squares:
            return 1 - self.error / spread
        return 1.0 if self.error == 0 else -np.inf

    def _spread(self) -> float:
        """Σ (r - mean)²: of each element's mean, or of all values' where samples differ in size."""
        if len(self.first) == 1:
            ((first, second),) = zip(self.first.values(), self.second.values(), strict=True)
            return float(np.sum(second - np.square(first) / self.count))
        total, squares = (
            sum(float(sums.sum()) for sums in which.values()) for which in (self.first, self.second)
        )
        return squares - total**2 / self.values
