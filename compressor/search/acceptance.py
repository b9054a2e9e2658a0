"""Whether a candidate is good enough: with a quality budget, or without one.

Every loop of the search asks an `Acceptance`, so that it exists once. `QualityBudget` (in
`quality_budget`) holds candidates against what may be lost; `NoBudget` accepts all, and measures
what they lose for the report. Both run candidates by a `Judge`: of a single model that is its own
graph, on samples. In a pipeline it is the whole loop with one of its graphs exchanged, on seeds, so
that what decides is what comes out in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric, Scores
from compressor.evaluation.views import OfGraph
from compressor.evaluation.yardstick import Yardstick
from compressor.search.candidate import Judged
from compressor.search.kept_scores import scored_once
from compressor.search.measure import told
from compressor.search.session import Session
from exporters.base import Runner

SAMPLES = 512
"""Samples on which candidates are measured without a budget, at most."""


class Judge(Protocol):
    """Runs original and candidate."""

    @property
    def yardstick(self) -> Yardstick | None:
        """What quality is measured in; None where there is no data."""
        ...

    @property
    def batch(self) -> int:
        """Samples per run."""
        ...

    def original(self) -> Runner:
        """What is compared with."""
        ...

    def opened(self, model: ir.Model) -> Runner:
        """A candidate."""
        ...


@dataclass(frozen=True)
class GraphJudge:
    """Runs the graph itself on the target."""

    session: Session

    @property
    def yardstick(self) -> Yardstick | None:
        """What quality is measured in; None where there is no data."""
        return self.session.prepared.yardstick

    @property
    def batch(self) -> int:
        """Samples per run."""
        return self.session.batch

    def original(self) -> Runner:
        """The captured graph."""
        return self.opened(self.session.prepared.model)

    def opened(self, model: ir.Model) -> Runner:
        """A graph, with no one waiting for it."""
        return OfGraph(self.session.target.open(model, threads=0, timed=False), model)


def scores_of(judge: Judge, metric: Metric, model: ir.Model, data: CalibrationSet) -> Scores:
    """Original and candidate on the same samples.

    Args:
        judge: Runs both.
        metric: What scores.
        model: The candidate.
        data: The samples.
    """
    yardstick = judge.yardstick
    assert yardstick is not None, "a metric is of a yardstick"

    def scored() -> Scores:
        with judge.original() as one, judge.opened(model) as other:
            return yardstick.scores(metric, {BASELINE: one, RESULT: other}, data, judge.batch)

    if not isinstance(judge, GraphJudge):
        return scored()  # a loop is the user's, and may do anything
    return scored_once(judge.session, metric, model, data, scored)


class Acceptance(Protocol):
    """Judges graphs.

    Attributes:
        asked: What may be lost, as the user wrote it; None where there is no budget, so that the
            run ends with what it is told to make and keeps no best so far.
        samples: What candidates are compared on; None where there is nothing.
        words: Where those come from.
        judge: Runs the candidates.
        provable: Whether a candidate that loses nothing would be confirmed.
    """

    @property
    def asked(self) -> str | None:
        """See above."""
        ...

    @property
    def samples(self) -> CalibrationSet | None:
        """See above."""
        ...

    @property
    def words(self) -> str:
        """See above."""
        ...

    @property
    def judge(self) -> Judge:
        """See above."""
        ...

    @property
    def provable(self) -> bool:
        """See above."""
        ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """For the record of a search."""
        ...

    def accepts(self, model: ir.Model) -> Judged:
        """A candidate on the samples that are searched on."""
        ...

    def confirms(self, model: ir.Model) -> Judged:
        """A candidate on samples that no search has seen, which may be asked in a fixed order."""
        ...

    def lacking(self, name: str, judged: Judged) -> str | None:
        """What it would take to prove a candidate; None where the samples do."""
        ...


class NoBudget:
    """Accepts every candidate, and measures it where there is something to measure on.

    No decision rests on that, so that the samples may be among those that judge the result.
    """

    asked: str | None = None
    provable = True

    def __init__(
        self,
        session: Session,
        data: CalibrationSet | None,
        words: str,
        judge: Judge | None = None,
    ) -> None:
        """Draw some of the samples that judge.

        Args:
            session: Which metric, and the seed by which the samples are drawn.
            data: What judges the result.
            words: Where that comes from, for the report.
            judge: Runs the candidates; the graphs by themselves without.
        """
        self._session, self.words = session, words
        self.judge: Judge = judge or GraphJudge(session)
        self.samples: CalibrationSet | None = None if data is None or len(data) == 0 else data
        if self.samples is not None and len(self.samples) > SAMPLES:
            few, _ = self.samples.split(SAMPLES / len(self.samples), session.recipe.seed)
            self.words = f"{words}, {len(few):,} of {len(self.samples):,}"
            self.samples = few

    @property
    def parameters(self) -> Mapping[str, Any]:
        """There is nothing that candidates are held to."""
        return {}

    def accepts(self, model: ir.Model) -> Judged:
        """Whatever it loses; its quality is None where no metric fits.

        Raises:
            DataError: The metric needs labels that the data does not have.
        """
        session, yardstick = self._session, self.judge.yardstick
        if self.samples is None or yardstick is None or not yardstick.metrics:
            return Judged(accepted=True, loss=0.0, words="")
        metric = yardstick.metrics[0]
        scores = scores_of(self.judge, metric, model, self.samples)
        (quality,) = told([(metric, scores)], yardstick, self.words, session.recipe.seed)
        return Judged(accepted=True, loss=0.0, words="", quality=quality)

    def confirms(self, model: ir.Model) -> Judged:
        """There is nothing to confirm."""
        del model
        return Judged(accepted=True, loss=0.0, words="")

    def lacking(self, name: str, judged: Judged) -> str | None:
        """Nothing is to be proven."""
        del name, judged
        return None
