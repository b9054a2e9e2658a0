"""Whether a candidate is good enough: with a quality budget, or without one.

Every loop of the search asks an `Acceptance`, so that it exists once. `QualityBudget` (in
`quality_budget`) holds candidates against what may be lost; `NoBudget` accepts all, and measures
what they lose for the report.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.search.candidate import Judged
from compressor.search.measure import told
from compressor.search.session import Session

SAMPLES = 512
"""Samples on which candidates are measured without a budget, at most."""


class Acceptance(Protocol):
    """Judges graphs.

    Attributes:
        asked: What may be lost, as the user wrote it; None where there is no budget, so that the
            run ends with what it is told to make and keeps no best so far.
        samples: What candidates are compared on; None where there is nothing.
        words: Where those come from.
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

    def __init__(self, session: Session, data: CalibrationSet | None, words: str) -> None:
        """Draw some of the samples that judge.

        Args:
            session: Which metric, and the seed by which the samples are drawn.
            data: What judges the result.
            words: Where that comes from, for the report.
        """
        self._session, self.words = session, words
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
        session, yardstick = self._session, self._session.prepared.yardstick
        if self.samples is None or yardstick is None or not yardstick.metrics:
            return Judged(accepted=True, loss=0.0, words="")
        metric = yardstick.metrics[0]
        scores = session.scores(metric, model, self.samples, yardstick)
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
