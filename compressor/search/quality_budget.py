"""The quality budget: holds candidates against it, and says beforehand what the data can prove.

The samples that judge are divided once, by seed, and class by class where they have labels that
are classes: candidates are compared on one half, and the chosen one is confirmed on the other,
which no search has seen. With as many of each class in both, the halves differ by chance less
than a bound, which takes its samples for independent, allows for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, RecipeError
from compressor.evaluation.acceptance import Judgement, judge, least_samples
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric, Scores
from compressor.evaluation.user_metric import FunctionMetric
from compressor.evaluation.yardstick import Yardstick
from compressor.recipe.budget import Budget
from compressor.recipe.requirements.data import require_two
from compressor.results.format import loss_words, plural
from compressor.results.graph_report import BudgetResult
from compressor.search.acceptance import GraphJudge, Judge, NoBudget, scores_of
from compressor.search.candidate import Judged
from compressor.search.data_split import DataSplit
from compressor.search.measure import told
from compressor.search.session import Session

METHODS = {
    "bound": "one-sided 95 % upper bound of the paired loss: the score bound for proportions, the "
    "bootstrap elsewhere",
    "point": "the measured loss, taken for the true one (--budget point)",
}


@dataclass(frozen=True)
class Halves:
    """The samples that judge, divided.

    Attributes:
        search: Those that candidates are compared on.
        confirm: Those that the chosen one is confirmed on.
        words: Where they come from, for the report.
        kind: What the user passed them as, "evaluation" or "calibration" data.
        share: What part of the user's samples `confirm` is.
        noun: What one of them is called.
        flag: What asks for so many confirming ones; None where the user passes data instead.
    """

    search: CalibrationSet
    confirm: CalibrationSet
    words: str
    kind: str
    share: float
    noun: str = "sample"
    flag: str | None = None


@dataclass(frozen=True)
class QualityBudget:
    """An `Acceptance` of what loses no more than is allowed.

    Attributes:
        session: How a loss is accepted.
        budget: What may be lost.
        halves: The samples that judge.
        yardstick: Which outputs the metric looks at.
        judge: Runs the candidates.
        provable: Whether `confirm` could hold the budget if nothing were lost.
        notices: What is to be said before the search.
    """

    session: Session
    budget: Budget
    halves: Halves
    yardstick: Yardstick
    judge: Judge
    provable: bool = True
    notices: tuple[str, ...] = ()

    @staticmethod
    def announced(
        session: Session, budget: Budget, halves: Halves, judge: Judge | None = None
    ) -> "QualityBudget":
        """With what is to be said before the search.

        Args:
            session: How a loss is accepted.
            budget: What may be lost.
            halves: The samples that judge.
            judge: Runs the candidates; the graphs by themselves without.

        Raises:
            RecipeError: The budget means nothing in the metric, or no metric fits the outputs.
        """
        judge = judge or GraphJudge(session)
        yardstick = _required(judge, budget)
        metric = yardstick.metrics[0]
        with judge.original() as original:
            scores = yardstick.scores(metric, {BASELINE: original}, halves.search, judge.batch)
        baseline = float(metric.aggregate(scores.units[BASELINE]))
        budget.require_hold(metric.name, higher_is_better=metric.higher_is_better)
        allowed = budget.allowed(baseline, metric.name)
        said = (*_beside(yardstick, metric), *_idle(budget, metric, baseline))
        chosen = QualityBudget(session, budget, halves, yardstick, judge, notices=said)
        least = max(least_samples(metric, allowed), scores.least)
        if scores.noun == "batch":
            return chosen._in_batches(judge.batch, least)
        if chosen._takes_point or len(halves.confirm) >= least:
            return chosen
        few = plural(len(halves.confirm), f"confirming {halves.noun}")
        notice = (
            f"the budget of {budget.asked} cannot be confirmed: {few} cannot rule out a larger "
            f"loss even where nothing is lost. That takes {least:,}{chosen._source(least)} "
            "(--budget point takes the measured value)"
        )
        return replace(chosen, provable=False, notices=(*said, notice))

    @property
    def asked(self) -> str:
        """What may be lost, as the user wrote it."""
        return self.budget.asked

    @property
    def samples(self) -> CalibrationSet:
        """What candidates are compared on."""
        return self.halves.search

    @property
    def words(self) -> str:
        """Where they come from."""
        return self.halves.words

    @property
    def metric(self) -> Metric:
        """What decides."""
        return self.yardstick.metrics[0]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """For the record of a search."""
        return {
            "budget": self.budget.asked,
            "accept": self.session.recipe.budget.accept,
            "search samples": len(self.halves.search),
            "confirming samples": len(self.halves.confirm),
        }

    @property
    def _takes_point(self) -> bool:
        return self.session.recipe.budget.accept == "point"

    def _in_batches(self, batch: int, least: int) -> "QualityBudget":
        """With what can be proven in a metric that has no value per sample."""
        there, point = -(-len(self.halves.confirm) // batch), self._takes_point
        metric = self.metric
        batches = "one batch" if there == 1 else f"{there:,} batches"
        if point or there >= least:
            proven = "the measured value decides (--budget point)" if point else "batches bound it"
            notice = f"{metric.name} has no value per sample: {proven}, of {batches}"
            return replace(self, notices=(*self.notices, notice))
        smaller = ", or a smaller --calib-batch" if self.halves.flag is None else ""
        notice = (
            f"the budget of {self.budget.asked} cannot be confirmed: {metric.name} has no value "
            f"per sample, and {batches} of {batch} confirming {self.halves.noun}s give no bound. "
            f"That takes {least:,}{self._source(least * batch)}{smaller}. --budget point takes the "
            "measured value, which proves nothing"
        )
        return replace(self, provable=False, notices=(*self.notices, notice))

    def _source(self, needed: int) -> str:
        """What so many confirming samples mean for what the user passes."""
        count = round(needed / self.halves.share)
        if self.halves.flag is not None:
            return f", so {self.halves.flag} {count}"
        return f", so {count:,} {self.halves.kind} samples"

    def accepts(self, model: ir.Model) -> Judged:
        """Whether a candidate is good enough to be confirmed, on the search samples.

        By the rule that confirms; where that cannot hold whatever happens, by the measured loss,
        so that the best candidate is still found.
        """
        scores = self._scores(model, self.halves.search)
        words, seed = f"{self.halves.words}, searched on", self.session.recipe.seed
        (quality,) = told([(self.metric, scores)], self.yardstick, words, seed)
        found = self._judged(self.metric, scores)
        met = found.met
        if not self.provable:
            met = found.loss is not None and found.loss <= found.allowed
        lost = self._neighbours_lost(model, self.halves.search, found.allowed) if met else None
        met = met and lost is None
        loss = math.inf if found.loss is None else found.loss
        said = self._told(found, met, "search") + ("" if lost is None else f"; {lost}")
        return Judged(met, loss, said, quality, found)

    def confirms(self, model: ir.Model) -> Judged:
        """A candidate on the confirming samples.

        Several may be judged so only in an order that was fixed before, none after the first that
        is refused: then the chance to accept any whose true loss is too large stays what it is
        for one (fixed-sequence testing: Maurer, Hothorn and Lehmacher 1995).
        """
        found = self._judged(self.metric, self._scores(model, self.halves.confirm))
        lost = None
        if found.met:
            lost = self._neighbours_lost(model, self.halves.confirm, found.allowed)
        met = found.met and lost is None
        loss = math.inf if found.loss is None else found.loss
        words = self._told(found, met, "confirming") + ("" if lost is None else f"; {lost}")
        return Judged(met, loss, words, judgement=found)

    def _neighbours_lost(self, model: ir.Model, data: CalibrationSet, allowed: float) -> str | None:
        """That embeddings lose more neighbours than a budget in cosine stands for; None if not.

        A cosine of 1 - s is an error of √(2·s) of an embedding, and neighbours are lost in
        proportion to that: √s of them may be, rounded up to whole samples.
        """
        beside = [metric for metric in self.yardstick.metrics[1:] if metric.name == "neighbours"]
        if self.metric.name != "cosine" or not beside:
            return None
        units = scores_of(self.judge, beside[0], model, data).units[RESULT]
        may_go = math.sqrt(max(allowed, 0.0))
        lost = int(len(units) - units.sum())
        if lost <= math.ceil(may_go * len(units)):
            return None
        return (
            f"{lost} of {len(units)} samples have another nearest neighbour, and for such a budget "
            f"{100 * may_go:.3g} % may"
        )

    def lacking(self, name: str, judged: Judged) -> str | None:
        """A candidate may be good enough and still not provable on so few samples."""
        n = len(self.halves.confirm)
        needed = None if judged.judgement is None else judged.judgement.needed
        if not self.provable or self._takes_point or needed is None or needed <= n:
            return None
        return (
            f"to prove {name} as it is takes {needed:,} confirming {self.halves.noun}s, and there "
            f"are {n:,}{self._source(needed)}"
        )

    def _told(self, judgement: Judgement, accepted: bool, half: str) -> str:
        """What became of a candidate: the verdict, its loss and its bound, and what is allowed."""
        unit = self.metric.unit
        told = "no finite value"
        if judgement.loss is not None:
            told = f"a loss of {loss_words(judgement.loss, unit)}"
        if judgement.bound is not None:
            told = f"{told}, with 95 % confidence at most {loss_words(judgement.bound, unit)}"
        return (
            f"{'accepted' if accepted else 'refused'} on the {half} {self.halves.noun}s: {told}; "
            f"{loss_words(judgement.allowed, unit)} are allowed"
        )

    def _scores(self, model: ir.Model, data: CalibrationSet) -> Scores:
        return scores_of(self.judge, self.metric, model, data)

    def _judged(self, metric: Metric, scores: Scores) -> Judgement:
        accept, seed = self.session.recipe.budget.accept, self.session.recipe.seed
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
        reason = "the run was interrupted: the best so far is not confirmed"
        return self._result(self.metric, False, reason).model_copy(update={"interrupted": True})

    def _result(self, metric: Metric, met: bool, reason: str) -> BudgetResult:
        accept = self.session.recipe.budget.accept
        return BudgetResult(
            asked=self.budget.asked,
            metric=metric.name,
            unit=metric.unit,
            accept=accept,
            met=met,
            n=len(self.halves.confirm),
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

        of = "batches" if found.noun == "batch" else f"{self.halves.noun}s"
        allowed, on = words(found.allowed), f"on {found.n:,} confirming {of}"
        measured = f"a loss of {words(found.loss)} was measured {on}"
        if self._takes_point:
            verdict = "within" if found.met else "above"
            return f"{measured}, {verdict} the {allowed} allowed; it was not proven"
        more = ""
        if found.needed is not None and found.needed > found.n:
            more = f"; at this loss it would take {found.needed:,}{self._source(found.needed)}"
        if found.noun == "batch" and not found.met:
            more = f"; {metric.name} has no value per sample, and only batches can be resampled"
        if metric.falls and self.budget.relative and found.needed is None and not found.met:
            more = (
                f"; more of them lower the original's own {metric.name}, of which this is a share: "
                "give it in the metric's unit, such as --max-drop 0.5pt"
            )
        if found.bound is None:
            return f"{measured}, too few to bound it{more}"
        bound = f"{measured}, with 95 % confidence at most {words(found.bound)}"
        if found.met:
            return f"{bound}: within the {allowed} allowed"
        return f"{bound}: more than the {allowed} allowed{more}"


def divided_for_budget(
    session: Session, data: DataSplit
) -> tuple[DataSplit, QualityBudget | NoBudget]:
    """Divide what judges into search and confirm, and say what it can prove.

    Returns:
        The data, of which only the confirming half still judges, and the budget; the data as it
        is and what accepts all where no budget was asked for.

    Raises:
        DataError: A budget was asked for and there is nothing, or a single sample, to judge on.
        RecipeError: The budget means nothing in the metric.
    """
    budget, prepared = session.recipe.budget.allowed, session.prepared
    if budget is None:
        return data, NoBudget(session, data.quality, data.words)
    if data.quality is None:
        raise DataError(
            f"the budget of {budget.asked} needs samples to judge on",
            hint="Pass --eval with labels, or --calib: a fifth of it is held out then.",
        )
    own = None if prepared.evaluation is not None else prepared.calibration
    require_two(len(data.quality), None if own is None else len(own), budget.asked)
    search, confirm = data.quality.split(0.5, session.recipe.seed)
    kind = "calibration" if prepared.evaluation is None else "evaluation"
    halves = Halves(search, confirm, data.words, kind, data.share / 2)
    with session.progress.stage("measure the original"):
        held = QualityBudget.announced(session, budget, halves)
    for notice in held.notices:
        session.progress.notice(notice)
    return replace(data, quality=confirm, search=search), held


def _required(judge: Judge, budget: Budget) -> Yardstick:
    """The yardstick, which a budget cannot do without.

    Raises:
        RecipeError: No metric fits the outputs.
    """
    yardstick = judge.yardstick
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
