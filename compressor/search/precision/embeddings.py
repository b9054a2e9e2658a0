"""Embeddings of an INT8 graph, stored in blocks of 8 bits where that is no slower."""

import onnx_ir as ir

from compressor.plan.realize import with_tables
from compressor.plan.storage import StoragePlan, StoredMatrix, arrays_of
from compressor.quantization import weight_only
from compressor.quantization.weight_only import StoringOptions
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.measurements import LatencyResult
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.session import Session

LEAST = 1 << 16
"""Numbers of an embedding from which its size matters."""


def with_small_tables(session: Session, found: Outcome, acceptance: Acceptance) -> Outcome:
    """INT8 with embeddings in blocks of 8 bits, unless that is slower or breaks the budget."""
    if found.plan.ship != "int8" or found.interrupted or found.plan.half is not None:
        return found
    target = session.target
    if "int8-weights" not in target.stores or target.blocks_as != "kernels":
        return found
    options = session.recipe.quantize
    how = StoringOptions(
        bits=8, block=options.block, leave=options.leave, tables_only=True, least=LEAST
    )
    with session.stage("store embeddings") as stage:
        with session.progress.stage("store embeddings"):
            chosen = weight_only.choose(found.shipped, None, how)
        if not chosen.nodes:
            return found
        tables = StoragePlan(
            matrices={name: StoredMatrix.of(form) for name, form in chosen.forms.items()},
            nodes=chosen.nodes,
            arrays=arrays_of(chosen.packed),
        )
        candidate = with_tables(found.shipped, tables)
        with session.progress.stage("compare embeddings"):
            seconds = session.recipe.measure.seconds / 2
            race = session.race(found.shipped, candidate, seconds=seconds)
            refused = why_refused(acceptance, candidate)
        if race is None:
            return found
        kept = race.verdict in ("faster", "no significant difference") and refused is None
        stage.changed = {"embeddings in blocks": len(chosen.forms) if kept else 0}
        told = _told(race, refused)
        stage.decide(", ".join(chosen.forms), "8 bits" if kept else "float", told)
        if kept:
            stage.effects.append(weight_effect(found.shipped, candidate))
            stage.timed(race)
    if not kept:
        return found.then(stage.record)
    plan = found.plan.model_copy(update={"tables": tables})
    return found.then(stage.record, plan=plan, shipped=candidate)


def _told(race: LatencyResult, refused: str | None) -> str:
    told = (
        f"{ratio(race.speed)} the speed with embeddings of 8 bits "
        f"({ratio_interval(race.ends)}) at {configuration(race.config)}"
    )
    return told if refused is None else f"{told}; {refused}"


def why_refused(acceptance: Acceptance, candidate: ir.Model) -> str | None:
    """Why the budget does not hold with it; None where it does or there is none."""
    if acceptance.asked is None:
        return None
    judged = acceptance.accepts(candidate)
    return None if judged.accepted else judged.words
