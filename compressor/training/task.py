"""What is to be trained, and what became of it; it needs no torch."""

from dataclasses import dataclass

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.graph.tensors import Array
from compressor.recipe.training import Length, TrainOptions
from compressor.results.training import TrainingResult

MEMORY = 10**9


@dataclass(frozen=True)
class Training:
    """What became of it.

    Attributes:
        weights: Initializer → values, as the graph stores them; empty where they stay.
        result: For the report.
    """

    weights: dict[str, Array]
    result: TrainingResult


@dataclass(frozen=True)
class Task:
    """What is to be trained, and from what.

    Attributes:
        student: The graph.
        teacher: The original; None where a loss of the user's is all there is.
        data: What is trained on.
        held_out: What neither a repair nor this training sees.
        options: How.
        length: How long.
        seed: Of all that is drawn.
        memory: Bytes that a step may keep for its backward pass.
        classes: The output that is known to score classes.
        stops: Whether an interruption ends it with the best moment so far.
        only: The initializers that are trained; all weights without.
    """

    student: ir.Model
    teacher: ir.Model | None
    data: CalibrationSet
    held_out: CalibrationSet
    options: TrainOptions
    length: Length
    seed: int = 0
    memory: int = MEMORY
    classes: str | None = None
    stops: bool = False
    only: frozenset[str] | None = None
