"""Undoes what the runtime refuses: a step of ours never costs the user the result.

The runtime is asked before anything is measured. Where it takes the float graph and not what
became of it, the places that it refuses are found by halving and stay float, each with the
runtime's words; a step that fails in it in other ways is left out as a whole, and said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import onnx_ir as ir

from compressor.errors import DataError
from compressor.graph.session import is_refusal, words
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy, realize
from compressor.quantization.placement import restricted
from compressor.results.records import StageRecord
from compressor.search.session import Session

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
        notice: What was undone, in words; empty where nothing was.
    """

    plan: GraphPlan
    float_reasons: Mapping[str, str]
    records: tuple[StageRecord, ...]
    notice: str = ""


def or_undone(
    session: Session, step: str, work: Callable[[], T], otherwise: Callable[[StageRecord, str], T]
) -> T:
    """What a step comes to; where the runtime refuses what it made, what is there without it.

    Args:
        session: Where the user is told.
        step: Its name, for people.
        work: The step.
        otherwise: The result without it, which is given the record of that, and the reason.
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
    return otherwise(stage.record, notice)


def runnable(session: Session, graph: ir.Model, plan: GraphPlan) -> Runnable:
    """The plan without the places that the runtime refuses.

    Args:
        session: The target, and inputs to run on.
        graph: The float graph that the plan builds on.
        plan: What was proposed: places of 8 bits.
    """
    return _without_places(
        session,
        graph,
        plan,
        _Places("layers of 8 bits", "layers", _seeds(session, graph, plan)),
        lambda names: _only(session, graph, plan, names),
    )


def storable(session: Session, graph: ir.Model, plan: GraphPlan) -> Runnable:
    """The plan without the weights in fewer bits that the runtime refuses; see `runnable`."""
    stored = plan.stored
    assert stored is not None, "a plan that stores weights"
    weights = [*stored.matrices, *stored.halved]
    places = _Places("weights in fewer bits", "weights", weights)
    return _without_places(session, graph, plan, places, lambda names: _storing(plan, names))


class _Places(NamedTuple):
    """What can stay float.

    Attributes:
        words: What they are, for people.
        counted: The same in a word.
        names: All of them.
    """

    words: str
    counted: str
    names: Sequence[str]


def _without_places(
    session: Session,
    graph: ir.Model,
    plan: GraphPlan,
    places: _Places,
    only: Callable[[Sequence[str]], GraphPlan],
) -> Runnable:
    """The plan with as many of the places as the runtime takes; `only` makes a plan of some."""
    with session.stage(STAGE) as stage:
        refused = _failed(session, graph, plan) if places.names else None
        if refused is None:
            return Runnable(plan, {}, ())
        kept, reasons = without_refused(
            places.names, lambda names: _failed(session, graph, only(names)), refused
        )
        notice = (
            f"the runtime refused the graph with {len(places.names)} {places.words}: "
            f"{len(reasons)} of them stay float ({refused})"
        )
        stage.notices.append(notice)
        stage.changed = {f"{places.counted} left float": len(reasons)}
        for name, reason in reasons.items():
            stage.decide(name, "float", reason)
    session.progress.notice(notice)
    return Runnable(only(kept), reasons, (stage.record,), notice)


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
