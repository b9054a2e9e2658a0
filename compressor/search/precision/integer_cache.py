"""A decoder's cache in 8 bits, where that was asked for and quality allows it.

What ships otherwise is the graph that the search ended with. The cache comes last, as inputs and
outputs are of another type then. Its ranges are those of the float graph on calibration data.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from calibration.taps import Taps
from compressor.graph.tensors import Array
from compressor.plan.decisions import CacheTensor
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph, planned_policy, realize
from compressor.quantization.cache import CachePlace, affine, calibrated, find_caches
from compressor.quantization.dynamic import place_dynamic
from compressor.results.format import plural
from compressor.results.measurements import UseResult
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.in_use import in_words, raced_in_use
from compressor.search.precision.decoder_products import row_errors
from compressor.search.session import Session, Stage

STAGE = "integer cache"
SUBJECT = "cache of keys and values"
WORTH = 1.03
"""Speed in a use from which `auto` takes integers."""
SPREAD = 10.0
"""dB that scales of its own would gain a query, from which its rows get them.

Queries of the language sample would gain 6.5 to 7.4, and its perplexity changed by 0.001 % without.
"""
SAMPLES = 64
"""Samples that ranges are taken from, at most."""


def with_integer_cache(
    session: Session, found: Outcome, data: CalibrationSet | None, acceptance: Acceptance
) -> Outcome:
    """What ships with its cache in 8 bits, where that is asked for, possible and good enough.

    Args:
        session: How to measure.
        found: What would ship.
        data: Calibration samples.
        acceptance: The quality budget, or none.
    """
    if session.recipe.quantize.kv_cache == "float" or found.interrupted:
        return found
    with session.stage(STAGE) as stage:
        made: Outcome | str | None = _why_not_tried(session, found, data, acceptance)
        if made is None and data is not None:
            made = _tried(session, found, data, acceptance, stage)
        if not isinstance(made, Outcome):
            stage.decide(SUBJECT, "float", str(made))
            stage.notices.append(f"the cache stays float: {made}")
            made = found
    return made.then(stage.record)


def _why_not_tried(
    session: Session, found: Outcome, data: CalibrationSet | None, acceptance: Acceptance
) -> str | None:
    """What speaks against integers before anything is made."""
    if found.plan.ship == "float":
        return "nothing else of the graph is quantized"
    if session.recipe.quantize.kv_cache == "auto" and acceptance.asked is None:
        return "auto needs a quality budget (--max-drop) that says what it may cost"
    places, reasons = find_caches(_open(session, found).graph)
    if not places:
        first = next(iter(reasons.items()), None)
        why = "no input is one that grows and comes out again"
        return why if first is None else f"{first[0]}: {first[1]}"
    return "its ranges need calibration data (--calib DATA)" if data is None else None


def _tried(
    session: Session, found: Outcome, data: CalibrationSet, acceptance: Acceptance, stage: Stage
) -> Outcome | str:
    """With integers; or why float stays."""
    before, found = found, _open(session, found)
    places, reasons = find_caches(found.graph)
    caches = calibrated_caches(session, found.graph, places, data)
    plan = _with_caches(session, found, caches)
    candidate = realize(found.graph, plan, session.target)
    judged = acceptance.accepts(candidate) if acceptance.asked is not None else None
    if judged is not None and not judged.accepted:
        return judged.words
    with session.progress.stage("race caches"):
        seconds = session.recipe.measure.seconds / 2
        use = raced_in_use(session, before.shipped, candidate, seconds=seconds)
    told = _told(use, len(caches), reasons)
    if session.recipe.quantize.kv_cache == "auto" and (use is None or use.ratio < WORTH):
        return f"{told}: it has to be faster"
    stage.decide(SUBJECT, "8 bits", told if judged is None else f"{told}; {judged.words}")
    stage.changed = {"cache tensors of 8 bits": len(caches)}
    stage.notices.append(_notice(caches))
    return found.then(plan=plan, shipped=candidate)


def _open(session: Session, found: Outcome) -> Outcome:
    """The outcome without forms that hide what reads a cache, as one operator for a core does."""
    for name in dict.fromkeys(found.plan.forms.values()):
        forms = {node: form for node, form in found.plan.forms.items() if form != name}
        plan = found.plan.model_copy(update={"forms": forms})
        graph = decided_graph(found.plain, plan, session.target)
        if len(find_caches(graph)[0]) > len(find_caches(found.graph)[0]):
            found = found.then(plan=plan, graph=graph)
    return found


def _with_caches(session: Session, found: Outcome, caches: dict[str, CacheTensor]) -> GraphPlan:
    """The plan with them, and where Q and DQ stand around a cache with none of these."""
    plan = found.plan
    left = {place.input for place in find_caches(found.shipped)[0]}
    if plan.integer and not left.issuperset(caches):
        policy, leave = planned_policy(plan, session.target), session.recipe.quantize.leave
        dynamic = place_dynamic(found.graph, policy, leave).integer
        update = {"integer": (), "dynamic": dynamic, "ranges": {}, "bias": {}, "rounded": {}}
        plan = plan.model_copy(update=update)
    return plan.model_copy(update={"cache": caches})


def calibrated_caches(
    session: Session, model: ir.Model, places: list[CachePlace], data: CalibrationSet
) -> dict[str, CacheTensor]:
    """Input → scales and zero points, from the least and the largest number that came out."""
    taps = Taps(model)
    values = {place.output for place in places} | {one.query for one in places if one.query}
    fetched = {name: taps.output(taps.values[name]) for name in values}
    seen = {name: _Seen() for name in values}
    batch = session.prepared.fixed_batch or session.recipe.quantize.batch
    with (
        session.progress.stage("calibrate the cache"),
        session.target.open(taps.finished(), threads=0, timed=False) as runner,
    ):
        for step in data.take(SAMPLES).batches(batch):
            fixed = session.prepared.fixed_batch
            made = runner.run(step.inputs if fixed is None else step.filled(fixed))
            for name, output in fetched.items():
                seen[name].add(made[output])
    found = {}
    for place in places:
        if seen[place.output].is_finite:
            note = calibrated(seen[place.output].low, seen[place.output].high, place)
            query = None if place.query is None else seen[place.query]
            known = query is not None and query.is_finite and query.spread < SPREAD
            found[place.input] = CacheTensor(
                output=note.output,
                scale=note.scale,
                zero_point=note.zero_point,
                transposed=note.transposed,
                query=affine(query.low, query.high) if query is not None and known else None,
            )
    return found


@dataclass
class _Seen:
    """What a value was on data."""

    low: float = np.inf
    high: float = -np.inf
    errors: FloatArray = field(default_factory=lambda: np.zeros(2))

    def add(self, array: Array) -> None:
        """Another call."""
        if array.size:
            self.low, self.high = min(self.low, array.min()), max(self.high, array.max())
            self.errors = self.errors + row_errors(array)

    @property
    def is_finite(self) -> bool:
        """Whether there is a range."""
        return bool(np.isfinite([self.low, self.high]).all())

    @property
    def spread(self) -> float:
        """What a scale for each row would gain, in dB."""
        one, own = self.errors
        return 10 * float(np.log10(one / own)) if own > 0 else 0.0


def _told(use: UseResult | None, count: int, reasons: dict[str, str]) -> str:
    said = f"{plural(count, 'tensor')} of 8 bits"
    said = f"{said}, speed unproven" if use is None else f"{said} ran at {in_words(use)}"
    if reasons:
        name, reason = next(iter(reasons.items()))
        said = f"{said}; {plural(len(reasons), 'other')} stay float ({name}: {reason})"
    return said


def _notice(caches: dict[str, CacheTensor]) -> str:
    turned = sum(one.transposed for one in caches.values())
    more = f", {turned} of them with tokens as the last axis" if turned else ""
    return (
        f"the cache is of integers: {plural(len(caches), 'input')} and as many outputs are "
        f"uint8{more}; manifest.json says scales and zero points, and compressor.load takes either"
    )
