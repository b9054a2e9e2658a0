"""What ships: pruned to a goal, pruned as far as a quality budget allows, or whole."""

import time
from dataclasses import replace

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.errors import RecipeError
from compressor.layerwise.factor import own_threads
from compressor.recipe.goal import Goal
from compressor.recipe.recipe import Recipe
from compressor.results.precision import EIGHT_BITS, WORDS
from compressor.results.records import Decision, StageRecord
from compressor.search.acceptance import Judging
from compressor.search.baseline import undecided
from compressor.search.candidate import Decided
from compressor.search.data_split import DataSplit
from compressor.search.gauging import gauge
from compressor.search.precision.refused_nodes import or_undone
from compressor.search.precision.search import with_precision
from compressor.search.precision.weight_only import STORED
from compressor.search.pruning.candidates import Attempts
from compressor.search.pruning.outcome import Why, ships_whole
from compressor.search.pruning.sparsity_2_4 import with_sparsity
from compressor.search.pruning.steps import grouped
from compressor.search.pruning.to_budget import afford
from compressor.search.pruning.to_goal import cost_of, reach
from compressor.search.ruined import unless_ruined
from compressor.search.session import Bench

NOTHING = "nothing can be removed from this graph"
UNSEEN = "without calibration data (--calib DATA, and no --stats) nothing is pruned"
WHY_NOTHING = (
    "`compress inspect MODEL` shows its groups, and why the rest is frozen; --prune-round, "
    "--prune-least and --prune-leave say what has to stay."
)


def decide(
    bench: Bench,
    data: DataSplit,
    stats: CalibrationStats | None = None,
    judging: Judging | None = None,
) -> Decided:
    """Decide what ships: prune where a goal or a budget says how far, quantize where it pays.

    Args:
        bench: The captured graph and how to measure.
        data: Calibration samples, and those that judge.
        stats: What was collected from such samples earlier.
        judging: The quality budget; None accepts any quality.

    Raises:
        RecipeError: A goal was given without calibration data, or nothing can be removed, and it
            is not a size that weights in fewer bits may reach.
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """
    start = undecided(bench, stats)
    found = _decided(bench, start, data, stats, judging)
    return found if judging is not None else unless_ruined(bench, start, found, data)


def _decided(
    bench: Bench,
    start: Decided,
    data: DataSplit,
    stats: CalibrationStats | None,
    judging: Judging | None,
) -> Decided:
    """What pays, and keeps the budget if there is one."""
    started = time.perf_counter()
    goal, samples = bench.recipe.prune.goal, data.calibration
    unseen = samples is None or stats is not None
    if goal is not None and unseen and not is_for_bits(bench.recipe, goal):
        raise RecipeError(
            f"{goal.flag} needs calibration data to choose and repair what stays",
            hint="Pass --calib DATA, without --stats: statistics are of the whole graph.",
        )
    if samples is None or unseen or not _is_wanted(bench, judging):
        whole = _precise(bench, start, data, stats, judging)
        return whole if goal is None else _by_bits(bench, goal, whole, UNSEEN)
    groups = grouped(bench, start.baseline, len(samples))
    if goal is not None and not groups.can_shrink(bench, _least_multiple(bench)):
        if not is_for_bits(bench.recipe, goal):
            raise RecipeError(f"{NOTHING}, which {goal.flag} asks for", hint=WHY_NOTHING)
        return _by_bits(bench, goal, _precise(bench, start, data, None, judging), NOTHING)
    whole = _precise(bench, start, data, None, judging)
    attempts = Attempts(
        bench,
        start,
        whole,
        samples,
        groups,
        cost="latency" if goal is None else cost_of(goal),
        judging=judging,
        gauge=None if judging else gauge(bench.recipe, data.quality, data.words),
    )
    if whole.interrupted:
        return whole
    try:
        with own_threads():
            return or_undone(
                bench,
                "pruning",
                lambda: _pruned(attempts, goal, judging, started),
                lambda record: _unpruned(attempts, goal, record),
            )
    except KeyboardInterrupt:
        if judging is None or whole.plan.ship == "float":
            raise
        reason = f"{whole.reason}; interrupted before it was known how far it can be pruned"
        return replace(whole, interrupted=True, reason=reason)


def _unpruned(attempts: Attempts, goal: Goal | None, record: StageRecord) -> Decided:
    """The whole graph, as the runtime refuses what became of it."""
    asked = "as far as the budget allows" if goal is None else goal.flag
    return ships_whole(attempts, Why(asked, pruning=record.notices[0], notices=record.notices))


def is_for_bits(recipe: Recipe, goal: Goal) -> bool:
    """Whether weights that are only stored smaller may reach a goal without pruning."""
    return goal.kind == "size" and recipe.quantize.mode in STORED


def _by_bits(bench: Bench, goal: Goal, whole: Decided, why: str) -> Decided:
    """The whole graph, whose bits alone count towards a size; told as a stage of its own."""
    notice = f"{goal.flag} is left to the bits of the weights: {why}"
    bench.progress.notice(notice)
    decision = Decision(subject=goal.flag, verdict="none", reason=f"nothing was pruned: {why}")
    record = StageRecord(name="prune", seconds=0.0, decisions=(decision,), notices=(notice,))
    return replace(whole, records=(*whole.records, record))


def _precise(
    bench: Bench,
    start: Decided,
    data: DataSplit,
    stats: CalibrationStats | None,
    judging: Judging | None,
) -> Decided:
    """Sparse where that was asked for, then quantized where it pays.

    Where no quantized graph keeps the budget with zeros in it, one without may: INT8 gains more for
    certain than zeros do.
    """
    started, samples = time.perf_counter(), _telling(bench, data, judging)
    lacking = samples is None and stats is None and data.degenerate is not None
    if lacking and bench.recipe.quantize.mode in ("int8", "int8-static"):
        reason = f"nothing was quantized, as {data.degenerate}: ranges of it fit nothing else"
        return replace(start, reason=f"{reason}; pass real samples, or --keep-ruined for integers")
    sparse = with_sparsity(bench, start, None if stats is not None else samples, judging)
    found = with_precision(bench, sparse, samples, stats, judging)
    if sparse.plan.sparse is None:
        return _after(sparse, found)
    refused = judging is not None and found.quantized is not None
    refused = refused and found.plan.ship not in EIGHT_BITS
    limit, spent = bench.recipe.budget.seconds, time.perf_counter() - started
    if not refused or found.interrupted or (limit is not None and 2 * spent > limit):
        return _after(sparse, found)
    dense = with_precision(bench, start, samples, stats, judging)
    if dense.plan.ship not in EIGHT_BITS:
        return _after(sparse, found)
    told = replace(
        dense,
        records=(*found.records, *dense.records[len(start.records) :]),
        reason=f"{dense.reason}; with 2:4 sparse weights no {WORDS[dense.plan.ship]} graph "
        "kept the budget",
        candidates=(*found.candidates, *dense.candidates),
    )
    return _after(sparse, told)


def _telling(bench: Bench, data: DataSplit, judging: Judging | None) -> CalibrationSet | None:
    """Calibration samples, unless they do not vary and nothing but they would judge the result.

    A budget on evaluation data rules itself.
    """
    judged = judging is not None and bench.prepared.evaluation is not None
    if data.degenerate is None or judged or bench.recipe.quantize.keep_ruined:
        return data.calibration
    return None


def _after(sparse: Decided, found: Decided) -> Decided:
    """With the candidates that sparse float graphs were, and what the budget refused."""
    later = () if found.candidates == sparse.candidates else found.candidates
    ships = found.plan.sparse is not None and found.plan.ship in ("float", "fp16")
    kept = [one for one in sparse.candidates if one.accepted]
    own = (
        one.model_copy(update={"shipped": ships and one is kept[-1]}) if kept else one
        for one in sparse.candidates
    )
    refused = sparse.candidates and not kept
    reason = f"{found.reason}; the budget refused 2:4 sparse weights" if refused else found.reason
    return replace(found, candidates=(*own, *later), reason=reason)


def _is_wanted(bench: Bench, judging: Judging | None) -> bool:
    """A goal asks for pruning, and so does a budget that something can be proven of.

    Not where weights are only stored smaller: that is for size, and of models so large that pruning
    takes hours.
    """
    options = bench.recipe.prune
    if options.goal is not None:
        return True
    if judging is None or options.off or bench.recipe.quantize.mode in STORED:
        return False
    if bench.target.unmeasurable() is not None:
        return False  # pruned by the way, it would have to be faster
    return judging.provable


def _least_multiple(bench: Bench) -> int:
    """What channel counts stay multiples of at the precision that needs the least."""
    found = (bench.target.channel_multiple(integer=integer) for integer in (False, True))
    return bench.recipe.prune.round or min(found)


def _pruned(
    attempts: Attempts, goal: Goal | None, judging: Judging | None, started: float
) -> Decided:
    removable = attempts.can_shrink
    if goal is not None:
        if not removable:
            multiple = f"in multiples of {attempts.multiple}, which {attempts.precision} wants"
            raise RecipeError(f"{NOTHING} {multiple}", hint=WHY_NOTHING)
        return reach(attempts, goal)
    assert judging is not None
    if not removable:
        notice = f"{NOTHING}, so that it ships whole: `compress inspect MODEL` shows why"
        why = Why(f"--max-drop {judging.budget.asked}", NOTHING, attempts.whole.reason)
        return ships_whole(attempts, replace(why, notices=(notice,)))
    attempts.bench.progress.notice(
        f"{attempts.precision} is found; now pruned graphs are tried (--prune none does without)"
    )
    return afford(attempts, judging, started)
