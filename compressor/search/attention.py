"""Efficient attention, where it was asked for, pays at the data's lengths and keeps the quality.

It is decided on top of what ships. Layers that are faster by themselves take the form, those that
lose least alone before others; the graph is distilled from the original and gets the precision that
ships. Within a budget layers are tried with a part of the training, as many as it accepts, and what
they come to gets all of it. Without one, results that are ruined count as refused. What is left has
to be faster than what ships without, and to be confirmed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.attention.rewriting import with_attention
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Arrays
from compressor.layerwise.factor import own_threads
from compressor.plan.decisions import AttentionPlan
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import in_forms, plain_graph
from compressor.recipe.attention import parse_attention
from compressor.results.attention import AttentionLayer, AttentionResult
from compressor.results.format import plural, ratio, ratio_interval
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.precision import WORDS
from compressor.search.acceptance import Acceptance, NoBudget, scores_of
from compressor.search.attention_layers import Layers, TimedLayer
from compressor.search.candidate import Judged, Outcome, ships_float
from compressor.search.data_split import DataSplit
from compressor.search.measure import told, varied_calls
from compressor.search.precision.exact_forms import float_forms
from compressor.search.precision.search import with_precision
from compressor.search.pruning.steps import checked_feeds
from compressor.search.ruined import Looking
from compressor.search.session import Session, Stage
from compressor.search.training import Trainer, trainer_of

STAGE, SUBJECT = "efficient attention", "attention"
PART = 1 / 4
"""Of the training, that layers get before a budget has said how many of them it takes."""
ATTEMPTS = 3
"""Numbers of layers that are tried, at most."""
FEW = 32
"""Samples on which damages are measured."""
KEPT = {"graph", "baseline", "cpu", "activation", "symmetric", "granularity"} | {
    "prune",
    "sparse",
    "trained",
}
"""Decisions about the graph that stay; those about its precision are made anew."""
BEFORE = ", before attention"
_OF_FLOATS = {"fold", "choose the baseline"}
"""Stages that are taken once."""


def with_efficient_attention(
    session: Session, found: Outcome, data: DataSplit, acceptance: Acceptance
) -> Outcome:
    """What ships, with efficient attention where it pays; as it is, and why, where it does not.

    Args:
        session: How to measure, and what is asked for.
        found: What would ship without.
        data: Samples to train and to calibrate on.
        acceptance: The quality budget, or none.
    """
    asked = session.recipe.train.attention
    if asked is None or found.interrupted:
        return found
    with session.stage(STAGE) as stage:
        reason = _why_not(session, found, data)
        made, result = found, AttentionResult(asked=asked, kept=False, reason=reason or "")
        if reason is None:
            made, result = _Search(session, found, data, acceptance, stage).made()
        for layer in result.layers:
            stage.decide(layer.name, layer.form or "as it is", layer.reason)
        stage.decide(SUBJECT, "kept" if result.kept else "none", result.reason)
        if not result.kept:
            said = f"no efficient attention: {result.reason}"
            stage.notices.append(said)
            session.progress.notice(said)
    return replace(made.then(stage.record), attention=result)


def replayed_attention(plan: GraphPlan) -> AttentionResult | None:
    """What a plan that is replayed has of it; None where it has none."""
    if plan.attention is None:
        return None
    why = "decided by the plan that was replayed"
    forms = plan.attention.layers
    layers = tuple(AttentionLayer(name=one, form=form, reason=why) for one, form in forms.items())
    asked = next(iter(forms.values()), "")
    return AttentionResult(asked=asked, kept=True, reason=why, layers=layers)


def _why_not(session: Session, found: Outcome, data: DataSplit) -> str | None:
    """What speaks against it before anything is made."""
    if trainer_of(session, data) is None:
        return "there is no data to train on (--calib DATA)"
    return session.why_not_measurable(found.baseline, found.shipped)


@dataclass(frozen=True)
class _Tried:
    """Some layers in that form, trained for a while.

    Attributes:
        names: Of the layers.
        outcome: What would ship.
        judged: Whether it is good enough, and what it loses.
    """

    names: tuple[str, ...]
    outcome: Outcome
    judged: Judged


@dataclass(frozen=True)
class _Search:
    """Layers, training and precision for one graph."""

    session: Session
    found: Outcome
    data: DataSplit
    acceptance: Acceptance
    stage: Stage

    def made(self) -> tuple[Outcome, AttentionResult]:
        """With efficient attention; or as it was, and why."""
        asked = parse_attention(self.session.recipe.train.attention or "").asked
        result = AttentionResult(asked=asked, kept=False, reason="", layers=self._told(()))
        if not self.timed:
            return self._without(result, "the graph has no softmax attention that is recognized")
        paying = [one.name for one in self.timed if one.pays]
        if not paying:
            return self._without(result, f"it pays in no layer at {self._lengths}")
        reason = self._why_slower(paying)
        if reason is not None:
            return self._without(result, reason)
        ordered = sorted(paying, key=lambda name: self.damages.get(name, 0.0))
        result = result.model_copy(
            update={"layers": self._told(()), "samples": len(self._few or ())}
        )
        best, words = self._furthest(ordered)
        if best is None:
            return self._without(result, f"no number of layers was good enough: {words}")
        race = self._raced(best.outcome.shipped)
        result = result.model_copy(
            update={
                "latency": race,
                "untrained": self._quality(self._formed(best.names)),
                "trained": self._quality(best.outcome.shipped),
            }
        )
        speed = _speed(race)
        if race is None or race.verdict != "faster":
            return self._without(result, f"{speed}: it has to be faster")
        refused = self._why_unconfirmed(best)
        if refused is not None:
            return self._without(result, refused)
        return self._with(best, result, speed)

    def _with(
        self, best: _Tried, result: AttentionResult, speed: str
    ) -> tuple[Outcome, AttentionResult]:
        words = "" if not best.judged.words else f"; {best.judged.words}"
        count = f"{len(best.names)} of {plural(len(self.timed), 'layer')}"
        reason = f"{result.asked} in {count}: {speed}{words}"
        self.stage.changed = {"layers": len(best.names)}
        layers = self._told(best.names)
        whole = "; ".join(filter(None, (best.outcome.reason, f"efficient attention, {reason}")))
        made = best.outcome.then(reason=whole)
        made = replace(made, considered=self._considered(best, reason))
        return made, result.model_copy(update={"kept": True, "reason": reason, "layers": layers})

    def _without(self, result: AttentionResult, reason: str) -> tuple[Outcome, AttentionResult]:
        return self.found, result.model_copy(update={"reason": reason})

    @cached_property
    def plain(self) -> ir.Model:
        """The float graph that ships, before its precision and exact forms were decided."""
        feeds = partial(checked_feeds, self.session)
        found, _ = plain_graph(self.found.baseline, self.found.plan, feeds)
        return infer_shapes(found.clone())

    @cached_property
    def calls(self) -> list[Arrays]:
        """Inferences of the data, where they differ in length; none where all are alike."""
        samples = self.acceptance.samples
        samples = self.data.calibration if samples is None else samples
        few = None if samples is None else samples.take(FEW * self.session.deciding.batch)
        found = varied_calls(self.session.prepared, few, self.session.deciding)
        return found if len({_shapes(one) for one in found}) > 1 else []

    @cached_property
    def feeds(self) -> Arrays:
        """An inference of the median length."""
        ordered = sorted(self.calls, key=lambda one: sum(array.size for array in one.values()))
        return ordered[len(ordered) // 2] if ordered else self.session.feeds()

    @cached_property
    def timed(self) -> list[TimedLayer]:
        """Every layer of attention."""
        session, plan = self.session, self.found.plan
        asked = parse_attention(session.recipe.train.attention or "")
        layers = Layers(session, self.plain, plan.forms, asked, self.feeds)
        with session.progress.stage("time attention", total=len(layers.cores)) as advance:
            found = []
            for one in layers.timed():
                found.append(one)
                advance(1)
        return found

    @property
    def _lengths(self) -> str:
        counts = sorted({one.tokens for one in self.timed if one.tokens is not None})
        return f"{' and '.join(map(str, counts)) or 'the'} tokens"

    def _formed(self, names: Sequence[str]) -> ir.Model:
        return with_attention(self.plain, self._forms(names))

    def _forms(self, names: Sequence[str]) -> dict[str, str]:
        """In the order of the graph, so that the same layers make the same bytes."""
        wanted = set(names)
        return {one.name: one.form.name for one in self.timed if one.form and one.name in wanted}

    def _why_slower(self, names: Sequence[str]) -> str | None:
        """Why no training is worth it: the whole graph in float is not faster, untrained."""
        session, exact = self.session, self.found.plan.forms
        rest = {node: form for node, form in exact.items() if node not in names}
        before = in_forms(self.plain, exact, session.target)
        after = in_forms(self._formed(names), rest, session.target)
        with session.progress.stage("compare speed"):
            race = session.race(before, after, seconds=session.recipe.measure.seconds / 2)
        if race is None:
            return session.untimed(before, after)
        self.stage.timed(race)
        if race.verdict == "faster":
            return None
        told = f"{ratio(race.speed)} the speed ({ratio_interval(race.ends)})"
        return f"in float the whole graph ran at {told} with it"

    @cached_property
    def _few(self) -> CalibrationSet | None:
        samples = self.acceptance.samples
        return None if samples is None else samples.take(FEW)

    def _quality(self, model: ir.Model) -> QualityResult | None:
        """What a graph loses on a few samples."""
        session, yardstick = self.session, self.session.prepared.yardstick
        if self._few is None or yardstick is None or not yardstick.metrics:
            return None
        metric = yardstick.metrics[0]
        scores = scores_of(self.acceptance.judge, metric, model, self._few)
        words = f"{self.acceptance.words}, {len(self._few):,} of them"
        return told([(metric, scores)], yardstick, words, session.recipe.seed)[0]

    @cached_property
    def damages(self) -> dict[str, float]:
        """What each layer loses alone, untrained, of those that pay."""
        found = {}
        paying = [one.name for one in self.timed if one.pays]
        with self.session.progress.stage("measure damage", total=len(paying)) as advance:
            for name in paying:
                quality = self._quality(self._formed([name]))
                if quality is not None and quality.difference is not None:
                    sign = -1 if quality.higher_is_better else 1
                    found[name] = sign * quality.difference
                advance(1)
        return found

    def _told(self, chosen: Sequence[str]) -> tuple[AttentionLayer, ...]:
        """Every layer for the report."""
        known = self.__dict__.get("damages", {})
        return tuple(
            AttentionLayer(
                name=one.name,
                form=one.form.name if one.form is not None and one.name in chosen else None,
                reason=one.reason,
                tokens=one.tokens,
                latency=one.race,
                damage=known.get(one.name),
            )
            for one in self.timed
        )

    def _furthest(self, ordered: Sequence[str]) -> tuple[_Tried | None, str]:
        """The most layers that are good enough, fully trained; and what was said last."""
        bounded = self.acceptance.asked is not None
        low, high, tries = 0, len(ordered) + 1, 0
        best: _Tried | None = None
        count, words = len(ordered), ""
        while high - low > 1 and tries < ATTEMPTS:
            part = PART if bounded or tries else 1.0
            one = self._tried(ordered[:count], part)
            tries, words = tries + 1, one.judged.words
            if one.judged.accepted:
                low, best = count, one
            else:
                high = count
            count = (low + high) // 2
        if best is None or (not bounded and tries == 1):
            return best, words
        whole = self._tried(best.names, 1.0)
        return whole if whole.judged.accepted else best, words

    def _tried(self, names: Sequence[str], part: float) -> _Tried:
        """Those layers, trained for a part of the length, at the precision that ships."""
        trainer = self._trainer
        start = trainer.train(self._start(names), part)
        with own_threads():
            outcome = self._precise(start)
        judged = self._judged(outcome.shipped)
        verdict = "accepted" if judged.accepted else "refused"
        self.stage.decide(f"{plural(len(names), 'layer')}, trained", verdict, judged.words)
        return _Tried(tuple(names), outcome, judged)

    @property
    def _trainer(self) -> Trainer:
        found = trainer_of(self.session, self.data)
        assert found is not None, "found out before"
        return found

    def _start(self, names: Sequence[str]) -> Outcome:
        """The float graph with those layers, of which no precision is decided."""
        before = self.found.plan
        plan = GraphPlan(ship="float", **{name: getattr(before, name) for name in KEPT})
        plan = plan.model_copy(update={"attention": AttentionPlan(layers=self._forms(names))})
        model = plain_graph(self.found.baseline, plan, partial(checked_feeds, self.session))[0]
        start = self._undecided.then(
            plan=plan, name=WORDS["float"], shipped=model, plain=model, graph=model
        )
        return replace(start, considered=(), regions=(), quantized=None, raced=None)

    @cached_property
    def _undecided(self) -> Outcome:
        """What ships without, as something that precision is decided for anew.

        Its stages are in the history still: those of precision by a name of their own.
        """
        before = self.found.candidate
        records = tuple(
            one
            if one.name in _OF_FLOATS
            else one.model_copy(update={"name": f"{one.name}{BEFORE}"})
            for one in before.history
        )
        candidate = replace(before, parent=None, records=records, float_reasons={}, reason="")
        return replace(self.found, candidate=candidate)

    def _precise(self, start: Outcome) -> Outcome:
        """The same at the precision that ships."""
        session, plan = self.session, self.found.plan
        if plan.ship == "float" and plan.half is None:
            return float_forms(session, start) if plan.forms else start
        unjudged = NoBudget(session, None, "")
        return with_precision(session, start, self.data.calibration, unjudged, favoured=True)

    def _judged(self, shipped: ir.Model) -> Judged:
        """By the budget; without one by whether it is ruined."""
        acceptance = self.acceptance
        with self.session.progress.stage("try attention"):
            if acceptance.asked is not None:
                return acceptance.accepts(shipped)
            looking = Looking(self.session, acceptance.judge, self._few, acceptance.words)
            quality, why = looking.at(shipped)
        words = "its quality was not measured" if quality is None else _quality_words(quality)
        if why is None or self.session.recipe.quantize.keep_ruined:
            return Judged(True, 0.0, words, quality)
        return Judged(False, 0.0, f"its outputs are ruined: {why}", quality)

    def _raced(self, shipped: ir.Model) -> LatencyResult | None:
        """Against what ships without, over the lengths of the data."""
        session, seconds = self.session, self.session.recipe.measure.seconds
        with session.progress.stage("race attention"):
            if self.calls:
                return session.race_over(self.found.shipped, shipped, self.calls, seconds=seconds)
            return session.race(self.found.shipped, shipped, seconds=seconds)

    def _why_unconfirmed(self, best: _Tried) -> str | None:
        """Why the confirming samples refuse it, in a fixed order; None if they do not."""
        if self.acceptance.asked is None:
            return None
        with self.session.progress.stage("confirm"):
            bare = ships_float(self.found.plan)
            if not bare and not self.acceptance.confirms(self.found.shipped).accepted:
                return "the confirming samples refused the graph without it already"
            judged = self.acceptance.confirms(best.outcome.shipped)
        return None if judged.accepted else judged.words

    def _considered(self, best: _Tried, reason: str) -> tuple[ToldCandidate, ...]:
        """What was considered without, and what ships."""
        candidate = best.outcome.candidate
        words = f"{len(best.names)} layers of efficient attention, {WORDS[candidate.plan.ship]}"
        own = replace(candidate, name=words, reason=reason, judged=best.judged)
        before = (
            one.model_copy(
                update={"shipped": False, "reason": f"{one.reason}; then attention took its place"}
            )
            if one.shipped
            else one
            for one in self.found.considered
        )
        return (*before, own.told(shipped=True))


def _shapes(feeds: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in feeds.values())


def _speed(race: LatencyResult | None) -> str:
    if race is None:
        return "the machine was too busy to time it"
    before, after = race.milliseconds
    return (
        f"the whole graph took {after:.3g} ms, {before:.3g} ms without, "
        f"{ratio(race.speed)} the speed ({ratio_interval(race.ends)})"
    )


def _quality_words(quality: QualityResult) -> str:
    if quality.result is None:
        return "its quality has no value"
    return f"{quality.metric} {quality.result:.4g}{quality.unit}, {quality.baseline:.4g} before"
