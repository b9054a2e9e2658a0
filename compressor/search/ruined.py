"""Takes back what was quantized for speed or size where its outputs are ruined.

Who gives no budget wants a faster or smaller model that still does what it did. Where the result is
below the floors of `compressor.evaluation.ruin`, float ships, and the report says how to get the
other. A budget rules itself, and pruning to a goal is what was asked for in so many words: it
stays, and what was quantized on top of it goes. Where the pruned graph is as ruined in float, both
stay: to take back the integers would cost what they gain and mend nothing.
"""

import time
from dataclasses import replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.per_output import output_results
from compressor.evaluation.ruin import why_ruined
from compressor.evaluation.yardstick import Yardstick, to_itself
from compressor.results.measurements import QualityResult
from compressor.results.precision import WORDS
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Candidate
from compressor.search.candidate import Decided
from compressor.search.data_split import DataSplit
from compressor.search.gauging import gauge
from compressor.search.measure import told
from compressor.search.precision.half import with_half
from compressor.search.session import Bench
from exporters.base import Runner

HOW = "--keep-ruined ships it all the same, --max-drop LOSS searches for what keeps its quality"


def unless_ruined(bench: Bench, start: Decided, found: Decided, data: DataSplit) -> Decided:
    """What was decided, or its float graph where the quantized one is ruined.

    Args:
        bench: How to run.
        start: The float graph, before anything was decided.
        found: What would ship.
        data: Samples that judge; without any nothing is taken back.
    """
    if bench.recipe.quantize.keep_ruined or not _is_quantized(found):
        return found
    started = time.perf_counter()
    quality, why = _judged(bench, found, found.shipped, data)
    if quality is None:
        return found
    found = replace(found, candidates=tuple(_with_quality(c, quality) for c in found.candidates))
    if why is None or _is_ruined_in_float(bench, found, data):
        return found
    words = WORDS[found.plan.ship]
    reason = f"{words} was reverted: its outputs are ruined: {why}; {HOW}"
    decision = Decision(subject=words, verdict="reverted", reason=reason)
    record = StageRecord(
        name="look for ruin",
        seconds=time.perf_counter() - started,
        decisions=(decision,),
        notices=(f"{words} does not ship: its outputs are ruined ({why}); {HOW}",),
    )
    bench.progress.notice(record.notices[0])
    return _as_float(bench, start, replace(found, records=(*found.records, record)), data, reason)


def _is_quantized(found: Decided) -> bool:
    return bool(found.plan.quantized) or found.plan.stored is not None


def _is_ruined_in_float(bench: Bench, found: Decided, data: DataSplit) -> bool:
    """Whether what was removed ruined the outputs, whatever the integers did to them."""
    if found.plan.prune is None and found.plan.sparse is None:
        return False
    return _judged(bench, found, found.plain, data)[1] is not None


def _judged(
    bench: Bench, found: Decided, model: ir.Model, data: DataSplit
) -> tuple[QualityResult | None, str | None]:
    """The metric that decides, and why a model is ruined, if it is."""
    yardstick, few = bench.prepared.yardstick, gauge(bench.recipe, data.quality, data.words)
    if yardstick is None or not yardstick.metrics or few is None:
        return None, None
    metric, batch = yardstick.metrics[0], bench.prepared.fixed_batch or bench.recipe.quantize.batch
    with (
        bench.progress.stage("measure quality"),
        bench.target.open(found.captured, threads=0, timed=False) as original,
        bench.target.open(model, threads=0, timed=False) as result,
    ):
        if any(one.noisy for one in yardstick.seen.outputs) and _differs_from_itself(
            yardstick, original, few.data, batch
        ):
            return None, None
        runners = {BASELINE: original, RESULT: result}
        scores = yardstick.scores(metric, runners, few.data, batch)
        several = len(yardstick.answers) > 1
        outputs = output_results(runners, few.data, batch, yardstick) if several else ()
    quality = told([(metric, scores)], yardstick, few.words, bench.recipe.seed)
    still = [one for one in outputs if not yardstick.seen[one.name].noisy]
    return quality[0], why_ruined(quality, still)


def _differs_from_itself(
    yardstick: Yardstick, original: Runner, data: CalibrationSet, batch: int
) -> bool:
    """Whether two runs of the original are as far apart as what is ruined."""
    scores = to_itself(yardstick, original, data, batch)
    if scores is None:
        return False
    return why_ruined(told([(yardstick.metrics[0], scores)], yardstick, "", 0), ()) is not None


def _with_quality(candidate: Candidate, quality: QualityResult) -> Candidate:
    if not candidate.shipped or candidate.quality is not None:
        return candidate
    return candidate.model_copy(update={"quality": quality})


def _as_float(
    bench: Bench, start: Decided, found: Decided, data: DataSplit, reason: str
) -> Decided:
    """The same without integers: pruned and sparse as it was."""
    plan = start.plan.model_copy(update={"prune": found.plan.prune, "sparse": found.plan.sparse})
    plain = replace(
        found,
        shipped=found.plain,
        plan=plan,
        smoothed=None,
        reason=reason,
        regions=(),
        candidates=tuple(_reverted(one, reason) for one in found.candidates),
    )
    return replace(with_half(bench, plain, data.calibration), smoothed=found.smoothed)


def _reverted(candidate: Candidate, reason: str) -> Candidate:
    if not candidate.shipped:
        return candidate
    told = f"{candidate.reason}; then {reason}"
    return candidate.model_copy(update={"shipped": False, "reason": told})
