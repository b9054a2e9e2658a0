"""A decoder's cache in buffers that the runtime appends to in place, where that is faster.

The operator is of the runtime's own, and the file takes other inputs: both only where the user
accepts it (`--contrib`). Computed is the same. That is held against the float graph on samples and
at the sizes of each phase; then the graph is raced against what would ship otherwise, in every
phase, weighted by how many tokens are read and written. It ships where it is faster.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.taps import Taps
from compressor.checkpoint.phases import MORE, Call
from compressor.errors import DataError
from compressor.folding.check import Difference, equal_runs
from compressor.graph.tensors import Array, Arrays
from compressor.plan.decisions import CacheTensor, SharedCacheTensor
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph, planned_policy, realize
from compressor.quantization.cache import LEVELS, find_caches
from compressor.quantization.dynamic import place_dynamic
from compressor.results.format import plural, ratio, ratio_interval
from compressor.results.measurements import UseResult
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.in_use import in_words, raced_in_use
from compressor.search.measure import configurations
from compressor.search.precision.integer_cache import calibrated_caches
from compressor.search.session import Session, Stage
from exporters.base import Runner, SharedCaches, SharedTensor

STAGE = "shared cache"
SUBJECT = "buffers of keys and values"
WORTH = 1.03
"""Speed in a use from which buffers ship."""
TOLERANCE = 1e-4
"""Relative difference of outputs that rounding may make over a whole graph."""
SAMPLES = 4
"""Samples that the graph is held against the original on, beside those of the phases."""
HIDDEN = -1e4
"""What is added to a score from which its share is none, in float32."""
INT8 = 127
"""The largest integer of a scale that is the same on both sides of zero."""


def with_shared_cache(
    session: Session, found: Outcome, data: CalibrationSet | None, acceptance: Acceptance
) -> Outcome:
    """What ships with its cache in buffers, where that is asked for, possible and faster.

    Args:
        session: How to measure.
        found: What would ship.
        data: Calibration samples.
        acceptance: The quality budget, or none.
    """
    caches = session.target.shared_caches
    if not session.recipe.quantize.contrib or caches is None or found.interrupted:
        return found
    with session.stage(STAGE) as stage:
        made = _Trial(session, caches, found, data, acceptance, stage).made()
        if isinstance(made, str):
            stage.decide(SUBJECT, "as it was", made)
            stage.notices.append(f"the cache is appended to by copying (--contrib): {made}")
            made = found
    return made.then(stage.record)


class _Trial:
    """Buffers in what would ship."""

    def __init__(
        self,
        session: Session,
        caches: SharedCaches,
        found: Outcome,
        data: CalibrationSet | None,
        acceptance: Acceptance,
        stage: Stage,
    ) -> None:
        self.session, self.caches, self.before, self.data = session, caches, found, data
        self.acceptance, self.stage = acceptance, stage

    def made(self) -> Outcome | str:
        """What ships then; or why it stays as it was."""
        found = _without_cores(self.session, self.caches, self.before)
        places = self.caches.find_shared(found.graph)
        if isinstance(places, str):
            return places
        calls = _calls(self.session, found.graph, self.data)
        if not calls:
            return "there is no call that the float graph takes, to hold it against"
        causal = causal_masks(self.session, found.graph, places, calls)
        reason = self._why_not_equal(found.graph, places, causal, calls)
        if reason is not None:
            return reason
        told = "nothing was tried"
        for scales in self._scales(found, places):
            tensors = _tensors(places, scales, causal)
            plan = self._plan(found, tensors)
            if isinstance(plan, str):
                return plan
            tried = self._tried(found, plan)
            if isinstance(tried, Outcome):
                return tried
            told = tried
        return told

    def _why_not_equal(
        self,
        graph: ir.Model,
        places: Mapping[str, SharedTensor],
        causal: Mapping[str, bool],
        calls: Sequence[Arrays],
    ) -> str | None:
        """Why the float graph computes something else with buffers; None where it does not."""
        made = self.caches.with_shared_caches(graph, dict.fromkeys(places), causal)
        target = self.session.target
        with (
            target.open(graph, threads=0, timed=False) as before,
            target.open(made, threads=0, timed=False) as after,
        ):
            for feeds in calls:
                compared: Difference = equal_runs(before, after, feeds, rtol=TOLERANCE)
                if not compared.equal:
                    return f"it changes output {compared.output} by {compared.max_abs:.3g}"
        return None

    def _scales(
        self, found: Outcome, places: Mapping[str, SharedTensor]
    ) -> Iterator[dict[str, float | None]]:
        """What buffers may hold, in the order in which it is tried: int8 where that is wanted."""
        asked, known = self.session.recipe.quantize.kv_cache, self.before.plan.cache
        wanted = asked == "int8" or (asked == "auto" and self.acceptance.asked is not None)
        if wanted and not known and self.data is not None:
            chosen = find_caches(found.graph)[0]
            known = calibrated_caches(self.session, found.graph, chosen, self.data)
        if wanted and set(known) == set(places):
            yield {name: _scale(known[name]) for name in places}
        if not self.before.plan.cache:
            yield dict.fromkeys(places)

    def _plan(self, found: Outcome, tensors: dict[str, SharedCacheTensor]) -> GraphPlan | str:
        """The plan with buffers; without Q and DQ around a cache where there are some."""
        session = self.session
        usage = session.recipe.measure.usage
        tokens = f"{usage.prompt}:{usage.new}" if session.prepared.phases.calls else None
        plan = found.plan.model_copy(update={"cache": {}, "tokens": tokens})
        reason = self.caches.find_shared(realize(found.graph, plan, session.target))
        if isinstance(reason, str) and plan.integer:
            policy, leave = planned_policy(plan, session.target), session.recipe.quantize.leave
            dynamic = place_dynamic(found.graph, policy, leave).integer
            update = {"integer": (), "dynamic": dynamic, "ranges": {}, "bias": {}, "rounded": {}}
            plan = plan.model_copy(update=update)
            reason = self.caches.find_shared(realize(found.graph, plan, session.target))
        if isinstance(reason, str):
            return f"quantized, {reason}"
        return plan.model_copy(update={"shared": tensors})

    def _tried(self, found: Outcome, plan: GraphPlan) -> Outcome | str:
        """What ships with that plan, if it is good enough and faster."""
        session, stage = self.session, self.stage
        candidate = realize(found.graph, plan, session.target)
        judged = self.acceptance.accepts(candidate) if self.acceptance.asked is not None else None
        if judged is not None and not judged.accepted:
            return judged.words
        faster, told = self._raced(candidate)
        told = f"{_kind(plan.shared)} ran at {told}"
        if not faster:
            return f"{told}: it has to be faster"
        stage.decide(
            SUBJECT, _kind(plan.shared), told if judged is None else f"{told}; {judged.words}"
        )
        stage.changed = {"cache tensors in shared buffers": len(plan.shared)}
        stage.parameters["buffers"] = {name: one.output for name, one in plan.shared.items()}
        stage.notices.append(_notice(plan.shared))
        is_float = plan.ship == "float"
        reason = f"{found.reason}; its cache in {told}" if is_float else None
        return found.then(plan=plan, shipped=candidate, reason=reason)

    def _raced(self, candidate: ir.Model) -> tuple[bool, str]:
        """Whether it is faster than what would ship, and the figures."""
        session, before = self.session, self.before.shipped
        seconds = session.recipe.measure.seconds / 2
        with session.progress.stage("race shared buffers"):
            use: UseResult | None = raced_in_use(session, before, candidate, seconds=seconds)
            if use is not None:
                return use.ratio >= WORTH and use.interval.low > 1, in_words(use)
            race = session.race(before, candidate, seconds=seconds)
        if race is None:
            return False, f"a speed that is not known ({session.untimed(before, candidate)})"
        self.stage.timed(race)
        faster = race.speed >= WORTH and race.verdict == "faster"
        return faster, f"{ratio(race.speed)} the speed ({ratio_interval(race.ends)})"


def causal_masks(
    session: Session,
    model: ir.Model,
    places: Mapping[str, SharedTensor],
    calls: Sequence[Arrays],
) -> dict[str, bool]:
    """Input → whether its mask follows from sizes alone, and hides what comes later, no more.

    Args:
        session: Whose target runs it.
        model: The float graph.
        places: Its caches.
        calls: What it is looked at on: prompts, single tokens, and sizes in between.
    """
    taps = Taps(model)
    masks = {
        one.mask: taps.output(taps.values[one.mask])
        for one in places.values()
        if one.mask is not None and one.mask in taps.values
        if follows_from_sizes(taps.values[one.mask])
    }
    seen = dict.fromkeys(masks, True)
    if masks:
        with session.target.open(taps.finished(), threads=0, timed=False) as runner:
            for feeds in calls:
                past = np.asarray(feeds[next(iter(places))]).shape[2]
                made = runner.run(feeds)
                for name, output in masks.items():
                    seen[name] = seen[name] and hides_later(made[output], past)
    return {name: seen.get(one.mask or "", False) for name, one in places.items()}


def follows_from_sizes(value: ir.Value) -> bool:
    """Whether a value depends on the sizes of inputs and on nothing that is in them."""
    waiting, known = [value], set[ir.Value]()
    while waiting:
        one = waiting.pop()
        if one in known:
            continue
        known.add(one)
        node = one.producer()
        if node is None:
            if one.is_graph_input() and one.const_value is None:
                return False
        elif node.op_type != "Shape":
            waiting += [other for other in node.inputs if other is not None]
    return True


def hides_later(mask: Array, past: int) -> bool:
    """Whether each token sees itself and all before it: numbers that are added, or bools."""
    *outer, new, total = mask.shape
    if total != past + new or any(size != 1 for size in outer):
        return False
    seen = np.arange(total) <= past + np.arange(new)[:, None]
    rows = mask.reshape(new, total)
    if mask.dtype == np.bool_:
        return bool(np.array_equal(rows, seen)) or bool(np.array_equal(rows, ~seen))
    added = rows.astype(np.float64)
    return bool((added[seen] == 0).all() and (added[~seen] <= HIDDEN).all())


def _calls(session: Session, model: ir.Model, data: CalibrationSet | None) -> list[Arrays]:
    """Calls of each phase, of sizes in between, and samples: those that the float graph takes."""
    with session.target.open(model, threads=0, timed=False) as runner:
        return [feeds for feeds in _likely_calls(session, data) if _takes(runner, feeds)]


def _takes(runner: Runner, feeds: Arrays) -> bool:
    """Whether a graph runs on them; some take several tokens behind an empty cache alone."""
    try:
        runner.run(feeds)
    except DataError:
        return False
    return True


def _likely_calls(session: Session, data: CalibrationSet | None) -> Iterator[Arrays]:
    prepared, seed = session.prepared, session.recipe.seed
    yield session.feeds()
    for config in configurations(session.recipe, prepared):
        if config.phase is not None:
            yield prepared.timed(config, seed)
    decode = prepared.phases.calls.get("decode")
    if decode is not None and "prefill" in prepared.phases.calls:
        at = prepared.sizes.of(prepared.fixed_batch or 2)
        sizes = {name: MORE if size == 1 else MORE + 2 for name, size in decode.sizes.items()}
        yield Call(sizes, decode.flags).arrays(at)
    if data is not None:
        for step in data.take(SAMPLES).batches(prepared.fixed_batch or 1):
            yield step.inputs


def _without_cores(session: Session, caches: SharedCaches, found: Outcome) -> Outcome:
    """The outcome with attention over a cache as it was before forms."""
    over = caches.cores_over_caches(found.plain)
    forms = {node: form for node, form in found.plan.forms.items() if node not in over}
    if forms == found.plan.forms:
        return found
    plan = found.plan.model_copy(update={"forms": forms})
    return found.then(plan=plan, graph=decided_graph(found.plain, plan, session.target))


def _tensors(
    places: Mapping[str, SharedTensor],
    scales: Mapping[str, float | None],
    causal: Mapping[str, bool],
) -> dict[str, SharedCacheTensor]:
    return {
        name: SharedCacheTensor(output=one.output, scale=scales[name], causal=causal[name])
        for name, one in places.items()
    }


def _scale(cache: CacheTensor) -> float:
    """Of int8 that reach as far to either side as the uint8 do to one."""
    furthest = max(cache.zero_point, LEVELS - cache.zero_point)
    return cache.scale * furthest / INT8


def _kind(tensors: Mapping[str, SharedCacheTensor]) -> str:
    eight = any(one.scale is not None for one in tensors.values())
    return f"shared buffers of {'int8' if eight else 'float'}"


def _notice(tensors: Mapping[str, SharedCacheTensor]) -> str:
    return (
        f"the cache lies in {plural(len(tensors), 'shared buffer')}: the file takes seqlens_k and "
        "total_sequence_length beside them, and needs GroupQueryAttention of com.microsoft; "
        "compressor.load calls it as before"
    )
