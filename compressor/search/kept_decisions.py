"""Decisions that an earlier run made of the same graph, data and options, carried out again.

A search is long and what it finds short: plans, and what was said of them. Kept under everything
that decided, they are carried out as a plan is replayed, to the same bytes. Whether what ships is
faster than float is measured anew: decisions that no longer hold here are made anew, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from compressor.plan.kept_plan import plan_of, stored_plan
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph
from compressor.results.attention import AttentionResult
from compressor.results.exits import ExitsResult
from compressor.results.format import ratio
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.precision import EIGHT_BITS
from compressor.results.pruning import PruningResult
from compressor.results.records import Decision, Record, StageRecord
from compressor.results.regions import RegionResult
from compressor.results.training import TrainingResult
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Candidate, Outcome, Raced
from compressor.search.data_split import DataSplit
from compressor.search.keys import (
    cache_of_session,
    data_key,
    graph_key,
    metric_key,
    recipe_key,
)
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.system.cache import Entry
from compressor.system.versions import machine_key

WHAT = "decisions"
SHIPS, QUANTIZED = "ships", "quantized"
OF_SPEED = frozenset({"speedup", "latency"})
"""Goals that may be reached on one day and missed on the next."""
_KINDS: Mapping[str, type[Record]] = {
    "pruning": PruningResult,
    "training": TrainingResult,
    "integer_training": TrainingResult,
    "attention": AttentionResult,
    "exits": ExitsResult,
}
"""What is told of an outcome, where there is something to tell."""


def decided_once(
    session: Session, data: DataSplit, acceptance: Acceptance, decide: Callable[[], Outcome]
) -> Outcome:
    """What an earlier run decided, if it is kept and holds; else what is decided now.

    Args:
        session: The captured graph, and what is asked for.
        data: Samples that calibrate, judge and train.
        acceptance: The quality budget, or none.
        decide: Searches.
    """
    cache = cache_of_session(session)
    key = _key(session, data, acceptance) if cache.keeps else None
    if key is None:
        return decide()
    found = cache.take(WHAT, key, lambda entry: _carried_out(session, entry))
    if found is not None:
        return found
    outcome = decide()
    # Exits and attention that did not pay may on a quieter day: they are tried again.
    tried = (outcome.attention, outcome.exits)
    without = any(one is not None and not one.kept for one in tried)
    if not outcome.interrupted and not without:
        cache.put(WHAT, key, _entry(outcome))
    return outcome


def _key(session: Session, data: DataSplit, acceptance: Acceptance) -> dict[str, str] | None:
    """All that decides; None where that cannot be told."""
    recipe, yardstick = session.recipe, session.prepared.yardstick
    asked = recipe_key(recipe)
    metrics = [metric_key(one) for one in (() if yardstick is None else yardstick.metrics)]
    if asked is None or None in metrics or recipe.data.stats is not None:
        return None
    return {
        "graph": graph_key(session.prepared.model),
        "recipe": asked,
        "calibration": data_key(data.calibration),
        "judging": data_key(data.quality),
        "search": data_key(data.search),
        "training": f"{data_key(data.training)} {data_key(data.held_out)}",
        "degenerate": str(data.degenerate),
        "metrics": "; ".join(map(str, metrics)),
        "output": str(None if yardstick is None else yardstick.primary),
        "budget": str(acceptance.asked),
        "phases": repr(sorted(session.prepared.timed_sizes.items(), key=str)),
        "noise": repr(session.prepared.noises),
        **machine_key(session.target.runtime),
    }


def _entry(outcome: Outcome) -> Entry:
    """What was decided, and what was said of it."""
    plans = {SHIPS: outcome.plan}
    quantized = outcome.quantized
    if quantized is not None:
        plans[QUANTIZED] = quantized.plan
    document, arrays = stored_plan(plans)
    told: dict[str, Any] = {
        "plans": document,
        "name": outcome.candidate.name,
        "reason": outcome.reason,
        "float_reasons": dict(outcome.float_reasons),
        "records": _dumped(outcome.records),
        "considered": _dumped(outcome.considered),
        "regions": _dumped(outcome.regions),
        **{name: _or_none(getattr(outcome, name)) for name in _KINDS},
        "held_back": outcome.held_back,
    }
    if quantized is not None:
        told["quantized"] = [quantized.name, dict(quantized.float_reasons)]
    return Entry(told, arrays)


def _carried_out(session: Session, entry: Entry) -> Outcome | None:
    """The graphs of kept plans; None where they no longer do, or no longer pay."""
    told = entry.document
    plans = plan_of(told["plans"], entry.arrays)
    with session.stage("take up decisions") as stage:
        with session.progress.stage("take up decisions"):
            made = replay(session, plans[SHIPS])
        found = _told(session, made, told, plans)
        raced = _raced(session, found)
        if raced is False:
            return None
        stage.parameters = {"cache": "taken"}
        stage.decisions.append(Decision(subject=found.candidate.name, **_verdict(raced)))
    found = found.then(stage.record)
    return replace(found, raced=raced) if isinstance(raced, Raced) else found


def _raced(session: Session, found: Outcome) -> Raced | bool | None:
    """What ships against float, now; False where it must be decided anew, None where untimed."""
    if found.shipped is found.baseline:
        return None
    with session.progress.stage("decide"):
        seconds = session.recipe.measure.seconds
        race = session.race(found.baseline, found.shipped, seconds=seconds)
    if race is None:
        return None
    goal = session.recipe.prune.goal
    raced = Raced(found.baseline, found.shipped, race)
    if goal is not None and goal.kind in OF_SPEED:
        wanted = goal.amount
        reached = race.speed if goal.kind == "speedup" else race.milliseconds[1] / 1e3
        missed = reached < wanted if goal.kind == "speedup" else reached > wanted
        return False if missed else raced
    pays = found.plan.ship in EIGHT_BITS and not session.recipe.quantize.keep_slower
    return False if pays and race.verdict == "slower" else raced


def _verdict(raced: Raced | bool | None) -> dict[str, str]:
    told = "what an earlier run decided of the same graph, data and options (--no-cache does not)"
    if isinstance(raced, Raced):
        told = f"{told}; raced anew, it ran at {ratio(raced.latency.speed)} the speed of float"
    return {"verdict": "taken from the cache", "reason": told}


def _told(
    session: Session, made: Outcome, told: dict[str, Any], plans: dict[str, GraphPlan]
) -> Outcome:
    """An outcome with what was said of it when it was decided."""
    records = tuple(
        StageRecord.model_validate(one).model_copy(update={"seconds": 0.0})
        for one in told["records"]
    )
    candidate = Candidate(
        told["name"],
        plans[SHIPS],
        records=records,
        reason=told["reason"],
        float_reasons=told["float_reasons"],
    )
    quantized, graph = None, made.graph
    if "quantized" in told:
        name, reasons = told["quantized"]
        quantized = Candidate(name, plans[QUANTIZED], float_reasons=reasons)
        graph = decided_graph(made.plain, quantized.plan, session.target)
    rest: dict[str, Any] = {
        name: None if told[name] is None else kind.model_validate(told[name])
        for name, kind in _KINDS.items()
    }
    return replace(
        made,
        candidate=candidate,
        graph=graph,
        considered=tuple(map(ToldCandidate.model_validate, told["considered"])),
        quantized=quantized,
        regions=tuple(map(RegionResult.model_validate, told["regions"])),
        held_back=told["held_back"],
        **rest,
    )


def _or_none(record: Record | None) -> Any:
    return None if record is None else record.model_dump(mode="json")


def _dumped(records: tuple[Any, ...]) -> list[Any]:
    return [one.model_dump(mode="json") for one in records]
