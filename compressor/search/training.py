"""Training as a step of the search: a float graph learns back what pruning took from it.

It is taken between the repair and the calibration, and kept if the loss on samples that neither
has seen falls. The plan stores the weights, so that a replay needs neither training nor data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir

from calibration.dataset import CalibrationSet, open_dataset
from compressor.checkpoint.prepared import Prepared
from compressor.errors import DataError
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Array
from compressor.graph.writing import with_weights
from compressor.plan.decisions import TrainedPlan
from compressor.recipe.held_out import held_out_of
from compressor.recipe.recipe import Recipe
from compressor.recipe.training import Length
from compressor.results.training import TrainingResult
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.kept_training import trained_once
from compressor.search.session import Session, Stage
from compressor.training.task import MEMORY, Task, Training

LATE = 1 / 2
"""Of a time budget, that training may take at most."""


@dataclass(frozen=True)
class Trainer:
    """Trains float graphs of one session.

    Attributes:
        session: The original, and what was asked for.
        data: What is trained on.
        held_out: What chooses the best moment.
        length: How long.
    """

    session: Session
    data: CalibrationSet
    held_out: CalibrationSet
    length: Length

    def train(self, start: Outcome, part: float = 1.0) -> Outcome:
        """The float graph with other weights, if they are better; else as it was, and why.

        Args:
            start: A float graph that is smaller than its baseline; that answers.
            part: Of the length.

        Raises:
            UsageError: The options or the labels do not fit the graph.
        """
        with self.session.stage("train") as stage:
            found = self.learnt(start.plain, start.baseline, part, stage)
        if not found.weights:
            return replace(start.then(stage.record), training=found.result)
        before = {} if start.plan.trained is None else start.plan.trained.weights
        trained = self.told(found.result, {**before, **found.weights})
        model = with_weights(start.plain, found.weights)
        plan = start.plan.model_copy(update={"trained": trained})
        after = start.then(stage.record, plan=plan, shipped=model, plain=model, graph=model)
        return replace(after, training=found.result)

    def learnt(
        self,
        student: ir.Model,
        teacher: ir.Model,
        part: float,
        stage: Stage,
        only: frozenset[str] | None = None,
    ) -> Training:
        """One training, told in a stage.

        Args:
            student: What is trained.
            teacher: What answers.
            part: Of the length.
            stage: Is told what became of it.
            only: The initializers that are trained; all weights without.
        """
        # Only here, so that a job that trains nothing never imports torch.
        from compressor.training.train import train_graph  # noqa: PLC0415

        session, options = self.session, self.session.recipe.train
        yardstick = session.prepared.yardstick
        scored = None if yardstick is None or yardstick.classes is None else yardstick.primary
        if options.data is None:
            options = options.model_copy(update={"labels": 0.0})
        task = Task(
            student,
            teacher,
            self.data,
            self.held_out,
            options,
            _part_of(self.length, part),
            seed=session.recipe.seed,
            memory=int(session.recipe.quantize.memory or MEMORY),
            classes=scored,
            only=only,
        )
        found = trained_once(session, task, partial(train_graph, task, session.progress))
        result = found.result
        stage.parameters = {
            "asked": result.asked,
            "steps": result.steps,
            "optimizer": result.optimizer,
            "samples": result.samples,
        }
        verdict = "kept" if result.kept else "left as they were"
        stage.decide("weights", verdict, result.reason)
        stage.notices += result.notices
        if not result.done:
            stage.notices.append(f"not trained: {result.reason}")
        return found

    def told(self, result: TrainingResult, weights: Mapping[str, Array]) -> TrainedPlan:
        """A training as a plan has it."""
        import torch  # noqa: PLC0415 - as above

        return TrainedPlan(
            steps=result.done,
            threads=result.threads,
            seed=self.session.recipe.seed,
            torch=torch.__version__,
            data=self.data.fingerprint(),
            weights=dict(weights),
        )


def trainer_of(session: Session, data: DataSplit) -> Trainer | None:
    """What trains in this session; None where nothing is to be trained, or there is no data."""
    length = session.recipe.train.asked
    if length is None or data.training is None or data.held_out is None:
        return None
    limit = session.recipe.budget.seconds
    if limit is not None and length.seconds is not None:
        length = replace(length, seconds=min(length.seconds, LATE * limit))
    return Trainer(session, data.training, data.held_out, length)


def with_training_samples(prepared: Prepared, data: DataSplit, recipe: Recipe) -> DataSplit:
    """The division with samples to train on, and others that choose the best moment.

    Without training data a part of the calibration data is kept from ranges and repair.

    Raises:
        DataError: There is one training sample only.
    """
    options = recipe.train
    if not options.learns:
        return data
    if options.data is not None:
        given = open_dataset(
            options.data, preprocess=recipe.data.preprocess, role="training", seed=recipe.seed
        ).bind(input_specs(prepared.model))
        if len(given) < 2:
            raise DataError(
                "one training sample cannot both be trained on and choose the best moment",
                hint="Pass more by --train-data.",
            )
        used, held = held_out_of(given, options, recipe.seed)
        return replace(data, training=used, held_out=held)
    if data.calibration is None or len(data.calibration) < 2:
        return data
    used, held = held_out_of(data.calibration, options, recipe.seed)
    return replace(
        data, calibration=used, fingerprint=used.fingerprint(), training=used, held_out=held
    )


def _part_of(length: Length, part: float) -> Length:
    """A part of a length."""
    if part == 1:
        return length
    seconds = None if length.seconds is None else part * length.seconds
    steps = None if length.steps is None else max(1, round(part * length.steps))
    epochs = None if length.epochs is None else max(1, round(part * length.epochs))
    return Length(f"a part of {length.asked}", seconds, steps, epochs)
