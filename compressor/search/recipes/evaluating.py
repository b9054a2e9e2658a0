"""One trial: made, and measured with growing effort for as long as that may still be worth it.

First what costs nothing: the time that the kernel model predicts, against the limits. Then the plan
is made, its file written, and the loss measured on a first part of the samples; a recipe whose loss
is too large there, or that a finished trial beats in everything, for certain, is stopped. Only then
comes the rest. Nothing is raced: races are of the front alone, in a phase of their own.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from scipy import stats

from calibration.dataset import CalibrationSet
from compressor.errors import CompressorError
from compressor.evaluation.acceptance import loss_bound
from compressor.evaluation.memory import peak_memory
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric, Scores
from compressor.graph.session import is_refusal, words
from compressor.results.front import Found
from compressor.results.measurements import QualityResult
from compressor.results.records import Interval
from compressor.search.acceptance import Judge, scores_of
from compressor.search.measure import told
from compressor.search.recipes.folds import Validation
from compressor.search.recipes.front import Values, dominates
from compressor.search.recipes.limits import Limit, violations
from compressor.search.recipes.making import Made, Maker, Outline
from compressor.search.recipes.ownership import machine_words
from compressor.search.recipes.variables import Point
from compressor.system.scratch import scratch

BUDGET = "max-drop"
"""Name of the constraint that --max-drop makes."""


class UnmakeableError(Exception):
    """A point of the space that gives no graph, and why."""


@dataclass(frozen=True)
class Yardsticks:
    """What trials are held to.

    Attributes:
        metric: What quality is measured in.
        baseline: The original's value on the samples that are searched on.
        objectives: What is minimized, in order.
        limits: Limit → the most, in the units of its objective.
        allowed: The loss that the budget allows; None without one.
        by_bound: Whether a bound of the loss has to keep it, and not the loss itself.
    """

    metric: Metric
    baseline: float
    objectives: tuple[str, ...]
    limits: Mapping[Limit, float] = field(default_factory=dict)
    allowed: float | None = None
    by_bound: bool = False

    def values(self, found: Found) -> dict[str, float]:
        """Objective → value, of what is known."""
        known = {
            "latency": None if found.predicted_ms is None else found.predicted_ms / 1e3,
            "quality": found.loss,
            "size": found.file_bytes,
            "memory": found.memory_bytes,
        }
        return {name: float(v) for name, v in known.items() if v is not None and math.isfinite(v)}

    def estimated(self, found: Found) -> Values | None:
        """The objectives as far as a trial came that was stopped; None where one is unknown."""
        values = self.values(found)
        whole = all(name in values for name in self.objectives)
        return tuple(values[name] for name in self.objectives) if whole else None

    def scored(self, found: Found) -> tuple[Values | None, dict[str, float]]:
        """The objectives of a finished trial, and by what share it exceeds which limit."""
        values = self.values(found)
        # Of every trial the same constraints, as GP asks for: what is not known is not exceeded.
        violated = {str(limit): 0.0 for limit in self.limits}
        violated |= {} if self.allowed is None else {BUDGET: 0.0}
        violated |= violations(list(self.limits), values, self.limits)
        if self.allowed is not None and found.loss is not None:
            decides = found.loss
            if self.by_bound:
                decides = math.inf if found.loss_bound is None else found.loss_bound
            over = decides - self.allowed
            violated[BUDGET] = min(over / self.allowed if self.allowed > 0 else over, 1e6)
        return (self.estimated(found) if found.stopped is None else None), violated


@dataclass
class Evaluator:
    """Evaluates points.

    Attributes:
        maker: Makes their plans.
        judge: Runs original and candidate.
        held: What they are held to.
        samples: All samples that are searched on.
        parts: The same in parts, in the order in which they judge.
        validation: Whether those are folds.
    """

    maker: Maker
    judge: Judge
    held: Yardsticks
    samples: CalibrationSet
    parts: tuple[CalibrationSet, ...]
    validation: Validation

    def outlined(self, point: Point) -> tuple[Outline, str]:
        """What a point makes, and its digest.

        Raises:
            UnmakeableError: It gives no graph.
        """
        try:
            outline = self.maker.outline(point)
        except CompressorError as error:
            raise UnmakeableError(error.message) from error
        return outline, digest_of(outline)

    def evaluated(
        self, outline: Outline, key: str, front: Iterable[Values]
    ) -> tuple[Found, Made | None]:
        """What is found of an outline, and what it made; None where it was not worth it.

        Args:
            outline: What is to be made.
            key: Its digest.
            front: Objectives of the feasible trials that have finished.

        Raises:
            UnmakeableError: It gives no graph.
        """
        timer = self.maker.shared.session.timer
        began = timer.now()
        try:
            found, made = self._evaluated(outline, list(front))
        except CompressorError as error:
            raise UnmakeableError(error.message) from error
        except Exception as error:
            if not is_refusal(error):
                raise
            raise UnmakeableError(f"the runtime refuses it: {words(error)}") from error
        update = {"seconds": timer.now() - began, "machine": machine_words(), "key": key}
        return found.model_copy(update=update), made

    def _evaluated(self, outline: Outline, front: list[Values]) -> tuple[Found, Made | None]:
        found = Found(predicted_ms=_ms(outline.seconds))
        if reason := self._over_limit(found):
            return found.model_copy(update={"stopped": f"the kernel model: {reason}"}), None
        made = self.maker.made(outline)
        found = found.model_copy(update={"predicted_ms": _ms(made.seconds)})
        found = self._with_size(found, made)
        if reason := self._over_limit(found):
            return found.model_copy(update={"stopped": reason}), made
        return self._with_loss(found, made, front), made

    def _over_limit(self, found: Found) -> str | None:
        """Which limit is exceeded; None where all hold so far."""
        _, violated = self.held.scored(found)
        over = {name: share for name, share in violated.items() if share > 0 and name != BUDGET}
        if not over:
            return None
        worst = max(over, key=lambda name: over[name])
        return f"{100 * over[worst]:.0f} % above {worst}"

    def _with_size(self, found: Found, made: Made) -> Found:
        """The artifact's file, and what a process takes that runs it, where those count."""
        counted = {*self.held.objectives, *(limit.objective for limit in self.held.limits)}
        if not counted & {"size", "memory"}:
            return found
        size, peak = self.room(made.outcome.shipped, peak="memory" in counted)
        return found.model_copy(update={"file_bytes": size, "memory_bytes": peak})

    def room(self, model: ir.Model, *, peak: bool) -> tuple[int, int | None]:
        """Bytes of a graph's file, and the peak of a process that runs it where that is asked for.

        Raises:
            CompressorError: The peak could not be measured.
        """
        session = self.maker.shared.session
        with scratch() as name:
            built = session.target.draft(session.prepared.as_shipped(model), Path(name))
            size = built.file_bytes
            if not peak:
                return size, None
            target, threads = session.target.name, session.deciding.threads
            found = peak_memory(built.model, session.feeds(), target=target, threads=threads)
        if found.bytes is None:
            raise CompressorError(f"its memory could not be measured: {found.reason}")
        return size, found.bytes

    # Quality, part by part.

    def _with_loss(self, found: Found, made: Made, front: Sequence[Values]) -> Found:
        model, parts, seen = made.outcome.shipped, self.parts, list[Scores]()
        for index, part in enumerate(parts):
            seen.append(scores_of(self.judge, self.held.metric, model, part))
            if index == 0 and len(parts) > 1:
                reason = self._hopeless(found, seen[0], front)
                if reason is not None:
                    first = self._measured(found, seen[:1], len(part))
                    return first.model_copy(update={"stopped": reason})
        if self.validation.folds == 1 and len(parts) > 1:
            joined = joined_scores(seen)
            metric, whole = self.held.metric, self.samples
            seen = [scores_of(self.judge, metric, model, whole) if joined is None else joined]
        return self._measured(found, seen, len(self.samples))

    def _hopeless(self, found: Found, scores: Scores, front: Sequence[Values]) -> str | None:
        """Why nothing can come of a recipe after the first part of the samples."""
        least = self._least_loss(scores)
        if least is None or "memory" in self.held.objectives:
            return None
        if self.held.allowed is not None and least > self.held.allowed:
            return f"after {scores.samples} samples the loss is above the budget for certain"
        hopeful = {**self.held.values(found), "quality": max(0.0, least)}
        best = tuple(hopeful.get(name, 0.0) for name in self.held.objectives)
        if any(dominates(other, best) for other in front):
            return f"after {scores.samples} samples another trial beats it for certain"
        return None

    def _least_loss(self, scores: Scores) -> float | None:
        """The one-sided 95 % lower bound of the loss; None where there is none."""
        before, after = scores.units[BASELINE], scores.units[RESULT]
        seed = self.maker.shared.recipe.seed
        gain = loss_bound(self.held.metric, after, before, seed=seed)
        return None if gain is None or not math.isfinite(gain) else -gain

    def _measured(self, found: Found, seen: Sequence[Scores], samples: int) -> Found:
        metric, seed = self.held.metric, self.maker.shared.recipe.seed
        joined = seen[0] if len(seen) == 1 else joined_scores(seen)
        quality = None
        yardstick = self.judge.yardstick
        assert yardstick is not None, "a metric is of a yardstick"
        if joined is not None:
            (quality,) = told([(metric, joined)], yardstick, "searched on", seed)
        losses = [_loss(metric, one) for one in seen]
        update = {"quality": quality, "samples": samples}
        if len(seen) > 1:
            return found.model_copy(update={**update, **_over_folds(losses)})
        scores = seen[0]
        bound = loss_bound(metric, scores.units[BASELINE], scores.units[RESULT], seed=seed)
        loss = losses[0] if math.isfinite(losses[0]) else None
        usable = bound is not None and math.isfinite(bound) and scores.samples >= scores.least
        return found.model_copy(
            update={
                **update,
                "loss": loss,
                "loss_bound": bound if usable else None,
                "loss_interval": _as_loss(quality),
            }
        )


def digest_of(outline: Outline) -> str:
    """Digest of all that an outline makes."""
    units = outline.units
    removed: list[object] = []
    if units is not None:
        keep = units.selection.allocation.keep.items()
        masks = [[name, np.flatnonzero(mask).tolist()] for name, mask in sorted(keep)]
        removed = [list(units.base.short.removed), masks]
    said = {
        name: value
        for name, value in outline.recipe.items()
        if name not in ("prune", "blocks", "round", "widths", "regions", "precision")
        and not name.startswith("region:")
    }
    parts = [outline.precision, sorted(outline.chosen.items()), removed, sorted(said.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def joined_scores(seen: Sequence[Scores]) -> Scores | None:
    """Scores of several parts as of all; None where the metric has no value per sample."""
    first = seen[0]
    if any(one.blocks or one.noun != "sample" for one in seen):
        return None
    units = {name: np.concatenate([one.units[name] for one in seen]) for name in first.units}
    return replace(first, units=units, samples=sum(one.samples for one in seen))


def _loss(metric: Metric, scores: Scores) -> float:
    sign = 1.0 if metric.higher_is_better else -1.0
    before, after = (float(metric.aggregate(scores.units[name])) for name in (BASELINE, RESULT))
    return sign * (before - after)


def _over_folds(losses: Sequence[float]) -> dict[str, object]:
    """Mean over folds with Student's interval and one-sided bound, k - 1 degrees of freedom."""
    if not all(map(math.isfinite, losses)):
        return {"loss": None}
    count, mean = len(losses), float(np.mean(losses))
    error = float(np.std(losses, ddof=1)) / math.sqrt(count)
    two, one = (float(stats.t.ppf(level, count - 1)) for level in (0.975, 0.95))
    interval = Interval(low=mean - two * error, high=mean + two * error)
    return {"loss": mean, "loss_interval": interval, "loss_bound": mean + one * error}


def _as_loss(quality: QualityResult | None) -> Interval | None:
    """The interval of the difference as one of the loss."""
    if quality is None or quality.interval is None:
        return None
    found = quality.interval
    if not quality.higher_is_better:
        return found
    return Interval(low=-found.high, high=-found.low, level=found.level)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds
