"""Trains what answers at early exits: a linear head learns the scores of the whole graph.

The layers before it stay as they are, so that the whole graph answers as it did ("IC-only
training", Kaya, Hong and Dumitras 2019, arXiv 1810.07052, section 3.2); therefore the averages
that a head reads are computed once, in the runtime that ships. The head runs as a graph in torch,
and learns by the divergence of `losses` from the scores of the graph's own end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from compressor.graph.tensors import Array
from compressor.module.gradients import LossBatch
from compressor.recipe.training import TrainOptions
from compressor.training.executor import GraphModule
from compressor.training.losses import Distillation
from compressor.training.optimizers import optimizer_of, rate_of, schedule_of

LEAST_STEPS, MOST_STEPS, EPOCHS, BATCH, LOOKS = 120, 600, 20, 256, 10
RATE = 30.0
"""Times the rate of whole networks: features are of mean 0 and variance 1, and the loss is convex
in a linear head."""
ANSWER = "answer"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Lesson:
    """Features of samples, and what the whole graph answers.

    Attributes:
        features: (samples, features).
        answers: (samples, classes): scores, or shares where the graph ends in a softmax.
    """

    features: Floats
    answers: Floats


@dataclass(frozen=True)
class Taught:
    """A trained head.

    Attributes:
        weight: (features, classes).
        bias: (classes,).
        loss: On the held-out samples.
    """

    weight: Floats
    bias: Floats
    loss: float

    def scores(self, features: Floats) -> Floats:
        """Of classes, for features (samples, features)."""
        return np.asarray(features @ self.weight + self.bias, np.float32)


def train_head(
    lesson: Lesson, held_out: Lesson, options: TrainOptions, seed: int, *, is_share: bool
) -> Taught:
    """A head with the least loss on the held-out samples of all moments looked at.

    Args:
        lesson: What is trained on.
        held_out: What chooses the moment.
        options: Optimizer, schedule and temperature.
        seed: Of the order of samples.
        is_share: Whether answers are shares already.
    """
    mean = lesson.features.mean(0)
    spread = lesson.features.std(0) + np.float32(1e-6)
    seen, looked = (_scaled(one, mean, spread) for one in (lesson, held_out))
    classes = lesson.answers.shape[1]
    module = GraphModule(_head_graph(lesson.features.shape[1], classes), ("weight", "bias"))
    scored = (ANSWER,) if is_share else ()
    loss = Distillation((ANSWER,), scored, (), (), options)
    with _settled(seed):
        found, least = _trained(module, loss, seen, looked, options, seed, is_share=is_share)
    weight = found["weight"] / spread[:, None]
    bias = found["bias"] - mean @ weight
    return Taught(np.asarray(weight, np.float32), np.asarray(bias, np.float32), least)


def _trained(
    module: GraphModule,
    loss: Distillation,
    lesson: Lesson,
    held_out: Lesson,
    options: TrainOptions,
    seed: int,
    *,
    is_share: bool,
) -> tuple[dict[str, Array], float]:
    """The weights of the best moment, and their loss."""
    rate = RATE * rate_of(options, gentle=False) if options.rate is None else options.rate
    optimizer = optimizer_of(options, module.trained.values(), rate)
    rng, count = np.random.default_rng(seed), len(lesson.features)
    steps = min(MOST_STEPS, max(LEAST_STEPS, EPOCHS * count // BATCH))
    schedule = schedule_of(options, optimizer, rate, steps)

    def loss_of(one: Lesson, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        feeds = {"features": torch.from_numpy(one.features[rows])}
        made = module(feeds)
        if is_share:
            made = {ANSWER: torch.softmax(made[ANSWER], -1)}
        expected = {ANSWER: torch.from_numpy(one.answers[rows])}
        return loss(made, expected, LossBatch(feeds, None))

    best, least = module.weights(), np.inf
    for step in range(1, steps + 1):
        rows = rng.choice(count, min(BATCH, count), replace=False)

        def closure(rows: npt.NDArray[np.int64] = rows) -> float:
            optimizer.zero_grad(set_to_none=True)
            value = loss_of(lesson, rows)
            value.backward()  # type: ignore[no-untyped-call]
            return float(value.detach())

        optimizer.step(closure)
        schedule.step()
        if step % (steps // LOOKS) == 0:
            with torch.no_grad():
                now = float(loss_of(held_out, np.arange(len(held_out.features))))
            if now < least:
                best, least = module.weights(), now
    return best, float(least)


def _scaled(lesson: Lesson, mean: Floats, spread: Floats) -> Lesson:
    features = np.ascontiguousarray((lesson.features - mean) / spread, np.float32)
    return Lesson(features, np.ascontiguousarray(lesson.answers, np.float32))


def _head_graph(features: int, classes: int) -> ir.Model:
    """Scores = features · weight + bias, from 0."""
    given = ir.Value(
        name="features", shape=ir.Shape(["n", features]), type=ir.TensorType(ir.DataType.FLOAT)
    )
    arrays = {
        "weight": np.zeros((features, classes), np.float32),
        "bias": np.zeros(classes, np.float32),
    }
    weights = [
        ir.Value(name=name, const_value=ir.tensor(array, name=name))
        for name, array in arrays.items()
    ]
    node = ir.node("Gemm", [given, *weights], name="head")
    node.outputs[0].name, node.outputs[0].dtype = ANSWER, ir.DataType.FLOAT
    graph = ir.Graph(
        [given],
        node.outputs,
        nodes=[node],
        initializers=weights,
        opset_imports={"": 20},
        name="head",
    )
    return ir.Model(graph, ir_version=10)


@contextmanager
def _settled(seed: int) -> Iterator[None]:
    """Seed and threads of torch, as they were afterwards; of one head several gain nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
