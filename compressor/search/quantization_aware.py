"""Quantization-aware training, the last step of the search, where weights have few bits.

What is rounded to 8 bits hardly errs, and training through it gains nothing. In 4 bits and fewer it
does: the integers that calibration samples chose learn to answer as the float graph does, with
gradients straight through the rounding (`compressor.training`), and the scales stay. Kept is what
answers better on samples that nothing has seen, and what the budget accepts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import is_stored, stored_array
from compressor.graph.tensors import Array
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.plan.storage import CODES, StoragePlan
from compressor.recipe.requirements import FEW_BITS
from compressor.results.records import StageRecord
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.precision.refused_nodes import or_undone
from compressor.search.session import Session
from compressor.search.training import Trainer, trainer_of

STAGE = "quantization-aware training"
AGAIN = 1 / 4
"""Of the length, where the float graph was trained before."""

Put = Callable[[GraphPlan, Array], GraphPlan]
"""A plan with other integers of one weight."""


@dataclass(frozen=True)
class _Weight:
    """Integers of a graph that a plan has, too.

    Attributes:
        name: The initializer of the quantized graph.
        put: Gives others to the plan.
    """

    name: str
    put: Put


def with_trained_integers(
    session: Session, found: Outcome, data: DataSplit, acceptance: Acceptance
) -> Outcome:
    """The outcome with its integers trained, if they have few bits and that helps.

    Args:
        session: The recipe, and how to measure.
        found: What would ship.
        data: Samples to train on, and others that choose the best moment.
        acceptance: The quality budget, or none.

    Raises:
        KeyboardInterrupt: The user ended it, and there is no budget.
    """
    trainer = trainer_of(session, data)
    weights = () if found.interrupted else tuple(_of_few_bits(found))
    if trainer is None or not weights:
        return found

    def undone(record: StageRecord, reason: str) -> Outcome:
        del reason
        return found.then(record)

    def work() -> Outcome:
        return _trained(session, trainer, found, weights, acceptance)

    return or_undone(session, STAGE, work, undone)


def _trained(
    session: Session,
    trainer: Trainer,
    found: Outcome,
    weights: tuple[_Weight, ...],
    acceptance: Acceptance,
) -> Outcome:
    part = 1.0 if found.plan.trained is None else AGAIN
    names = frozenset(weight.name for weight in weights)
    with session.stage(STAGE) as stage:
        training = trainer.learnt(found.shipped, found.baseline, part, stage, names)
        result, plan = training.result, found.plan
        if not training.weights:
            return replace(found.then(stage.record), integer_training=result)
        for weight in weights:
            plan = weight.put(plan, training.weights[weight.name])
        plan = plan.model_copy(update={"integers_trained": trainer.told(result, {})})
        made = realize(found.graph, plan, session.target)
        if acceptance.asked is not None:
            judged = acceptance.accepts(made)
            stage.decide("the budget", "kept" if judged.accepted else "reverted", judged.words)
            if not judged.accepted:
                reason = f"{result.reason}, but it was {judged.words}"
                result = result.model_copy(update={"kept": False, "best": 0, "reason": reason})
    if not result.kept:
        return replace(found.then(stage.record), integer_training=result)
    reason = f"{found.reason}; its integers were trained"
    after = found.then(stage.record, plan=plan, reason=reason, shipped=made)
    return replace(after, integer_training=result)


def _of_few_bits(found: Outcome) -> Iterator[_Weight]:
    """Integers of so few bits that training gains something."""
    plan = found.plan
    if plan.stored is not None:
        yield from _in_blocks(found.shipped, plan.stored)
    elif plan.integer and plan.weight_bits <= FEW_BITS:
        yield from _of_layers(found.shipped, plan)


def _in_blocks(model: ir.Model, stored: StoragePlan) -> Iterator[_Weight]:
    """Matrices of `MatMulNBits`, told by the bytes that the plan has of them."""
    read = [node.inputs[1] for node in model.graph.all_nodes() if node.op_type == "MatMulNBits"]
    free = {one.name or "": stored_array(one) for one in read if one is not None and is_stored(one)}
    for name, matrix in stored.matrices.items():
        codes = stored.arrays.get(f"{name}/{CODES}")
        if matrix.bits > FEW_BITS or codes is None:
            continue
        same = (one for one, array in free.items() if np.array_equal(array, codes))
        own = min(same, key=lambda one: not one.startswith(name), default=None)
        if own is not None:
            del free[own]
            yield _Weight(own, _block_of(name))


def _block_of(name: str) -> Put:
    def put(plan: GraphPlan, codes: Array) -> GraphPlan:
        assert plan.stored is not None, "it has such matrices"
        arrays = {**plan.stored.arrays, f"{name}/{CODES}": codes}
        return plan.model_copy(update={"stored": plan.stored.model_copy(update={"arrays": arrays})})

    return put


def _of_layers(model: ir.Model, plan: GraphPlan) -> Iterator[_Weight]:
    """Weights of integer nodes behind a DequantizeLinear, each read by one node alone."""
    integer = set(plan.integer)
    for node in model.graph:
        scaled = node.inputs[1].producer() if len(node.inputs) > 1 and node.inputs[1] else None
        if node.name not in integer or scaled is None or scaled.op_type != "DequantizeLinear":
            continue
        value = scaled.inputs[0]
        alone = len(scaled.outputs[0].uses()) == 1
        if value is not None and is_stored(value) and len(value.uses()) == 1 and alone:
            yield _Weight(value.name or "", _layer_of(node.name or ""))


def _layer_of(node: str) -> Put:
    def put(plan: GraphPlan, codes: Array) -> GraphPlan:
        return plan.model_copy(update={"rounded": {**plan.rounded, node: codes}})

    return put
