"""Early exits of a classifier, where they were asked for and make it faster within the budget.

They come last, to the graph that would ship: its own values are read, its layers stay. Heads are
trained at the ends of its blocks, places and thresholds chosen on the samples that are searched
on. The cheapest choice that the budget accepts there and confirms is raced over many samples.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.exits.branching import feature_name, features_graph
from compressor.exits.choice import Choice, Seen, choices, places_left
from compressor.exits.cuts import SAMPLES, Cut, find_cuts, why_not_branched
from compressor.graph.tensors import Array
from compressor.plan.decisions import ExitPlan, ExitsPlan
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import branched
from compressor.results.exits import ExitFigure, ExitsResult
from compressor.results.format import percent, plural
from compressor.results.measurements import LatencyResult
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome, ships_float
from compressor.search.data_split import DataSplit
from compressor.search.measure import varied_calls
from compressor.search.session import Session, Stage

STAGE, SUBJECT = "early exits", "exits"
LEAST = 32
"""Samples to train on, at least."""
MOST_TRAINED, MOST_SEARCHED = 16384, 2048
MOST_CUTS = 12
"""Ends of blocks that heads are trained at."""
CAREFUL = (1 / 4, 1 / 2, 1)
"""Of the errors that the searched samples allow, that choices are confirmed with in turn."""
OVERHEAD = 0.02
"""What passing an exit is taken to cost until it is raced, as a share of the whole."""

Floats = npt.NDArray[np.float32]


def with_exits(
    session: Session, found: Outcome, data: DataSplit, acceptance: Acceptance
) -> Outcome:
    """What ships, with exits where they pay; as it is, and why, where they do not.

    Args:
        session: How to measure, and how many exits are asked for.
        found: What would ship without.
        data: Samples to train on, and others.
        acceptance: The quality budget.
    """
    asked = session.recipe.train.exits
    if asked is None or found.interrupted:
        return found
    with session.stage(STAGE) as stage:
        reason = _why_not(session, found, data, acceptance)
        result = ExitsResult(asked=asked, kept=False, reason=reason or "")
        made = found
        if reason is None:
            made, result = _Search(session, found, data, acceptance, asked, stage).made()
        stage.decide(SUBJECT, "kept" if result.kept else "none", result.reason)
        if not result.kept:
            said = f"no exits: {result.reason}"
            stage.notices.append(said)
            session.progress.notice(said)
    return replace(made.then(stage.record), exits=result)


def _why_not(
    session: Session, found: Outcome, data: DataSplit, acceptance: Acceptance
) -> str | None:
    """What speaks against exits before anything is made."""
    yardstick = session.prepared.yardstick
    if acceptance.asked is None or acceptance.samples is None or yardstick is None:
        return "how sure a sample has to be is chosen by a quality budget (--max-drop)"
    if yardstick.classes is None:
        return f"output {yardstick.primary!r} is not known to score classes"
    if data.training is None or data.held_out is None or len(data.training) < LEAST:
        count = 0 if data.training is None else len(data.training)
        return f"{plural(count, 'sample')} to train heads on are too few: give {LEAST} or more"
    if found.plan.half is not None or found.plan.ship in ("fp16", "bf16"):
        return "heads compute in float32, and what ships is of half precision"
    reason = why_not_branched(found.shipped)
    return reason or session.why_not_measurable(found.baseline, found.shipped)


@dataclass(frozen=True)
class _Lessons:
    """What the ends of blocks hold on some samples, and what the graph answers.

    Attributes:
        features: (samples, features) of each cut.
        answers: (samples, classes).
        labels: (samples,) where they have such.
    """

    features: tuple[Floats, ...]
    answers: Floats
    labels: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class _Search:
    """Heads, places and thresholds for one graph."""

    session: Session
    found: Outcome
    data: DataSplit
    acceptance: Acceptance
    asked: int
    stage: Stage

    def made(self) -> tuple[Outcome, ExitsResult]:
        """With exits; or as it was, and why."""
        if not self.cuts:
            return self._without("no value inside is one that all goes through")
        rungs = self._accepted()
        if not rungs:
            return self._without("no choice of exits keeps the budget on the searched samples")
        confirmed, words = self._confirmed(rungs)
        if confirmed is None:
            return self._without(words, rungs[0].plan)
        plan, session = confirmed.plan, self.session
        calls = varied_calls(session.prepared, self.acceptance.samples, session.deciding)
        with session.progress.stage("race exits"):
            seconds = session.recipe.measure.seconds
            race = session.race_over(self.found.shipped, confirmed.model, calls, seconds=seconds)
        told = _speed(race, len(calls), session.deciding.batch)
        if race is None or race.verdict != "faster":
            return self._without(f"{told}: they have to be faster", plan, race, len(calls))
        after = self.found.then(plan=plan, shipped=confirmed.model)
        places = self._figures(confirmed.choice)
        reason = f"{told}, {_leaving(places)}; {words}"
        self.stage.changed = {"exits": len(confirmed.choice.places)}
        result = self._result(plan, race, len(calls), reason)
        return after, result.model_copy(update={"kept": True, "places": places})

    @cached_property
    def cuts(self) -> list[Cut]:
        """The ends of blocks, as many of them as heads are trained for."""
        session = self.session
        batch = session.prepared.fixed_batch or SAMPLES
        feeds = session.prepared.feeds(batch, session.recipe.seed)
        found = find_cuts(self.found.shipped, feeds)
        if len(found) <= MOST_CUTS:
            return found
        wanted = np.linspace(found[0].share, found[-1].share, MOST_CUTS)
        shares = np.array([one.share for one in found])
        return [found[i] for i in sorted({int(np.abs(shares - w).argmin()) for w in wanted})]

    @cached_property
    def mask(self) -> str | None:
        """The input that hides tokens."""
        from compressor.training.losses import mask_of  # noqa: PLC0415 - imports torch

        return mask_of(self.found.shipped)

    @cached_property
    def heads(self) -> list["_Head"]:
        """One for each cut, trained on what ships computes there."""
        from compressor.training.heads import Lesson, train_head  # noqa: PLC0415 - imports torch

        assert self.data.training is not None, "found out before"
        assert self.data.held_out is not None, "found out before"
        session, options = self.session, self.session.recipe.train
        with session.progress.stage("read the ends of blocks"):
            seen = self._read(self.data.training.take(MOST_TRAINED))
            held = self._read(self.data.held_out)
        heads = []
        with session.progress.stage("train exits", total=len(self.cuts)) as advance:
            for place in range(len(self.cuts)):
                lesson = Lesson(seen.features[place], seen.answers)
                looked = Lesson(held.features[place], held.answers)
                taught = train_head(
                    lesson, looked, options, session.recipe.seed, is_share=self.is_share
                )
                heads.append(_Head(taught.weight, taught.bias))
                advance(1)
        return heads

    @property
    def is_share(self) -> bool:
        """Whether the graph answers with shares of classes."""
        maker = self.found.shipped.graph.outputs[0].producer()
        return maker is not None and maker.op_type == "Softmax"

    def _read(self, data: CalibrationSet) -> _Lessons:
        """The graph's values on some samples."""
        session, fixed = self.session, self.session.prepared.fixed_batch
        model = features_graph(self.found.shipped, self.cuts, self.mask)
        answer = self.found.shipped.graph.outputs[0].name or ""
        names = [feature_name(place) for place in range(len(self.cuts))]
        parts: list[list[Array]] = []
        labels: list[Array] = []
        with session.target.open(model, threads=0, timed=False) as runner:
            for step in data.batches(session.batch):
                made = runner.run(step.inputs if fixed is None else step.filled(fixed))
                parts.append([made[name][: len(step)] for name in (*names, answer)])
                if step.labels is not None:
                    labels.append(np.asarray(step.labels))
        *features, answers = (np.concatenate(one) for one in zip(*parts, strict=True))
        told = np.concatenate(labels) if labels else None
        usable = told is not None and told.size == len(answers) and told.dtype.kind in "iu"
        numbers = told.reshape(-1).astype(np.int64) if told is not None and usable else None
        return _Lessons(tuple(features), answers, numbers)

    def _seen(self, lessons: _Lessons) -> list[Seen]:
        """How sure heads are, and where they differ from the graph's own end."""
        best = lessons.answers.argmax(-1)
        found = []
        for cut, head, features in zip(self.cuts, self.heads, lessons.features, strict=True):
            shares = _softmax(features @ head.weight + head.bias)
            found.append(Seen(cut.share, shares.max(-1), shares.argmax(-1) != best))
        return found

    def _accepted(self) -> list["_Rung"]:
        """Choices that the budget accepts on the searched samples, the careful ones first.

        The cheapest is found by bisection; before it come those that err a fourth and a half as
        often, which the confirming samples may take where they refuse that.
        """
        samples = self.acceptance.samples
        assert samples is not None, "found out before"
        session, heads = self.session, self.heads
        with session.progress.stage("choose exits"):
            seen = self._seen(self._read(samples.take(MOST_SEARCHED)))
            ladder = choices(seen, min(self.asked, len(heads)), OVERHEAD)
        known: dict[int, _Rung] = {}
        low, high = -1, len(ladder)  # accepted up to `low`, refused from `high` on
        with session.progress.stage("hold exits against the budget"):
            while high - low > 1:
                middle = (low + high) // 2
                rung = self._rung(ladder[middle])
                if self.acceptance.accepts(rung.model).accepted:
                    low, known[middle] = middle, rung
                else:
                    high = middle
        if low < 0:
            return []
        errors = [one.errors for one in ladder[: low + 1]]
        wanted = [bisect_right(errors, part * errors[-1]) - 1 for part in CAREFUL]
        places = sorted({place for place in wanted if place >= 0})
        return [known[place] if place in known else self._rung(ladder[place]) for place in places]

    def _rung(self, choice: Choice) -> "_Rung":
        plan = self._plan(choice)
        return _Rung(choice, plan, branched(self.found.shipped, plan))

    def _confirmed(self, rungs: Sequence["_Rung"]) -> tuple["_Rung | None", str]:
        """The last that is confirmed before one is refused, the graph without exits before all.

        So the order is fixed, and none is asked about behind one that is refused.
        """
        session, best, words = self.session, None, ""
        with session.progress.stage("confirm"):
            bare = ships_float(self.found.plan)
            if not bare and not self.acceptance.confirms(self.found.shipped).accepted:
                return None, "the confirming samples refused the graph without them already"
            for rung in rungs:
                judged = self.acceptance.confirms(rung.model)
                if not judged.accepted:
                    return best, words or judged.words
                best, words = rung, judged.words
        return best, words

    def _plan(self, choice: Choice) -> GraphPlan:
        """The plan with those exits."""
        import torch  # noqa: PLC0415 - whose version the plan tells

        session, weights = self.session, dict[str, Array]()
        at = []
        for place, threshold in zip(choice.places, choice.thresholds, strict=True):
            cut, head = self.cuts[place], self.heads[place]
            one = ExitPlan(
                value=cut.value,
                threshold=threshold,
                depth=cut.share,
                grid=cut.grid,
                channels_last=cut.channels_last,
                mask=self.mask if cut.channels_last else None,
            )
            at.append(one)
            weights |= one.named(head.weight, head.bias)
        assert self.data.training is not None, "found out before"
        exits = ExitsPlan(
            at=tuple(at),
            seed=session.recipe.seed,
            torch=torch.__version__,
            data=self.data.training.fingerprint(),
            weights=weights,
        )
        return self.found.plan.model_copy(update={"exits": exits})

    def _figures(self, choice: Choice) -> tuple[ExitFigure, ...]:
        """Who leaves where, on samples that no decision has seen."""
        assert self.data.quality is not None, "a budget has some"
        lessons = self._read(self.data.quality)
        seen = [self._seen(lessons)[place] for place in choice.places]
        left = places_left(seen, choice.thresholds)
        best = lessons.answers.argmax(-1)
        ends = [*choice.places, None]
        figures = []
        for number, place in enumerate(ends):
            here = left == number
            answers = best
            if place is not None:
                head = self.heads[place]
                answers = (lessons.features[place] @ head.weight + head.bias).argmax(-1)
            figure = ExitFigure(
                value=self._name_of(place),
                depth=1.0 if place is None else self.cuts[place].share,
                threshold=None if place is None else choice.thresholds[number],
                left=float(here.mean()),
                agreement=_share((answers == best)[here]),
                accuracy=None
                if lessons.labels is None
                else _share((answers == lessons.labels)[here]),
            )
            figures.append(figure)
        return tuple(figures)

    def _name_of(self, place: int | None) -> str:
        if place is None:
            return self.found.shipped.graph.outputs[0].name or ""
        return self.cuts[place].value

    def _without(
        self,
        reason: str,
        plan: GraphPlan | None = None,
        race: LatencyResult | None = None,
        timed: int = 0,
    ) -> tuple[Outcome, ExitsResult]:
        """As it was."""
        return self.found, self._result(plan, race, timed, reason)

    def _result(
        self, plan: GraphPlan | None, race: LatencyResult | None, timed: int, reason: str
    ) -> ExitsResult:
        exits = None if plan is None else plan.exits
        judged = self.data.quality
        return ExitsResult(
            asked=self.asked,
            kept=False,
            reason=reason,
            places=() if exits is None else planned_places(exits),
            latency=race,
            timed=timed,
            samples=0 if judged is None else len(judged),
            trained=0 if self.data.training is None else min(len(self.data.training), MOST_TRAINED),
            parameters=0 if exits is None else sum(a.size for a in exits.weights.values()),
        )


@dataclass(frozen=True)
class _Rung:
    """A choice, and what it makes."""

    choice: Choice
    plan: GraphPlan
    model: ir.Model


@dataclass(frozen=True)
class _Head:
    """Scores from features."""

    weight: Floats
    bias: Floats


def planned_places(exits: ExitsPlan) -> tuple[ExitFigure, ...]:
    """The exits of a plan, of which no samples tell anything."""
    return tuple(
        ExitFigure(value=one.value, depth=one.depth, threshold=one.threshold) for one in exits.at
    )


def replayed_exits(plan: GraphPlan) -> ExitsResult | None:
    """What a plan that is replayed has of exits; None where it has none."""
    if plan.exits is None:
        return None
    return ExitsResult(
        asked=len(plan.exits.at),
        kept=True,
        reason="decided by the plan that was replayed",
        places=planned_places(plan.exits),
        parameters=sum(array.size for array in plan.exits.weights.values()),
    )


def _softmax(scores: Floats) -> npt.NDArray[np.float64]:
    raised = np.exp(np.asarray(scores, np.float64) - scores.max(-1, keepdims=True))
    found: npt.NDArray[np.float64] = raised / raised.sum(-1, keepdims=True)
    return found


def _share(hits: npt.NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if hits.size else None


def _speed(race: LatencyResult | None, count: int, batch: int) -> str:
    if race is None:
        return "the machine was too busy to time exits"
    low, high = 1 / race.ends.high, 1 / race.ends.low
    return (
        f"the mean of {plural(count, 'inference')} at batch {batch} took {1 / race.speed:.2f} "
        f"times as long as without exits ({low:.2f} to {high:.2f})"
    )


def _leaving(places: Sequence[ExitFigure]) -> str:
    parts = [percent(one.left or 0.0) for one in places[:-1]]
    return f"{' and '.join(parts)} of the confirming samples left early"
