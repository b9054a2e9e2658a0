"""A decoder's weights in 4 bits, where that is the fastest for its use and the budget allows it.

Who writes more than is read waits for weights: in 4 bits half as many bytes as INT8 has. Blocks of
128, multiplied by activations of 8 bits, are the fastest form of them (`MatMulNBits` at accuracy
level 4). They lose far more than 8 bits do, so that only a quality budget can let them in.
"""

from typing import Final

from calibration.dataset import CalibrationSet
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.plan.storage import StoragePlan, StoredMatrix, arrays_of
from compressor.quantization import weight_only
from compressor.quantization.weight_only import StoringOptions
from compressor.results.effects import weight_effect
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.in_use import in_words, raced_in_use
from compressor.search.session import Session

STAGE = "weights of 4 bits"
SUBJECT = "weights in 4 bits"
BLOCK: Final = 128
"""Inputs that share a scale: the kernel reads the fewest bytes, and 256 gain little more."""
WORTH = 1.03
"""Speed in a use, over INT8, from which they are taken."""


def with_four_bits(
    session: Session, found: Outcome, data: CalibrationSet | None, acceptance: Acceptance
) -> Outcome:
    """The outcome with weights of 4 bits in place of INT8, of decoders and within a budget.

    Args:
        session: How to measure.
        found: What would ship.
        data: Calibration samples.
        acceptance: The quality budget; without one nothing is tried.
    """
    is_decoder = len(session.prepared.phases.calls) > 1
    wanted = session.recipe.quantize.mode == "int8" and acceptance.asked is not None
    fits = "int4" in session.target.stores and session.target.blocks_as == "kernels"
    if not (is_decoder and wanted and fits) or found.plan.ship != "int8" or found.interrupted:
        return found
    with session.stage(STAGE) as stage:
        stored = _stored(session, found, data)
        if not stored.matrices:
            return found
        plan = _with_stored(found.plan, stored)
        candidate = realize(found.graph, plan, session.target)
        with session.progress.stage("race weights of 4 bits"):
            seconds = session.recipe.measure.seconds / 2
            use = raced_in_use(session, found.shipped, candidate, seconds=seconds)
        told = "speed unproven" if use is None else f"over INT8 they ran at {in_words(use)}"
        kept = use is not None and use.ratio > WORTH and use.verdict == "faster"
        if kept:
            judged = acceptance.accepts(candidate)
            kept, told = judged.accepted, f"{told}; {judged.words}"
        stage.decide(SUBJECT, "kept" if kept else "left", told)
        if kept:
            stage.effects.append(weight_effect(found.shipped, candidate))
    if not kept:
        return found.then(stage.record)
    reason = f"{found.reason}; with weights in 4 bits {told}"
    return found.then(stage.record, plan=plan, name="INT4", reason=reason, shipped=candidate)


def _stored(session: Session, found: Outcome, data: CalibrationSet | None) -> StoragePlan:
    options = session.recipe.quantize
    how = StoringOptions(
        bits=4, block=BLOCK, leave=options.leave, batch=options.batch, memory=options.memory
    )
    chosen = weight_only.choose(found.graph, data, how, progress=session.progress)
    return StoragePlan(
        matrices={name: StoredMatrix.of(form) for name, form in chosen.forms.items()},
        nodes=chosen.nodes,
        arrays=arrays_of(chosen.packed),
    )


def _with_stored(plan: GraphPlan, stored: StoragePlan) -> GraphPlan:
    """The plan with those weights, and nothing else in integers."""
    nothing: dict[str, object] = {"integer": (), "dynamic": (), "rows": (), "tied": {}}
    nothing |= {"ranges": {}, "bias": {}, "rounded": {}, "tables": None, "plain_norms": False}
    return plan.model_copy(update={**nothing, "ship": "int4", "stored": stored})
