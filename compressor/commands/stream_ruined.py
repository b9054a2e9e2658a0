"""Takes back what blocks became where the outputs of the whole are ruined.

A block by itself is looked at on what float blocks in front of it make; errors add up over all of
them. So the whole is judged by the floors of `compressor.evaluation.ruin`, as a model in memory is.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from compressor.commands.stream_block import WEIGHTS, BlockDone, BlockTask, worked_on
from compressor.plan.plan import GraphPlan
from compressor.results.precision import WORDS, Precision
from compressor.results.records import Decision, StageRecord
from compressor.search.attention import KEPT
from compressor.system.progress import Progress
from compressor.system.stopwatch import Stopwatch

HOW = "--keep-ruined ships it all the same"


@dataclass(frozen=True)
class TakenBack:
    """All blocks in float.

    Attributes:
        done: What became of each.
        record: The stage, with the notice.
        reason: Why float ships.
    """

    done: tuple[BlockDone, ...]
    record: StageRecord
    reason: str


def in_float(
    tasks: tuple[BlockTask, ...],
    done: tuple[BlockDone, ...],
    ship: Precision,
    why: str,
    progress: Progress,
) -> TakenBack:
    """Write every block in float, in the place of what it became.

    Args:
        tasks: What was worked on, in order.
        done: What became of each.
        ship: As what most of them would ship.
        why: Why the outputs of the whole are ruined.
        progress: Where progress is shown.
    """
    watch, words = Stopwatch(), WORDS[ship]
    with progress.stage("take blocks back", total=len(tasks)) as advance:
        found = tuple(_back(task, one, advance) for task, one in zip(tasks, done, strict=True))
    reason = f"{words} was reverted: its outputs are ruined: {why}; {HOW}"
    notice = f"{words} does not ship: its outputs are ruined ({why}); {HOW}"
    progress.notice(notice)
    decision = Decision(subject=words, verdict="reverted", reason=reason)
    record = StageRecord(
        name="look for ruin", seconds=watch.seconds, decisions=(decision,), notices=(notice,)
    )
    return TakenBack(found, record, reason)


def _back(task: BlockTask, done: BlockDone, advance: Callable[[int], None]) -> BlockDone:
    """One block in float: what a replay of a plan makes that decides nothing about precision."""
    if done.plan.ship != "float":
        plan = GraphPlan(ship="float", **{name: getattr(done.plan, name) for name in KEPT})
        (task.folder / WEIGHTS).unlink(missing_ok=True)
        again = worked_on(
            replace(task, arrays={}, used=0, judged=0, plan=plan, arrays_of_plan=None)
        )
        done = replace(again, records=(*done.records, *again.records))
    advance(1)
    return done
