"""One training while it runs: batches, losses, steps, looks at held-out samples, its state."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from compressor.graph.batch import BatchAxis, rows_of
from compressor.graph.tensors import Array, Arrays
from compressor.module.gradients import LossBatch
from compressor.recipe.training import TrainOptions
from compressor.training.attacks import Attack, Ranges, attacked
from compressor.training.augmentation import Augmenting, Generator, rng_of
from compressor.training.executor import GraphModule
from compressor.training.losses import Loss
from compressor.training.optimizers import optimizer_of, schedule_of
from compressor.training.processes import World
from compressor.training.samples import Call, Places, Samples
from compressor.training.task import MEMORY
from compressor.training.teacher import Teacher
from compressor.training.types import to_tensor

ALONE = World()


@dataclass
class Run:
    """A graph in training.

    Attributes:
        module: The graph.
        teacher: The original; None where a loss of the user's is all there is.
        loss: What is made small.
        samples: What is trained on.
        held: What is looked at.
        options: What was asked for.
        augment: How samples vary.
        batch: Samples a step.
        world: The processes that train together.
        memory: Bytes of the original's answers that are kept.
        pieces: How many parts of a batch are computed one after the other.
        rate: The learning rate at its highest.
        seed: Of all that is drawn.
        attack: What changes samples so that the loss rises; None where nothing does.
        ranges: Where those stay.
    """

    module: GraphModule
    teacher: Teacher | None
    loss: Loss
    samples: Samples
    held: Samples
    options: TrainOptions
    augment: Augmenting
    batch: int
    rate: float
    seed: int
    world: World = ALONE
    memory: int = MEMORY
    pieces: int = 1
    attack: Attack | None = None
    ranges: Ranges = field(default_factory=dict)
    steps: int = 1
    best: int = 0
    _best_weights: list[Tensor] = field(default_factory=list)
    _average: list[Tensor] = field(default_factory=list)
    _epoch: tuple[int, Sequence[tuple[Any, Places]]] = (-1, ())
    _known: list[dict[str, Tensor]] = field(default_factory=list)
    _kept_bytes: int = 0

    def __post_init__(self) -> None:
        """The parameters as they are at the start."""
        self.parameters = list(self.module.trained.values())
        self._start = [p.detach().clone() for p in self.parameters]
        self._best_weights = self._start
        self.device = torch.device(self.options.device)
        self._forward: torch.nn.Module = self.module
        if self.world.size > 1:
            self._forward = DistributedDataParallel(self.module, find_unused_parameters=True)
        self.begin(1)

    def tried(self, rate: float, steps: int) -> float:
        """The held-out loss after a whole schedule of so few steps at a rate."""
        self.rate = rate
        self.begin(steps)
        losses = [self.step(number) for number in range(steps)]
        return self.look() if all(map(math.isfinite, losses)) else math.inf

    def begin(self, steps: int) -> None:
        """From the weights at the start, so many steps."""
        self.steps = steps
        self._write(self._start)
        self.optimizer = optimizer_of(self.options, self.parameters, self.rate)
        self.schedule = schedule_of(self.options, self.optimizer, self.rate, steps)
        self._average = [p.detach().clone() for p in self.parameters] if self.options.ema else []

    def step(self, number: int) -> float:
        """Make one, and say its loss; infinite where that is no number, and nothing is changed."""
        inputs, labels, count = self._drawn(number)
        torch.manual_seed(self.seed * 1_000_003 + number)
        parts = list(_parts(inputs, labels, count, self._group.axes, self._pieces()))
        expected = [None if self.teacher is None else self.teacher(one[0]) for one in parts]
        rng = rng_of(self.seed, number, "attack")
        parts = [self._attacked(*pair, rng) for pair in zip(parts, expected, strict=True)]

        def closure() -> float:
            self.optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for part, answer in zip(parts, expected, strict=True):
                loss = self._loss_of(part, answer) * (part[2] / count)
                loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
            total += self._penalized()
            if self.options.clip:
                torch.nn.utils.clip_grad_norm_(self.parameters, self.options.clip)
            return total

        before = [p.detach().clone() for p in self.parameters] if number == 0 else None
        loss = float(self.optimizer.step(closure))
        self.schedule.step()
        if not math.isfinite(loss):
            if before is not None:
                self._write(before)
            return math.inf
        if self._average:
            average = get_ema_multi_avg_fn(self.options.ema)  # type: ignore[no-untyped-call]
            average(self._average, self.parameters, number + 1)
        return loss

    def look(self) -> float:
        """The loss on the held-out samples, of the moving average where there is one."""
        rng = rng_of(self.seed, 0, "attack on held-out samples")
        with self._averaged(), torch.no_grad():
            total, seen = 0.0, 0
            for inputs, answers, labels, count in self._held_answers():
                part = self._attacked((inputs, labels, count), answers, rng)
                total += count * float(self._loss_of(part, answers))
                seen += count
        return total / max(seen, 1)

    def keep(self, number: int) -> None:
        """Take the weights of this moment for the best."""
        self.best = number
        with self._averaged():
            self._best_weights = [p.detach().clone() for p in self.parameters]

    def restore(self) -> dict[str, Array]:
        """Go back to the best moment, whose weights are returned as the graph stores them."""
        self._write(self._best_weights)
        return self.module.weights()

    @property
    def learning_rate(self) -> float:
        """As it is now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """What it takes to go on."""
        return {
            "weights": [p.detach() for p in self.parameters],
            "best_weights": self._best_weights,
            "best": self.best,
            "average": self._average,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` told."""
        self._write(state["weights"])
        self._best_weights, self.best = state["best_weights"], state["best"]
        self._average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def example(self) -> tuple[Tensor, int]:
        """The loss of a small call, for what that takes, and the samples of the call."""
        inputs, labels, count = self._drawn(0)
        pieces = max(1, count // 2) if self._divides() else 1
        part = next(_parts(inputs, labels, count, self._group.axes, pieces))
        answer = None if self.teacher is None else self.teacher(part[0])
        return self._loss_of(part, answer), part[2]

    def _drawn(self, number: int) -> Call:
        """The batch of a step, varied; it depends on the seed and the number alone."""
        per_epoch = self.samples.steps_of_epoch(self.batch)
        epoch, place = divmod(number, per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self.samples.batches(self.batch, self.seed, epoch)
        self._group, rows = self._epoch[1][place]
        if self._divides():
            rows = rows[self.world.rank :: self.world.size]
        inputs, labels, count = self._group.rows(rows)
        return self.augment(inputs, rng_of(self.seed, number, "augment")), labels, count

    def _divides(self) -> bool:
        """Whether parts of the batch that was drawn last may be calls of their own."""
        return self._group.divides and self.samples.fixed is None

    def _pieces(self) -> int:
        return self.pieces if self._divides() else 1

    def _attacked(self, part: Call, answer: dict[str, Tensor] | None, rng: Generator) -> Call:
        """Samples that the loss is larger on; what the original says of them unchanged is known."""
        if self.attack is None:
            return part
        inputs, labels, count = part

        def loss(feeds: dict[str, Tensor]) -> Tensor:
            # The sum over samples, so that how far one moves does not depend on the others.
            return count * self._loss_on(self.module, feeds, labels, answer)

        moved = attacked(self.attack, self._fed(inputs), loss, self.ranges, rng)
        changed = {n: moved[n].cpu().numpy() if n in self.ranges else a for n, a in inputs.items()}
        return changed, labels, count

    def _loss_of(self, part: Call, answer: dict[str, Tensor] | None) -> Tensor:
        module = self._forward if torch.is_grad_enabled() else self.module
        return self._loss_on(module, self._fed(part[0]), part[1], answer)

    def _loss_on(
        self,
        module: torch.nn.Module,
        feeds: dict[str, Tensor],
        labels: Array | None,
        answer: dict[str, Tensor] | None,
    ) -> Tensor:
        known = None if labels is None else torch.from_numpy(np.array(labels)).to(self.device)
        half = self.options.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            made = module(feeds)
        told = {n: t.to(self.device) for n, t in (answer or {}).items()}
        return self.loss(made, told, LossBatch(feeds, known))

    def _fed(self, inputs: Arrays) -> dict[str, Tensor]:
        return {name: _laid(to_tensor(array)).to(self.device) for name, array in inputs.items()}

    def _penalized(self) -> float:
        """Gradients of L1 and L2 regularization, and its value."""
        l1, l2 = self.options.l1, self.options.l2
        if not (l1 or l2):
            return 0.0
        terms = [l1 * p.abs().sum() + l2 * p.pow(2).sum() for p in self.parameters]
        total = torch.stack(terms).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach())

    def _held_answers(self) -> Iterator[tuple[Arrays, dict[str, Tensor], Array | None, int]]:
        """The held-out samples with what the original makes of them, asked once where they fit."""
        for place, (inputs, labels, count) in enumerate(self.held.in_order(self.batch)):
            if place < len(self._known):
                answers = self._known[place]
            else:
                answers = {} if self.teacher is None else self.teacher(inputs)
                size = sum(tensor.nbytes for tensor in answers.values())
                if place == len(self._known) and self._kept_bytes + size <= self.memory:
                    self._known.append(answers)
                    self._kept_bytes += size
            yield inputs, answers, labels, count

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if not self._average:
            yield
            return
        own = [p.detach().clone() for p in self.parameters]
        self._write(self._average)
        try:
            yield
        finally:
            self._write(own)

    def _write(self, weights: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, weights, strict=True):
                parameter.copy_(value)


def _laid(x: Tensor) -> Tensor:
    """Pictures with channels last: torch's convolutions run at 1.1x so, at 1.4x in bf16."""
    is_picture = x.ndim == 4 and x.is_floating_point()
    return x.contiguous(memory_format=torch.channels_last) if is_picture else x


def _parts(
    inputs: Arrays,
    labels: Array | None,
    count: int,
    axes: Any,
    pieces: int,
) -> Iterator[Call]:
    """A batch in parts of about one size."""
    if pieces <= 1 or count <= 1:
        yield inputs, labels, count
        return
    lies: dict[str, BatchAxis | None] = dict(axes)
    for rows in np.array_split(np.arange(count), min(pieces, count)):
        part = None if labels is None else labels[rows]
        yield rows_of(inputs, lies, rows, count), part, len(rows)
