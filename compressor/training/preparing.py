"""Prepares a training: data in reach, the original open, the loss known."""

from dataclasses import dataclass

import onnx_ir as ir
import torch

from calibration.dataset import CalibrationSet
from compressor.errors import RecipeError, UsageError
from compressor.graph.batch import fixed_batch
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Array, Arrays
from compressor.training.attacks import Range, attack_of, ranges_of
from compressor.training.augmentation import Augmenting, augmenting, token_inputs
from compressor.training.executor import GraphModule
from compressor.training.labels import class_labels
from compressor.training.losses import Distillation, Loss, distillation, user_loss
from compressor.training.optimizers import rate_of
from compressor.training.parity import torch_run
from compressor.training.processes import World
from compressor.training.roles import find_trained
from compressor.training.run import Run
from compressor.training.samples import Samples, gather
from compressor.training.task import Task
from compressor.training.teacher import Teacher, matched

BATCH, SEQUENCES = 64, 16
"""Samples a step; of tokens."""
SHAPED = 2
"""Samples that tell shapes, and the second size of batches at which parity is checked."""
ATTENTION = ("Softmax", "LayerNormalization", "RMSNormalization", "Attention")
INTEGERS = ("QuantizeLinear", "DequantizeLinear", "MatMulNBits")


@dataclass(frozen=True)
class Subject:
    """The graphs of a task, as a training sees them.

    Attributes:
        task: What is to be trained.
        names: The initializers that are trained.
        fixed: Samples of a call that one of the graphs has baked in.
        quantized: Whether some of it is computed through integers.
    """

    task: Task
    names: tuple[str, ...]
    fixed: int | None
    quantized: bool


def subject_of(task: Task) -> Subject:
    """What the graphs of a task tell.

    Raises:
        UsageError: Each has a batch of its own.
    """
    fixed = _fixed_of(task.student, task.teacher)
    options = task.options
    trained = find_trained(task.student, embeddings=options.embeddings, leave=options.leave)
    only = trained.names if task.only is None else task.only
    names = tuple(name for name in trained.names if name in only)
    return Subject(task, names, fixed, any(n.op_type in INTEGERS for n in task.student.graph))


def run_of(subject: Subject, threads: int, world: World) -> tuple[Run, tuple[str, ...]]:
    """Data in reach, the original open, the loss known; and the values inside that are compared.

    Args:
        subject: What is trained.
        threads: Of the runtime that the original answers in.
        world: The processes that train together.

    Raises:
        RecipeError: What is asked for does not fit the graph.
        UsageError: The labels do not.
    """
    task, options, fixed = subject.task, subject.task.options, subject.fixed
    samples = gather(task.data, fixed=fixed, memory=task.memory)
    held = gather(task.held_out, fixed=fixed, memory=task.memory)
    call = first_call(task.data, fixed or SHAPED)
    features: tuple[str, ...] = ()
    if task.teacher is not None and options.loss is None and options.features:
        features = matched(task.student, task.teacher, call, options.match)
    loss = _loss(task, features, samples, held, call)
    module = _module(subject, features)
    teacher = None
    if options.loss is None:
        assert task.teacher is not None, "without a loss of the user's there is an original"
        teacher = Teacher(task.teacher, features, threads=threads)
    gentle = subject.quantized or any(n.op_type in ATTENTION for n in task.student.graph)
    ranges = {} if options.attack is None else _ranges(task, samples, held)
    run = Run(
        module,
        teacher,
        loss,
        samples,
        held,
        options,
        _augmenting(task, loss, samples),
        _batch(subject, samples),
        rate_of(options, gentle=gentle),
        task.seed,
        world,
        task.memory,
        attack=attack_of(options),
        ranges=ranges,
    )
    return run, features


def _module(subject: Subject, features: tuple[str, ...]) -> GraphModule:
    task, options = subject.task, subject.task.options
    outputs = [value.name or "" for value in task.student.graph.outputs]
    values = [*outputs, *features]
    module = GraphModule(task.student, subject.names, values, dropout=options.dropout)
    return module.to(torch.device(options.device))


def _augmenting(task: Task, loss: Loss, samples: Samples) -> Augmenting:
    dense = any(g.labels is not None and g.labels.ndim > 2 for g in samples.calls)
    learned = loss.labelled is not None if isinstance(loss, Distillation) else samples.has_labels
    return augmenting(task.options.augment, task.student, dense=dense, labelled=learned)


def _batch(subject: Subject, samples: Samples) -> int:
    """Samples a step."""
    asked, fixed = subject.task.options.batch, subject.fixed
    if asked is not None and fixed is None:
        return asked
    most = SEQUENCES if token_inputs(subject.task.student) else BATCH
    return fixed or min(most, max(1, len(samples) // 2))


def _ranges(task: Task, samples: Samples, held: Samples) -> dict[str, Range]:
    """Where an attack keeps inputs: what floats of the samples range over.

    Raises:
        RecipeError: No input is of floats, which alone can change a little.
    """
    found = ranges_of(group.inputs for part in (samples, held) for group in part.calls)
    if not found:
        told = ", ".join(value.name or "" for value in task.student.graph.inputs)
        raise RecipeError(
            f"[train] attack changes floating-point inputs, and the model has none: {told}",
            hint="Leave attack and radius out.",
        )
    return found


def _loss(
    task: Task, features: tuple[str, ...], samples: Samples, held: Samples, call: Arrays
) -> Loss:
    options = task.options
    if options.loss is not None:
        return user_loss(options.loss)
    made = torch_run(GraphModule(task.student), call)
    labels = None
    if samples.has_labels and options.labels:
        groups = (group.labels for part in (samples, held) for group in part.calls)
        count = len(next(iter(made.values())))
        labels = class_labels((one for one in groups if one is not None), count)
    return distillation(
        task.student,
        {name: array.shape for name, array in made.items()},
        options,
        features,
        classes=task.classes,
        labels=labels,
    )


def _fixed_of(student: ir.Model, teacher: ir.Model | None) -> int | None:
    """Samples of a call that one of the graphs has baked in.

    Raises:
        UsageError: Each has its own.
    """
    own = fixed_batch(input_specs(student))
    other = None if teacher is None else fixed_batch(input_specs(teacher))
    if own is not None and other is not None and own != other:
        raise UsageError(
            f"the model takes batches of {own}, and its teacher of {other}",
            hint="Export both with the same batch, or one of them with a batch that is open.",
        )
    return other if own is None else own


def first_call(data: CalibrationSet, size: int) -> dict[str, Array]:
    """One call."""
    batch = data.sample(size)
    return batch.filled(size) if all(batch.sample_axes.values()) else batch.inputs
