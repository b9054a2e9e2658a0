"""Quantization-aware training, a step of the search where weights have few bits.

What is rounded to 8 bits hardly errs, and training through it gains nothing. In 4 bits and fewer it
does: the integers that calibration samples chose learn to answer as the float graph does, with
gradients straight through the rounding (`compressor.training`), and the scales stay. Kept is what
answers better on samples that nothing has seen, and what the budget accepts. It is the last step,
but for blocks of 4 bits that a budget refuses: those are trained before any gets more bits
(`precision.weight_only`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import array_if_stored, is_stored, stored_array
from compressor.graph.tensors import Array
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.plan.storage import CODES, StoragePlan
from compressor.quantization.bias import restored
from compressor.quantization.bias import stored as stored_biases
from compressor.quantization.blocks import BlockFormat, Grid, Packed, codes_of, packed
from compressor.recipe.requirements.training import FEW_BITS
from compressor.results.records import StageRecord
from compressor.results.training import TrainingResult
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


@dataclass
class IntegerTraining:
    """Trains integers of one session: while a budget refuses them, or at the end.

    Attributes:
        session: The recipe, and how to measure.
        trainer: Trains; None where nothing is to be trained.
        result: Of the last training; None before.
    """

    session: Session
    trainer: Trainer | None
    result: TrainingResult | None = None

    def refined(
        self, start: Outcome, plan: GraphPlan, made: ir.Model | None = None
    ) -> tuple[GraphPlan | None, StageRecord | None]:
        """A plan with trained integers, if they answer better on samples that nothing has seen.

        Args:
            start: The float graph.
            plan: What it is made of; integers of few bits in it are trained.
            made: Its graph, where that is there already.

        Returns:
            The plan, or None; and the stage, or None where there was nothing to train.
        """
        if self.trainer is None:
            return None, None
        made = realize(start.graph, plan, self.session.target) if made is None else made
        weights = tuple(_of_few_bits(made, plan))
        if not weights:
            return None, None
        part = 1.0 if plan.trained is None else AGAIN
        names = frozenset(weight.name for weight in weights)
        with self.session.stage(STAGE) as stage:
            training = self.trainer.learnt(made, start.baseline, part, stage, names)
        self.result = training.result
        if not training.weights:
            return None, stage.record
        for weight in weights:
            plan = weight.put(plan, training.weights[weight.name])
        told = self.trainer.told(training.result, {})
        return plan.model_copy(update={"integers_trained": told}), stage.record


def integer_training(session: Session, data: DataSplit) -> IntegerTraining:
    """What trains integers, where a training is asked for and there are samples."""
    return IntegerTraining(session, trainer_of(session, data))


def with_trained_integers(
    training: IntegerTraining, found: Outcome, acceptance: Acceptance
) -> Outcome:
    """The outcome with its integers trained, if they have few bits and that helps.

    Args:
        training: Trains them; perhaps it did so in the search.
        found: What would ship.
        acceptance: The quality budget, or none.

    Raises:
        KeyboardInterrupt: The user ended it, and there is no budget.
    """
    if found.plan.integers_trained is not None:
        return replace(found, integer_training=training.result)
    if found.interrupted:
        return found

    def undone(record: StageRecord, reason: str) -> Outcome:
        del reason
        return found.then(record)

    def work() -> Outcome:
        return _trained(training, found, acceptance)

    return or_undone(training.session, STAGE, work, undone)


def _trained(training: IntegerTraining, found: Outcome, acceptance: Acceptance) -> Outcome:
    plan, record = training.refined(found, found.plan, found.shipped)
    if record is None or training.result is None:
        return found
    found, result = found.then(record), training.result
    if plan is None:
        return replace(found, integer_training=result)
    made = realize(found.graph, plan, training.session.target)
    if acceptance.asked is not None:
        judged = acceptance.accepts(made)
        if not judged.accepted:
            told = f"{result.reason}, but it was {judged.words}"
            refused = result.model_copy(update={"kept": False, "best": 0, "reason": told})
            return replace(found, integer_training=refused)
    reason = f"{found.reason}; its integers were trained"
    after = found.then(plan=plan, reason=reason, shipped=made)
    return replace(after, integer_training=result)


def _of_few_bits(made: ir.Model, plan: GraphPlan) -> Iterator[_Weight]:
    """Integers of so few bits that training gains something."""
    if plan.stored is not None:
        yield from _in_blocks(made, plan.stored)
        yield from _in_standard_blocks(made, plan.stored)
    elif plan.integer and plan.weight_bits <= FEW_BITS:
        yield from _of_layers(made, plan)


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


def _in_standard_blocks(model: ir.Model, stored: StoragePlan) -> Iterator[_Weight]:
    """Matrices behind a DequantizeLinear with blocks, told by the integers that the plan has."""
    read = [n.inputs[0] for n in model.graph if n.attributes.get_int("block_size", 0)]
    free = {one.name or "": stored_array(one) for one in read if one is not None and is_stored(one)}
    for name, held in stored.packed.items():
        form = stored.matrices[name].form
        if form.bits > FEW_BITS or not form.symmetric:
            continue
        codes = codes_of(held, form).astype(np.int8) - form.middle
        for own, array in free.items():
            whole = array.astype(np.int8)
            turned = not np.array_equal(whole, codes)
            if not turned or np.array_equal(whole.T, codes):
                del free[own]
                yield _Weight(own, _standard_block_of(name, held, form, turned=turned))
                break


def _standard_block_of(name: str, before: Packed, form: BlockFormat, *, turned: bool) -> Put:
    """Signed integers, inputs by outputs where turned, as the plan has them."""
    grid = Grid(before.scales, np.full(before.scales.shape, form.middle, np.uint8))
    whole = _block_of(name)

    def put(plan: GraphPlan, trained: Array) -> GraphPlan:
        signed = trained.astype(np.int8)
        integers = (signed.T if turned else signed) + form.middle
        return whole(plan, packed(integers.astype(np.uint8), grid, form).codes)

    return put


def _block_of(name: str) -> Put:
    def put(plan: GraphPlan, codes: Array) -> GraphPlan:
        assert plan.stored is not None, "it has such matrices"
        arrays = {**plan.stored.arrays, f"{name}/{CODES}": codes}
        return plan.model_copy(update={"stored": plan.stored.model_copy(update={"arrays": arrays})})

    return put


def _of_layers(model: ir.Model, plan: GraphPlan) -> Iterator[_Weight]:
    """Weights and biases of integer nodes, each read by one node alone.

    What rounding a weight shifts its bias makes up for, so that they are trained together.
    """
    integer = set(plan.integer)
    for node in model.graph:
        weight = None if node.name not in integer else _stored_alone(node, 1)
        if weight is None or weight.scale is None:
            continue
        yield _Weight(weight.name, _layer_of(node.name or ""))
        bias = _stored_alone(node, 2)
        if bias is not None:
            yield _Weight(bias.name, _bias_of(node.name or "", bias))


@dataclass(frozen=True)
class _Stored:
    """What a node alone reads, as integers or as it is.

    Attributes:
        name: The initializer.
        array: What it holds.
        scale: Of its integers; None where it holds numbers.
    """

    name: str
    array: Array
    scale: Array | None


def _stored_alone(node: ir.Node, place: int) -> _Stored | None:
    """An input that is stored, perhaps behind a DequantizeLinear, and that nobody else reads."""
    value = node.inputs[place] if len(node.inputs) > place else None
    if value is None or len(value.uses()) != 1:
        return None
    scaled, scale = value.producer(), None
    if scaled is not None and scaled.op_type == "DequantizeLinear":
        value, scale = scaled.inputs[0], array_if_stored(scaled.inputs[1])
    if value is None or not is_stored(value) or len(value.uses()) != 1:
        return None
    return _Stored(value.name or "", stored_array(value), scale)


def _layer_of(node: str) -> Put:
    def put(plan: GraphPlan, codes: Array) -> GraphPlan:
        return plan.model_copy(update={"rounded": {**plan.rounded, node: codes}})

    return put


def _bias_of(node: str, bias: _Stored) -> Put:
    """A trained bias as a correction beside the one that the plan has: steps of its scale."""

    def put(plan: GraphPlan, trained: Array) -> GraphPlan:
        moved = trained.astype(np.float64) - bias.array.astype(np.float64)
        if bias.scale is not None:
            moved *= bias.scale.astype(np.float64)
        moved = moved.reshape(-1)
        before = restored(plan.bias).get(node)
        whole = moved if before is None else moved + before
        return plan.model_copy(
            update={"bias": {**plan.bias, **stored_biases({node: whole.astype(np.float32)})}}
        )

    return put
