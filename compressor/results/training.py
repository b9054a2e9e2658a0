"""What training returns, and `report.json` holds of it."""

from typing import Literal

from compressor.results.records import Record


class ParityFigure(Record):
    """How far torch and ONNX Runtime are apart before the first step.

    Attributes:
        batch: Samples of the call.
        output: The output that is furthest.
        error: Of it, relative.
        tolerance: What it is held to.
    """

    batch: int
    output: str
    error: float
    tolerance: float


class CurvePoint(Record):
    """Training at one moment.

    Attributes:
        step: Steps done.
        seconds: Since the first.
        loss: Mean since the point before; None at the first, before any step.
        held_out: Loss on the held-out samples; None where it was not measured then.
        rate: Learning rate.
    """

    step: int
    seconds: float
    loss: float | None = None
    held_out: float | None = None
    rate: float


class TrainingResult(Record):
    """What became of a training.

    Attributes:
        mode: "distill" from the original, "labels" beside that, or "loss" of the user alone.
        quantized: Whether the graph was trained through its Q/DQ.
        asked: How long, as it was given: "5m", "2000steps", "10epochs".
        steps: How many were fixed.
        done: How many were made; fewer where it was stopped early.
        seconds: Wall time of the steps.
        cpu_seconds: Processor time of the process in them.
        batch: Samples a step.
        threads: Of torch.
        optimizer: Its name.
        attack: What changed every batch, in words; None where nothing did.
        rate: The learning rate at its highest.
        samples: Trained on.
        held_out: Samples that neither repair nor training saw, which picked the best moment.
        parameters: Numbers that were trained.
        features: Intermediate values that were matched with the original's.
        parity: Before the first step.
        before: Loss on the held-out samples before.
        after: At the best moment.
        best: The step of it; 0 is before training.
        kept: Whether the trained weights are.
        reason: Why, in a sentence.
        curve: From the first step to the last.
        interrupted: Whether the user ended it: the best moment so far.
        notices: What was asked for and did nothing.
    """

    mode: Literal["distill", "labels", "loss"]
    quantized: bool = False
    asked: str
    steps: int
    done: int
    seconds: float
    cpu_seconds: float
    batch: int
    threads: int
    optimizer: str
    attack: str | None = None
    rate: float
    samples: int
    held_out: int
    parameters: int
    features: tuple[str, ...] = ()
    parity: tuple[ParityFigure, ...] = ()
    before: float | None = None
    after: float | None = None
    best: int = 0
    kept: bool
    reason: str
    curve: tuple[CurvePoint, ...] = ()
    interrupted: bool = False
    notices: tuple[str, ...] = ()


class TrainingReport(Record):
    """What `compress train` did.

    Attributes:
        model: What was trained.
        teacher: What answered; None where a loss of the user's was all there was.
        file: The trained model; the same weights as before where none were better.
        training: How it went.
        notices: What the user should know.
    """

    model: str
    teacher: str | None = None
    file: str
    training: TrainingResult
    notices: tuple[str, ...] = ()
