"""The signal to noise at the outputs, by which plans of the same speed are compared.

Half of a few calibration samples refines a plan, and the other half judges that.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.plan.plan import GraphPlan
from compressor.quantization.replay import decibels, score
from compressor.search.precision.sensitivity import output_energies
from compressor.search.session import Session

SAMPLES = 64
"""That refine, at most; as many others judge."""
GAIN = 0.05
"""Signal to noise at the outputs, in dB, that must be gained."""


@dataclass
class OutputSignal:
    """Compares plans of one float graph.

    Attributes:
        session: The target, and how to run.
        model: The float graph.
        refining: Samples to refine plans by.
        judging: Others, on which plans are compared.
    """

    session: Session
    model: ir.Model
    refining: CalibrationSet
    judging: CalibrationSet
    _known: list[tuple[GraphPlan, float]] = field(default_factory=list, repr=False)

    @staticmethod
    def of(session: Session, model: ir.Model, data: CalibrationSet) -> "OutputSignal":
        """A signal on calibration samples, of which there are two at least."""
        refining, judging = (h.take(SAMPLES) for h in data.split(0.5, session.recipe.seed))
        return OutputSignal(session, model, refining, judging)

    def decibels(self, plan: GraphPlan) -> float:
        """10·log10 of signal over noise, a robust mean over samples; −∞ where it is no number."""
        for known, value in self._known:
            if known is plan:
                return value
        session = self.session
        with session.target.open(self.model, threads=0, timed=False) as original:
            energies = output_energies(session, self.model, original, plan, self.judging)
        finite = bool(np.isfinite(energies).all())
        found = score([decibels(*energies.T)]) if finite else -np.inf
        self._known.append((plan, found))
        return found

    def gains(self, before: float, after: float) -> bool:
        """Whether one plan is closer than another by enough."""
        return after - before >= GAIN
