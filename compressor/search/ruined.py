"""Takes back what was quantized for speed or size where its outputs are ruined.

Who gives no budget wants a faster or smaller model that still does what it did. Where the result is
below the floors of `compressor.evaluation.ruin`, float ships, and the report says how to get the
other. A budget rules itself, and pruning to a goal is what was asked for in so many words: it
stays, and what was quantized on top of it goes. Where the pruned graph is as ruined in float, both
stay: to take back the integers would cost what they gain and mend nothing.
"""

from dataclasses import dataclass, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.ruin import why_ruined
from compressor.evaluation.yardstick import Yardstick, to_itself
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.measurements import QualityResult
from compressor.results.precision import WORDS
from compressor.search.acceptance import Acceptance, Judge
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.measure import told
from compressor.search.precision.half import with_half
from compressor.search.session import Session
from exporters.base import Runner

STAY = ("prune", "sparse", "attention", "trained")
"""Decisions about the float graph, which stay."""
HOW = "--keep-ruined ships it all the same, --max-drop LOSS searches for what keeps its quality"


def unless_ruined(
    session: Session, start: Outcome, found: Outcome, data: DataSplit, acceptance: Acceptance
) -> Outcome:
    """What was decided, or its float graph where the quantized one is ruined.

    Args:
        session: How to run.
        start: The float graph, before anything was decided.
        found: What would ship.
        data: Samples that judge; without any nothing is taken back.
        acceptance: Which of them are enough to see it.
    """
    if session.recipe.quantize.keep_ruined or not _is_quantized(found):
        return found
    with session.stage("look for ruin") as stage:
        samples, words = acceptance.samples, acceptance.words
        looking = Looking(session, acceptance.judge, samples, words)
        quality, why = looking.at(found.shipped)
        if quality is None:
            return found
        considered = tuple(_with_quality(one, quality) for one in found.considered)
        found = replace(found, considered=considered)
        if why is None or _is_ruined_in_float(looking, found):
            return found
        ship = WORDS[found.plan.ship]
        reason = f"{ship} was reverted: its outputs are ruined: {why}; {HOW}"
        stage.decide(ship, "reverted", reason)
        notice = f"{ship} does not ship: its outputs are ruined ({why}); {HOW}"
        stage.notices.append(notice)
    session.progress.notice(notice)
    return _as_float(session, start, found.then(stage.record), data, reason)


def _is_quantized(found: Outcome) -> bool:
    plan = found.plan
    return bool(plan.quantized) or plan.stored is not None or plan.floats is not None


def _is_ruined_in_float(looking: "Looking", found: Outcome) -> bool:
    """Whether what was removed ruined the outputs, whatever the integers did to them."""
    plan = found.plan
    if plan.prune is None and plan.sparse is None and plan.attention is None:
        return False
    return looking.at(found.plain)[1] is not None


@dataclass(frozen=True)
class Looking:
    """Looks at graphs beside the original.

    Attributes:
        session: How to run.
        judge: Runs both.
        data: Samples that judge.
        words: Where those come from.
    """

    session: Session
    judge: Judge
    data: CalibrationSet | None
    words: str

    def at(self, model: ir.Model) -> tuple[QualityResult | None, str | None]:
        """The metric that decides, and why a model is ruined, if it is."""
        session, judge, yardstick = self.session, self.judge, self.judge.yardstick
        if yardstick is None or not yardstick.metrics or self.data is None:
            return None, None
        metric, batch = yardstick.metrics[0], judge.batch
        with (
            session.progress.stage("look for ruin"),
            judge.original() as original,
            judge.opened(model) as result,
        ):
            if any(one.noisy for one in yardstick.seen.outputs) and _differs_from_itself(
                yardstick, original, self.data, batch
            ):
                return None, None
            runners = {BASELINE: original, RESULT: result}
            scores = yardstick.scores(metric, runners, self.data, batch)
            several = len(yardstick.answers) > 1
            outputs = output_results(runners, self.data, batch, yardstick) if several else ()
        quality = told([(metric, scores)], yardstick, self.words, session.recipe.seed)
        still = [one for one in outputs if not yardstick.seen[one.name].noisy]
        return quality[0], why_ruined(quality, still, yardstick.continued)


def _differs_from_itself(
    yardstick: Yardstick, original: Runner, data: CalibrationSet, batch: int
) -> bool:
    """Whether two runs of the original are as far apart as what is ruined."""
    scores = to_itself(yardstick, original, data, batch)
    if scores is None:
        return False
    quality = told([(yardstick.metrics[0], scores)], yardstick, "", 0)
    return why_ruined(quality, (), yardstick.continued) is not None


def _with_quality(candidate: ToldCandidate, quality: QualityResult) -> ToldCandidate:
    if not candidate.shipped or candidate.quality is not None:
        return candidate
    return candidate.model_copy(update={"quality": quality})


def _as_float(
    session: Session, start: Outcome, found: Outcome, data: DataSplit, reason: str
) -> Outcome:
    """The same without integers: pruned and sparse as it was."""
    plan = start.plan.model_copy(update={name: getattr(found.plan, name) for name in STAY})
    considered = tuple(_reverted(one, reason) for one in found.considered)
    plain = found.then(plan=plan, reason=reason, shipped=found.plain, graph=found.plain)
    plain = with_half(session, replace(plain, considered=considered, regions=()), data.calibration)
    return replace(plain, graph=found.graph)


def _reverted(candidate: ToldCandidate, reason: str) -> ToldCandidate:
    if not candidate.shipped:
        return candidate
    told = f"{candidate.reason}; then {reason}"
    return candidate.model_copy(update={"shipped": False, "reason": told})
