"""Embeddings that are a product's weight, stored once as its integers where that is no slower."""

from compressor.plan.realize import realize
from compressor.quantization.tied import tied_tables
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.precision.embeddings import LEAST, why_refused
from compressor.search.session import Session


def with_tied_tables(session: Session, found: Outcome, acceptance: Acceptance) -> Outcome:
    """INT8 with tables read from the integers of products, unless slower or against the budget."""
    if found.plan.ship != "int8" or not found.plan.dynamic or found.interrupted:
        return found
    tied = tied_tables(found.graph, found.plan.dynamic, LEAST)
    if not tied or found.plan.half is not None:
        return found
    plan = found.plan.model_copy(update={"tied": tied})
    with session.stage("tie embeddings") as stage:
        with session.progress.stage("compare tied embeddings"):
            candidate = realize(found.graph, plan, session.target)
            seconds = session.recipe.measure.seconds / 2
            race = session.race(found.shipped, candidate, seconds=seconds)
            refused = why_refused(acceptance, candidate)
        kept = refused is None and (race is None or race.verdict != "slower")
        told = "speed unproven"
        if race is not None:
            told = (
                f"{ratio(race.speed)} the speed with one table for both "
                f"({ratio_interval(race.ends)}) at {configuration(race.config)}"
            )
        told = told if refused is None else f"{told}; {refused}"
        for look_up, product in tied.items():
            stage.decide(look_up, f"the integers of {product}" if kept else "its own", told)
        stage.changed = {"tied embeddings": len(tied) if kept else 0}
        if kept:
            stage.effects.append(weight_effect(found.shipped, candidate))
            stage.timed(race)
    if not kept:
        return found.then(stage.record)
    return found.then(stage.record, plan=plan, shipped=candidate)
