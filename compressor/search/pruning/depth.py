"""How many whole residual blocks go before channels do, by the outputs after repair."""

from dataclasses import replace

import numpy as np

from compressor.pruning import find_groups
from compressor.pruning.blocks import Shortened, output_error, shorten
from compressor.pruning.selection.allocation import most_of
from compressor.pruning.selection.costs import Sizes
from compressor.pruning.selection.select import HELD_OUT, Weighing
from compressor.results.records import StageRecord
from compressor.search.pruning.steps import Base, CostOf, Shrinking, checked_feeds, limits
from compressor.search.session import Stage

BLOCKS = 2
"""Whole blocks that are tried to remove, at most."""
JUDGED = 128
"""Samples on which numbers of blocks are compared, at most."""


def shortest(
    how: Shrinking, whole: Base, cost_of: CostOf, target: float
) -> tuple[Base, StageRecord | None]:
    """With none, one, two blocks removed and channels to the target, the base that loses least.

    Args:
        how: Cuts and repairs.
        whole: The whole graph.
        cost_of: What is counted.
        target: What may be left.

    Returns:
        The base, with the whole graph's scores as far as they fit, and what was compared; None
        where there was nothing to compare.
    """
    with how.session.stage("choose blocks") as stage:
        bases = _bases(how, whole, cost_of, target)
        if len(bases) == 1:
            return whole, None
        errors = _errors(how, whole, bases, cost_of, target)
        best = min(bases, key=lambda base: errors[base.blocks])
        _tell(stage, errors, best)
    return best, stage.record


def _errors(
    how: Shrinking, whole: Base, bases: list[Base], cost_of: CostOf, target: float
) -> dict[int, float]:
    """Blocks removed → error at the outputs on samples held out; infinite out of reach."""
    held, used = how.data.take(JUDGED).split(HELD_OUT, how.session.recipe.seed)
    errors: dict[int, float] = {}
    for base in bases:
        full = cost_of(whole.sizes)({})
        found = how.select(base, cost_of(base.sizes), target, (Weighing(),), whole=full)
        keep = found.allocation.keep
        quick = replace(how.repair(base.short.aims), rounds=0)
        made, _ = how.repaired(base, how.cut(base, keep), keep, used, quick)
        error = output_error(how.graph, made, held, batch=how.batch)
        errors[base.blocks] = error if found.allocation.reached else np.inf
    return errors


def _bases(how: Shrinking, whole: Base, cost_of: CostOf, target: float) -> list[Base]:
    """The whole graph, and without blocks until those alone reach the target."""
    bases = [whole]
    sample, progress = how.data.take(JUDGED), how.session.progress
    repair, leave = how.repair({}), how.session.recipe.prune.leave
    for short in shorten(how.graph, whole.grouping, sample, BLOCKS, repair, progress, leave=leave):
        base = _like_whole(how, whole, short)
        full, left = cost_of(whole.sizes)({}), cost_of(base.sizes)({})
        most = limits(how.session, how.multiple).most

        def gone(cost: float, full: float = full) -> float:
            return 1 - cost / full

        if left >= full or (most is not None and gone(left) > most_of(gone(target), most)):
            break
        bases.append(base)
        if left <= target:
            break
    return bases


def _like_whole(how: Shrinking, whole: Base, short: Shortened) -> Base:
    """With the whole graph's scores, which do to compare numbers of blocks."""
    feeds, known = checked_feeds(how.session), whole.scores
    grouping = find_groups(short.model, feeds)
    found = {
        group.name: known[group.name]
        for group in grouping.groups
        if group.name in known and len(known[group.name]) == group.units
    }
    return Base(short, grouping, Sizes(short.model, grouping, feeds), found)


def _tell(stage: Stage, errors: dict[int, float], best: Base) -> None:
    stage.changed = {"blocks removed": best.blocks}
    for count, error in errors.items():
        told = "the target is not reached"
        if np.isfinite(error):
            told = (
                f"with channels to the target and repaired, the outputs differ by {error:.3g} of "
                "their variance on samples held out"
            )
        stage.decide(f"{count} blocks", "chosen" if count == best.blocks else "not chosen", told)
