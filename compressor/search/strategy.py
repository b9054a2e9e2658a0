"""What ships: pruned to a goal, pruned as far as a quality budget allows, or whole."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.errors import RecipeError
from compressor.layerwise.factor import own_threads
from compressor.recipe.goal import Goal
from compressor.recipe.requirements.data import is_for_bits, require_no_repair
from compressor.results.attention import AttentionResult
from compressor.results.exits import ExitsResult
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.precision import EIGHT_BITS, STORED, WORDS
from compressor.results.records import StageRecord
from compressor.search.acceptance import Acceptance
from compressor.search.arithmetic import STAGE, with_arithmetic
from compressor.search.attention import with_efficient_attention
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.exits import with_exits
from compressor.search.precision.four_bits import with_four_bits
from compressor.search.precision.integer_cache import with_integer_cache
from compressor.search.precision.refused_nodes import or_undone
from compressor.search.precision.search import with_precision
from compressor.search.precision.shared_cache import with_shared_cache
from compressor.search.pruning.candidates import PrunedCandidates
from compressor.search.pruning.outcome import Why, ships_whole
from compressor.search.pruning.sparsity_2_4 import with_sparsity
from compressor.search.pruning.steps import Grouped, grouped
from compressor.search.pruning.to_budget import afford
from compressor.search.pruning.to_goal import cost_of, reach
from compressor.search.quantization_aware import (
    IntegerTraining,
    integer_training,
    with_trained_integers,
)
from compressor.search.ruined import unless_ruined
from compressor.search.session import Session, Stage
from compressor.search.training import trainer_of
from compressor.system.progress import say

NOTHING = "nothing can be removed from this graph"
UNSEEN = "without calibration data (--calib DATA, and no --stats) nothing is pruned"
DecoderStep = Callable[[Session, Outcome, CalibrationSet | None, Acceptance], Outcome]
DECODING: tuple[tuple[str, DecoderStep], ...] = (
    ("weights of 4 bits", with_four_bits),
    ("integer cache", with_integer_cache),
    ("shared cache", with_shared_cache),
)
"""What is done to a decoder that ships, last."""
WHY_NOTHING = (
    "`compress inspect MODEL` shows its groups, and why the rest is frozen; --prune-round, "
    "--prune-least and --prune-leave say what has to stay."
)


def decide(
    session: Session,
    data: DataSplit,
    acceptance: Acceptance,
    stats: CalibrationStats | None = None,
) -> Outcome:
    """Decide what ships: prune where a goal or a budget says how far, quantize where it pays.

    Args:
        session: The captured graph and how to measure.
        data: Calibration samples, and those that judge.
        acceptance: The quality budget, or none.
        stats: What was collected from such samples earlier.

    Raises:
        RecipeError: A goal was given without calibration data, or nothing can be removed, and it
            is not a size that weights in fewer bits may reach.
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """
    start = undecided(session, stats)
    training = integer_training(session, data)
    strategy = _Strategy(session, data, acceptance, start, stats, training)
    with session.stage("search") as stage:
        found = strategy.decided(stage)
        found = _attending(session, found, data, acceptance, stage)
        for name, step in DECODING:
            found = _with(step, name, session, found, data, acceptance)
        found = _integers_trained(strategy.training, found, acceptance)
        found = _branched(session, found, data, acceptance, stage)
        found = _with(with_arithmetic, STAGE, session, found, data, acceptance)
    return found if acceptance.asked else unless_ruined(session, start, found, data, acceptance)


def _integers_trained(training: IntegerTraining, found: Outcome, acceptance: Acceptance) -> Outcome:
    """With integers of few bits trained."""

    def work() -> Outcome:
        with own_threads():
            return with_trained_integers(training, found, acceptance)

    return _or_best(found, acceptance, work)


def _with(
    step: DecoderStep,
    name: str,
    session: Session,
    found: Outcome,
    data: DataSplit,
    acceptance: Acceptance,
) -> Outcome:
    """A last step; what was found before it, where the runtime or the user ends it."""

    def undone(record: StageRecord, reason: str) -> Outcome:
        del reason
        return found.then(record)

    def work() -> Outcome:
        return step(session, found, data.calibration, acceptance)

    return _or_best(found, acceptance, lambda: or_undone(session, name, work, undone))


def _attending(
    session: Session, found: Outcome, data: DataSplit, acceptance: Acceptance, stage: Stage
) -> Outcome:
    """With efficient attention; what was found before, where something ends that."""
    asked, name = session.recipe.train.attention, "efficient attention"
    if asked is None:
        return found

    def without(before: Outcome, reason: str) -> Outcome:
        return replace(before, attention=AttentionResult(asked=asked, kept=False, reason=reason))

    def undone(record: StageRecord, reason: str) -> Outcome:
        return without(found.then(record), reason)

    def work() -> Outcome:
        with own_threads():
            return with_efficient_attention(session, found, data, acceptance)

    over = _time_is_over(session, stage, name)
    if over is not None:
        return without(found, over)
    return _or_best(found, acceptance, lambda: or_undone(session, name, work, undone))


def _branched(
    session: Session, found: Outcome, data: DataSplit, acceptance: Acceptance, stage: Stage
) -> Outcome:
    """With early exits; what was found before, where something ends that."""
    asked, name = session.recipe.train.exits, "early exits"

    def without(before: Outcome, reason: str) -> Outcome:
        return replace(before, exits=ExitsResult(asked=asked or 0, kept=False, reason=reason))

    def undone(record: StageRecord, reason: str) -> Outcome:
        return without(found.then(record), reason)

    def work() -> Outcome:
        return with_exits(session, found, data, acceptance)

    over = None if asked is None else _time_is_over(session, stage, name)
    if over is not None:
        return without(found, over)
    return _or_best(found, acceptance, lambda: or_undone(session, name, work, undone))


def _time_is_over(session: Session, stage: Stage, what: str) -> str | None:
    """Why something is left out, where the time budget does not hold it; said in the stage, too."""
    limit = session.recipe.budget.seconds
    if limit is None or stage.elapsed < limit:
        return None
    over = f"the time budget of {session.recipe.budget.time} was over"
    stage.notices.append(f"no {what}: {over}")
    return over


def _or_best(found: Outcome, acceptance: Acceptance, work: Callable[[], Outcome]) -> Outcome:
    """What work makes of it; what was found before, where the user ends that within a budget."""
    try:
        return work()
    except KeyboardInterrupt:
        if acceptance.asked is None or found.plan.ship == "float":
            raise
        return replace(found, interrupted=True)


@dataclass(frozen=True)
class _Strategy:
    """One float graph, and what there is to decide about it."""

    session: Session
    data: DataSplit
    acceptance: Acceptance
    start: Outcome
    stats: CalibrationStats | None
    training: IntegerTraining

    def decided(self, stage: Stage) -> Outcome:
        """What pays, and keeps the budget if there is one; `stage` tells how long it took."""
        session, goal, samples = self.session, self.session.recipe.prune.goal, self.data.calibration
        unseen = samples is None or self.stats is not None
        if unseen:
            require_no_repair(session.recipe)
        if samples is None or unseen or not self._is_pruned:
            whole = self._precise()
            return whole if goal is None else self._by_bits(goal, whole, UNSEEN)
        groups = grouped(session, self.start.baseline, len(samples))
        if goal is not None and not groups.can_shrink(session, self._least_multiple):
            if not is_for_bits(session.recipe, goal):
                raise RecipeError(f"{NOTHING}, which {goal.flag} asks for", hint=WHY_NOTHING)
            return self._by_bits(goal, self._precise(), NOTHING)
        whole = self._precise()
        if whole.interrupted:
            return whole
        try:
            with own_threads():
                return self._pruned(whole, samples, groups, stage)
        except KeyboardInterrupt:
            if self.acceptance.asked is None or whole.plan.ship == "float":
                raise
            reason = f"{whole.reason}; interrupted before it was known how far it can be pruned"
            return replace(whole.then(reason=reason), interrupted=True)

    def _pruned(
        self, whole: Outcome, samples: CalibrationSet, groups: Grouped, stage: Stage
    ) -> Outcome:
        """Pruned to the goal or the budget; whole, where the runtime refuses what became of it."""
        session, goal = self.session, self.session.recipe.prune.goal
        candidates = PrunedCandidates(
            session,
            self.start,
            whole,
            samples,
            groups,
            self.acceptance,
            cost="latency" if goal is None else cost_of(goal),
            trainer=trainer_of(session, self.data),
        )

        def undone(record: StageRecord, reason: str) -> Outcome:
            asked = "as far as the budget allows" if goal is None else goal.flag
            return ships_whole(candidates, Why(asked, reason, notices=record.notices))

        def work() -> Outcome:
            if goal is None:
                return _afforded(candidates, stage)
            if not candidates.can_shrink:
                multiple = f"multiples of {candidates.multiple}, which {candidates.precision} wants"
                raise RecipeError(f"{NOTHING} in {multiple}", hint=WHY_NOTHING)
            return reach(candidates, goal)

        return or_undone(session, "pruning", work, undone)

    def _by_bits(self, goal: Goal, whole: Outcome, why: str) -> Outcome:
        """The whole graph, whose bits alone count towards a size; told as a stage of its own."""
        notice = f"{goal.flag} is left to the bits of the weights: {why}"
        self.session.progress.notice(notice)
        with self.session.stage("prune") as stage:
            stage.decide(goal.flag, "none", f"nothing was pruned: {why}")
            stage.notices.append(notice)
        return whole.then(stage.record)

    def _precise(self) -> Outcome:
        """Sparse where that was asked for, then quantized where it pays.

        Where no quantized graph keeps the budget with zeros in it, one without may: INT8 gains more
        for certain than zeros do.
        """
        session, stats, samples = self.session, self.stats, self._telling
        lacking = samples is None and stats is None and self.data.degenerate is not None
        if lacking and session.recipe.quantize.mode in ("int8", "int8-static"):
            told = (
                f"nothing was quantized, as {self.data.degenerate}: ranges of it fit nothing else"
            )
            return self.start.then(
                reason=f"{told}; pass real samples, or --keep-ruined for integers"
            )
        with session.stage("precision") as stage:
            own = None if stats is not None else samples
            sparse = with_sparsity(session, self.start, own, self.acceptance)
            found = with_precision(
                session, sparse, samples, self.acceptance, stats, train=self.training.refined
            )
        limit = session.recipe.budget.seconds
        refused = found.quantized is not None and found.plan.ship not in EIGHT_BITS
        dense_may = sparse.plan.sparse is not None and self.acceptance.asked is not None
        late = limit is not None and 2 * stage.seconds > limit
        if not (dense_may and refused) or found.interrupted or late:
            return _after(sparse, found)
        dense = with_precision(session, self.start, samples, self.acceptance, stats)
        if dense.plan.ship not in EIGHT_BITS:
            return _after(sparse, found)
        return _after(sparse, self._instead(found, dense))

    def _instead(self, sparse: Outcome, dense: Outcome) -> Outcome:
        """The dense graph after the sparse one, of which nothing kept the budget."""
        after = sparse.then(
            *dense.candidate.since(self.start.candidate),
            plan=dense.plan,
            name=dense.candidate.name,
            reason=f"{dense.reason}; with 2:4 sparse weights no {WORDS[dense.plan.ship]} graph "
            "kept the budget",
            float_reasons=dense.float_reasons,
        )
        considered = (*sparse.considered, *dense.considered)
        return replace(dense, candidate=after.candidate, considered=considered)

    @property
    def _telling(self) -> CalibrationSet | None:
        """Calibration samples, unless they do not vary and nothing but they would judge the result.

        A budget on evaluation data rules itself.
        """
        session = self.session
        judged = self.acceptance.asked is not None and session.prepared.evaluation is not None
        if self.data.degenerate is None or judged or session.recipe.quantize.keep_ruined:
            return self.data.calibration
        return None

    @property
    def _is_pruned(self) -> bool:
        """A goal asks for pruning, and so does a budget that something can be proven of.

        Not where weights are only stored smaller: that is for size, and of models so large that
        pruning takes hours.
        """
        session, options = self.session, self.session.recipe.prune
        if options.goal is not None:
            return True
        stored = session.recipe.quantize.mode in STORED
        if self.acceptance.asked is None or options.off or stored:
            return False
        if session.target.why_not_measurable() is not None:
            return False  # pruned by the way, it would have to be faster
        return self.acceptance.provable

    @property
    def _least_multiple(self) -> int:
        """What channel counts stay multiples of at the precision that needs the least."""
        target = self.session.target
        found = (target.channel_multiple(integer=integer) for integer in (False, True))
        return self.session.recipe.prune.round or min(found)


def _after(sparse: Outcome, found: Outcome) -> Outcome:
    """With the candidates that sparse float graphs were, and what the budget refused."""
    if not sparse.considered:
        return found
    later = () if found.considered == sparse.considered else found.considered
    ships = found.plan.sparse is not None and found.plan.ship in ("float", "fp16")
    kept = [one for one in sparse.considered if one.accepted]

    def told(one: ToldCandidate) -> ToldCandidate:
        shipped = ships and bool(kept) and one is kept[-1]
        return one.model_copy(update={"shipped": shipped}) if kept else one

    if not kept:
        found = found.then(reason=f"{found.reason}; the budget refused 2:4 sparse weights")
    own = tuple(told(one) for one in sparse.considered)
    return replace(found, considered=(*own, *later))


def _afforded(candidates: PrunedCandidates, stage: Stage) -> Outcome:
    """As far as the budget allows."""
    session, acceptance = candidates.session, candidates.acceptance
    if not candidates.can_shrink:
        notice = f"{NOTHING}, so that it ships whole: `compress inspect MODEL` shows why"
        why = Why(f"--max-drop {acceptance.asked}", NOTHING, candidates.whole.reason)
        return ships_whole(candidates, replace(why, notices=(notice,)))
    say(
        session.progress,
        f"{candidates.precision} is found; now pruned graphs are tried (--prune none does without)",
    )
    return afford(candidates, stage.elapsed)
