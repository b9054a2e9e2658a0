"""Undoes what the runtime refuses: a step of ours never costs the user the result.

The runtime is asked before anything is measured. Where it takes the float graph and not what
became of it, the places that it refuses are found by halving and stay float, each with the
runtime's words; a step that fails in it in other ways is left out as a whole, and said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import onnx_ir as ir

from compressor.errors import DataError
from compressor.graph.session import is_refusal, words
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy, realize
from compressor.quantization.placement import restricted
from compressor.results.records import StageRecord
from compressor.search.session import Session, Stage

STAGE = "leave float what the runtime refuses"
TRIES = 96
"""Graphs that the runtime is asked about, at most: what is left over then stays float."""

T = TypeVar("T")


@dataclass(frozen=True)
class Runnable:
    """A plan whose graph the runtime takes.

    Attributes:
        plan: As it was, or without the places that were refused.
        float_reasons: Node → why it stays float.
        records: The stage, where anything was undone.
    """

    plan: GraphPlan
    float_reasons: Mapping[str, str]
    records: tuple[StageRecord, ...]


def or_undone(
    session: Session, step: str, work: Callable[[], T], otherwise: Callable[[StageRecord], T]
) -> T:
    """What a step comes to; where the runtime refuses what it made, what is there without it.

    Args:
        session: Where the user is told.
        step: Its name, for people.
        work: The step.
        otherwise: The result without it, which is given the record of that.
    """
    with session.stage(step) as stage:
        try:
            return work()
        except Exception as error:
            if not is_refusal(error):
                raise
            notice = f"{step} was left out: {words(error)}"
    session.progress.notice(notice)
    stage.decide(step, "undone", notice)
    stage.notices.append(notice)
    return otherwise(stage.record)


def runnable(session: Session, graph: ir.Model, plan: GraphPlan) -> Runnable:
    """The plan without the places that the runtime refuses.

    Args:
        session: The target, and inputs to run on.
        graph: The float graph that the plan builds on.
        plan: What was proposed: places of 8 bits.
    """
    with session.stage(STAGE) as stage:
        refused = _refusal(session, graph, plan)
        if refused is None:
            return Runnable(plan, {}, ())
        seeds = _seeds(session, graph, plan)
        kept, reasons = without_refused(
            seeds,
            lambda names: _refusal(session, graph, _only(session, graph, plan, names)),
            refused,
        )
        _tell(session, stage, "layers of 8 bits", len(seeds), reasons, refused)
        stage.changed = {"layers left float": len(reasons)}
    return Runnable(_only(session, graph, plan, kept), reasons, (stage.record,))


def _tell(
    session: Session,
    stage: Stage,
    what: str,
    of: int,
    reasons: Mapping[str, str],
    refused: str,
) -> None:
    """What stays float, to the user and in the record."""
    notice = (
        f"the runtime refused the graph with {of} {what}: "
        f"{len(reasons)} of them stay float ({refused})"
    )
    session.progress.notice(notice)
    stage.notices.append(notice)
    for name, reason in reasons.items():
        stage.decide(name, "float", reason)


def without_refused(
    places: Sequence[str], refusal: Callable[[Sequence[str]], str | None], first: str
) -> tuple[list[str], dict[str, str]]:
    """The places that can be changed together, and why each of the others cannot.

    Args:
        places: All of them, which are refused together.
        refusal: Why some of them are refused together; None where they are not.
        first: Why all are.
    """
    kept: list[str] = []
    reasons: dict[str, str] = {}
    waiting, tries = [list(places)], 0
    while waiting:
        block = waiting.pop()
        is_all = len(block) == len(places)
        if tries >= TRIES:
            why: str | None = f"the runtime refuses it or one of its neighbours: {first}"
        else:
            why = first if is_all else refusal([*kept, *block])
            tries += not is_all
        if why is None:
            kept += block
        elif len(block) == 1 or tries >= TRIES:
            reasons |= dict.fromkeys(block, f"the runtime refuses the graph with it: {why}")
        else:
            middle = len(block) // 2
            waiting += [block[middle:], block[:middle]]
    return kept, reasons


def storable(session: Session, graph: ir.Model, plan: GraphPlan) -> Runnable:
    """The plan without the weights in fewer bits that the runtime refuses; see `runnable`."""
    stored = plan.stored
    assert stored is not None, "a plan that stores weights"
    weights = [*stored.matrices, *stored.halved]
    with session.stage(STAGE) as stage:
        refused = _failed(session, graph, plan)
        if refused is None or not weights:
            return Runnable(plan, {}, ())
        kept, reasons = without_refused(
            weights, lambda names: _failed(session, graph, _storing(plan, names)), refused
        )
        _tell(session, stage, "weights in fewer bits", len(weights), reasons, refused)
        stage.changed = {"weights left float": len(reasons)}
    return Runnable(_storing(plan, kept), reasons, (stage.record,))


def _storing(plan: GraphPlan, names: Sequence[str]) -> GraphPlan:
    """The plan with those weights in fewer bits and no others."""
    assert plan.stored is not None, "a plan that stores weights"
    stored, left = plan.stored, set(names)
    update = {
        "matrices": {name: one for name, one in stored.matrices.items() if name in left},
        "halved": tuple(name for name in stored.halved if name in left),
        "arrays": {k: a for k, a in stored.arrays.items() if k.rpartition("/")[0] in left},
    }
    return plan.model_copy(update={"stored": stored.model_copy(update=update)})


def _seeds(session: Session, graph: ir.Model, plan: GraphPlan) -> list[str]:
    """The layers of 8 bits; what only lies between them follows."""
    weighted, chosen = planned_policy(plan, session.target).weighted, set(plan.quantized)
    dynamic = set(plan.dynamic)
    return [
        node.name or ""
        for node in graph.graph
        if node.name in chosen and (node.op_type in weighted or node.name in dynamic)
    ]


def _only(session: Session, graph: ir.Model, plan: GraphPlan, names: Sequence[str]) -> GraphPlan:
    """The plan with those layers of 8 bits and no others."""
    policy = planned_policy(plan, session.target)
    integer = restricted(graph, plan.integer, names, policy) if plan.integer else ()
    dynamic = tuple(name for name in plan.dynamic if name in set(names))
    return plan.model_copy(update={"integer": integer, "dynamic": dynamic})


def _refusal(session: Session, graph: ir.Model, plan: GraphPlan) -> str | None:
    """Why the runtime does not run what a plan makes; None where it does."""
    return _failed(session, graph, plan) if plan.quantized else None


def _failed(session: Session, graph: ir.Model, plan: GraphPlan) -> str | None:
    try:
        made = realize(graph, plan, session.target)
        return _failure(session, made)
    except Exception as error:
        if not is_refusal(error):
            raise
        return words(error)


def _failure(session: Session, made: ir.Model) -> str | None:
    """Why a graph does not run on inputs that the original runs on."""
    batch = session.prepared.fixed_batch or 1
    feeds = session.prepared.feeds(batch, session.recipe.seed)
    with session.target.open(made, timed=False) as candidate:
        try:
            candidate.run(feeds)
        except DataError as error:
            failed = words(error)
        else:
            return None
    try:
        with session.target.open(session.prepared.model, timed=False) as original:
            original.run(feeds)
    except DataError:
        return None  # the inputs are at fault, not the graph
    return failed
