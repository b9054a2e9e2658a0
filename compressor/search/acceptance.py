"""Holds candidates against the budget, and says beforehand what the data can prove.

The samples that judge are divided once, by seed, and class by class where they have labels that
are classes: candidates are compared on one half, and the chosen one is confirmed on the other,
which no search has seen. With as many of each class in both, the halves differ by chance less
than a bound, which takes its samples for independent, allows for.
"""

from dataclasses import dataclass, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.prepare import Prepared
from compressor.errors import RecipeError
from compressor.evaluation.acceptance import Judgement, judge, least_samples
from compressor.evaluation.metrics.base import BASELINE, Metric, Scores
from compressor.evaluation.user_metric import FunctionMetric
from compressor.evaluation.yardstick import Yardstick
from compressor.recipe.budget import Budget
from compressor.recipe.recipe import Recipe
from compressor.results.format import loss_words, plural
from compressor.results.measurements import QualityResult
from compressor.results.report import BudgetResult
from compressor.search.measure import scores_of, told
from exporters.base import Target

METHODS = {
    "bound": "one-sided 95 % upper bound of the paired loss: the score bound for proportions, the "
    "bootstrap elsewhere",
    "point": "the measured loss, taken for the true one (--budget point)",
}
_PLURAL = {"sample": "samples", "batch": "batches"}


@dataclass(frozen=True)
class Judging:
    """The budget and the samples that judge it.

    Attributes:
        budget: What may be lost.
        recipe: How it is accepted, in which metric, with which seed.
        search: Samples that candidates are compared on.
        confirm: Samples that the chosen one is confirmed on.
        words: Where they come from, for the report.
        share: What part of the user's samples `confirm` is.
        metric: What decides; known once the outputs are (`announced`).
        provable: Whether `confirm` could hold the budget if nothing were lost.
        notices: What was said beforehand.
        yardstick: Which outputs the metric looks at; known with the metric.
    """

    budget: Budget
    recipe: Recipe
    search: CalibrationSet
    confirm: CalibrationSet
    words: str
    share: float
    metric: Metric | None = None
    provable: bool = True
    notices: tuple[str, ...] = ()
    yardstick: Yardstick | None = None

    def announced(self, prepared: Prepared, target: Target) -> "Judging":
        """With the metric, and with what is to be said before the search.

        Raises:
            RecipeError: The budget means nothing in this metric.
        """
        yardstick = _required(prepared, self.budget)
        metric, batch = yardstick.metrics[0], prepared.fixed_batch or self.recipe.quantize.batch
        with target.open(prepared.model, threads=0, timed=False) as original:
            scores = yardstick.scores(metric, {BASELINE: original}, self.search, batch)
        baseline = float(metric.aggregate(scores.units[BASELINE]))
        self.budget.require_hold(metric.name, higher_is_better=metric.higher_is_better)
        allowed = self.budget.allowed(baseline, metric.name)
        said = (*_beside(yardstick, metric), *_idle(self.budget, metric, baseline))
        chosen = replace(self, metric=metric, yardstick=yardstick, notices=said)
        least = least_samples(metric, allowed)
        if scores.noun == "batch":
            return chosen._in_batches(metric, batch, least)
        if self.recipe.budget.accept == "point" or len(self.confirm) >= least:
            return chosen
        notice = (
            f"the budget of {self.budget.asked} cannot be confirmed: "
            f"{plural(len(self.confirm), 'confirming sample')} cannot rule out a larger loss even "
            f"where nothing is lost; that takes {least:,}{self.source(least)} "
            "(--budget point takes the measured value)"
        )
        return replace(chosen, provable=False, notices=(*said, notice))

    def _in_batches(self, metric: Metric, batch: int, least: int) -> "Judging":
        """With what can be proven in a metric that has no value per sample."""
        there, point = -(-len(self.confirm) // batch), self.recipe.budget.accept == "point"
        batches = "one batch" if there == 1 else f"{there:,} batches"
        if point or there >= least:
            proven = "the measured value decides (--budget point)" if point else "batches bound it"
            notice = f"{metric.name} has no value per sample: {proven}, of {batches}"
            return replace(self, notices=(*self.notices, notice))
        notice = (
            f"the budget of {self.budget.asked} cannot be confirmed: {metric.name} has no value "
            f"per sample, and the confirming samples are {batches} of {batch}, of which "
            f"no bound can be had; that takes {least:,}{self.source(least * batch)}, or a smaller "
            "--calib-batch (--budget point takes the measured value, which proves nothing)"
        )
        return replace(self, provable=False, notices=(*self.notices, notice))

    def source(self, needed: int) -> str:
        """What so many confirming samples mean for what the user passes."""
        kind = "evaluation" if self.words.startswith("evaluation") else "calibration"
        return f", so {round(needed / self.share):,} {kind} samples"

    def try_out(
        self, prepared: Prepared, target: Target, candidate: ir.Model
    ) -> tuple[Judgement, QualityResult]:
        """A candidate on the search samples."""
        assert self.metric is not None
        batch = prepared.fixed_batch or self.recipe.quantize.batch
        original = prepared.model
        scores = scores_of(
            self.metric, original, candidate, target, self.search, batch, self._looking
        )
        words, seed = f"{self.words}, searched on", self.recipe.seed
        quality = told([(self.metric, scores)], self._looking, words, seed)[0]
        return self._judged(self.metric, scores), quality

    def accepts(self, judgement: Judgement) -> bool:
        """Whether a candidate is good enough to be confirmed.

        By the rule that confirms; where that cannot hold whatever happens, by the measured loss,
        so that the best candidate is still found.
        """
        if self.provable:
            return judgement.met
        return judgement.loss is not None and judgement.loss <= judgement.allowed

    def told(self, judgement: Judgement, accepted: bool, half: str) -> str:
        """What became of a candidate: the verdict, its loss and its bound, and what is allowed.

        Args:
            judgement: From `try_out` or `confirms`.
            accepted: The verdict.
            half: On which samples: search or confirming.
        """
        assert self.metric is not None
        unit = self.metric.unit
        told = "no finite value"
        if judgement.loss is not None:
            told = f"a loss of {loss_words(judgement.loss, unit)}"
        if judgement.bound is not None:
            told = f"{told}, with 95 % confidence at most {loss_words(judgement.bound, unit)}"
        return (
            f"{'accepted' if accepted else 'refused'} on the {half} samples: {told}; "
            f"{loss_words(judgement.allowed, unit)} are allowed"
        )

    def confirms(self, prepared: Prepared, target: Target, candidate: ir.Model) -> Judgement:
        """A candidate on the confirming samples.

        Several may be judged so only in an order that was fixed before, none after the first that
        is refused: then the chance to accept any whose true loss is too large stays what it is
        for one (fixed-sequence testing: Maurer, Hothorn and Lehmacher 1995).
        """
        assert self.metric is not None
        batch = prepared.fixed_batch or self.recipe.quantize.batch
        original = prepared.model
        scores = scores_of(
            self.metric, original, candidate, target, self.confirm, batch, self._looking
        )
        return self._judged(self.metric, scores)

    @property
    def _looking(self) -> Yardstick:
        assert self.yardstick is not None
        return self.yardstick

    def _judged(self, metric: Metric, scores: Scores) -> Judgement:
        accept, seed = self.recipe.budget.accept, self.recipe.seed
        return judge(metric, scores, self.budget, method=accept, seed=seed)

    def confirmed(self, metric: Metric, scores: Scores, *, is_float: bool) -> BudgetResult:
        """The verdict on what ships, from its scores on the confirming samples.

        Args:
            metric: What decides.
            scores: On `confirm`.
            is_float: The float graph ships. It computes what the original does, which was checked
                when it was folded, so that it keeps any budget without proof on samples.
        """
        found = self._judged(metric, scores)
        met = found.met or is_float
        needs_more = not met and found.needed is not None and found.needed > found.n
        result = self._result(metric, met, self._reason(metric, found, is_float))
        return result.model_copy(
            update={
                "baseline": found.baseline,
                "allowed": found.allowed,
                "point": found.loss,
                "bound": found.bound,
                "n": found.n,
                "needed_n": found.needed if needs_more else None,
            }
        )

    def unconfirmed(self) -> BudgetResult:
        """The verdict on the best so far of an interrupted run."""
        assert self.metric is not None
        reason = "the run was interrupted: the best so far is not confirmed"
        return self._result(self.metric, False, reason).model_copy(update={"interrupted": True})

    def _result(self, metric: Metric, met: bool, reason: str) -> BudgetResult:
        accept = self.recipe.budget.accept
        return BudgetResult(
            asked=self.budget.asked,
            metric=metric.name,
            unit=metric.unit,
            accept=accept,
            met=met,
            n=len(self.confirm),
            method=METHODS[accept],
            reason=reason,
        )

    def _reason(self, metric: Metric, found: Judgement, is_float: bool) -> str:
        if is_float:
            return "float ships, which computes what the original does"
        if found.loss is None:
            return f"{metric.name} of the result is not a finite number"

        def words(loss: float) -> str:
            return loss_words(loss, metric.unit)

        allowed, on = words(found.allowed), f"on {found.n:,} confirming {_PLURAL[found.noun]}"
        measured = f"a loss of {words(found.loss)} was measured {on}"
        if self.recipe.budget.accept == "point":
            verdict = "within" if found.met else "above"
            return f"{measured}, {verdict} the {allowed} allowed; it was not proven"
        more = ""
        if found.needed is not None and found.needed > found.n:
            more = f"; at this loss it would take {found.needed:,}{self.source(found.needed)}"
        if found.noun == "batch" and not found.met:
            more = f"; {metric.name} has no value per sample, and only batches can be resampled"
        if found.bound is None:
            return f"{measured}, too few to bound it{more}"
        bound = f"{measured}, with 95 % confidence at most {words(found.bound)}"
        if found.met:
            return f"{bound}: within the {allowed} allowed"
        return f"{bound}: more than the {allowed} allowed{more}"


def _required(prepared: Prepared, budget: Budget) -> Yardstick:
    """The yardstick, which a budget cannot do without.

    Raises:
        RecipeError: No metric fits the outputs.
    """
    yardstick = prepared.yardstick
    assert yardstick is not None, "there is data, and so there is one"
    if yardstick.metrics:
        return yardstick
    raise RecipeError(
        f"the budget of {budget.asked} cannot be held: no metric fits the outputs: "
        f"{yardstick.reason}",
        hint="Name a metric by --metric, or leave --max-drop out: the model is compressed and "
        "timed, and its quality is not judged.",
    )


def _idle(budget: Budget, metric: Metric, baseline: float) -> tuple[str, ...]:
    """That all of the original's value may be lost; the user's own may go below zero."""
    of_user = isinstance(metric, FunctionMetric)
    if of_user or not metric.higher_is_better or not budget.takes_all(baseline):
        return ()
    return (
        f"the budget of {budget.asked} holds nothing: the original's {metric.name} is "
        f"{baseline:.4g}{metric.unit}, and all of it may be lost",
    )


def _beside(yardstick: Yardstick, metric: Metric) -> tuple[str, ...]:
    """That a budget holds one output of several."""
    others = [name for name in yardstick.answers if name != yardstick.primary]
    if metric.whole or not others:
        return ()
    told = ", ".join(repr(name) for name in others[:4]) + (", …" if len(others) > 4 else "")
    return (
        f"the budget holds output {yardstick.primary!r}; {told} "
        f"{'is' if len(others) == 1 else 'are'} measured beside it (--output-metric chooses)",
    )
