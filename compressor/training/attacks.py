"""Small changes of inputs that make a graph err, by its own gradients.

    FGSM    x' = Π(x + r · sign ∂L/∂x)                          (Goodfellow et al. 2015, section 3)
    PGD     x₀ = Π(x + U(-r, r)),  xₜ₊₁ = Π(xₜ + a · sign ∂L/∂xₜ)     (Madry et al. 2018, section 2)

Π brings each number back to within the radius r of where it was, and to the range that the data
has; a = 2.5 · r / steps. L is what is to rise: the cross-entropy of labels, or a loss of training.
Rounding on the way is passed straight through (`operators.quantization`), so that integers hide no
gradient.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.errors import CompressorError, GraphError
from compressor.evaluation.attacked import AttackName
from compressor.evaluation.classification import Classes
from compressor.evaluation.feeding import feeds_for, predict
from compressor.evaluation.roles import roles_of
from compressor.evaluation.views import behind
from compressor.graph.batch import BatchAxis
from compressor.graph.files import load_model
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.recipe.training import TrainOptions
from compressor.training.augmentation import IMAGE_CHANNELS, Generator, rng_of
from compressor.training.executor import GraphModule
from compressor.training.parity import why_not_equal
from compressor.training.types import to_tensor
from exporters.base import Runner

REACH = 2.5
"""Radii that the steps of PGD add up to (Madry et al. 2018, section C)."""
SHAPED = 2
"""Samples on which torch and the runtime are compared."""
_LABEL = " label"
"""An input beside a graph's own; none of those is called so."""
_SMALL = 1e-12

Range = tuple[Array, Array]
Ranges = Mapping[str, Range]
"""Input → least and largest value, as arrays that broadcast against it."""


@dataclass(frozen=True)
class Attack:
    """How inputs may change.

    Attributes:
        name: fgsm or pgd.
        radius: Most that any number may change, in units of the graph's input.
        steps: Of pgd.
    """

    name: AttackName
    radius: float
    steps: int

    @property
    def rate(self) -> float:
        """How far one step goes."""
        return self.radius if self.name == "fgsm" else REACH * self.radius / self.steps

    @property
    def words(self) -> str:
        """The attack for people."""
        steps = f" of {self.steps} steps" if self.name == "pgd" else ""
        return f"{self.name.upper()}{steps}, radius {self.radius:.4g}"


def attack_of(options: TrainOptions) -> Attack | None:
    """The attack that a training is to withstand."""
    if options.attack is None or options.radius is None:
        return None
    return Attack(options.attack, options.radius, options.attack_steps)


def ranges_of(calls: Iterable[Arrays]) -> dict[str, Range]:
    """The range of every floating input over some calls: of pictures by channel."""
    found: dict[str, Range] = {}
    for call in calls:
        for name, array in call.items():
            if array.dtype.kind != "f" or not array.size:
                continue
            axes = _reduced(array)
            low, high = (f(array, axis=axes, keepdims=True) for f in (np.min, np.max))
            if name in found:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            found[name] = low, high
    return found


def _reduced(array: Array) -> tuple[int, ...]:
    """All axes but the one of a picture's channels."""
    channels = [axis for axis in (1, 3) if array.ndim == 4 and array.shape[axis] in IMAGE_CHANNELS]
    return tuple(axis for axis in range(array.ndim) if axis not in channels[:1])


def attacked(
    attack: Attack,
    feeds: Mapping[str, Tensor],
    loss: Callable[[dict[str, Tensor]], Tensor],
    ranges: Ranges,
    rng: Generator,
) -> dict[str, Tensor]:
    """The inputs, changed so that a loss rises.

    Args:
        attack: How, and how far.
        feeds: Input → values; those with a range in `ranges` change.
        loss: Of inputs: a sum over samples, so that each sample's change is its own.
        ranges: Where inputs stay.
        rng: Draws where pgd begins.
    """
    names = [n for n, x in feeds.items() if n in ranges and x.is_floating_point()]
    bounds = {n: _bounds(feeds[n], ranges[n], attack.radius) for n in names}
    moved = dict(feeds)
    if attack.name == "pgd":
        for name in names:
            noise = rng.uniform(-attack.radius, attack.radius, tuple(feeds[name].shape))
            start = feeds[name] + torch.from_numpy(noise).to(feeds[name])
            moved[name] = torch.clamp(start, *bounds[name])
    for _ in range(1 if attack.name == "fgsm" else attack.steps):
        leaves = {n: moved[n].detach().requires_grad_() for n in names}
        with torch.enable_grad():
            total = loss({**moved, **leaves})
        # Where nothing of an input reaches the loss there is nothing to gain by it.
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
            if gradient is not None:
                step = leaf.detach() + attack.rate * torch.nan_to_num(gradient).sign()
                moved[name] = torch.clamp(step, *bounds[name])
    return {name: x.detach() for name, x in moved.items()}


def _bounds(x: Tensor, within: Range, radius: float) -> tuple[Tensor, Tensor]:
    """Least and largest of what each number may become; what lies outside the range may stay."""
    low, high = (torch.from_numpy(np.array(end)).to(x) for end in within)
    return torch.maximum(x - radius, torch.minimum(x, low)), torch.minimum(
        x + radius, torch.maximum(x, high)
    )


@dataclass
class GraphAttacks:
    """Attacks runners whose graphs torch can run: an `Attacker` of `evaluation.attacked`.

    Attributes:
        radius: Most that any number of an input may change.
        steps: Of pgd.
        ranges: Where inputs stay.
        seed: Of what pgd draws.
    """

    radius: float
    steps: int
    ranges: Ranges
    seed: int = 0
    _known: dict[int, tuple[object, "_Target"]] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Both attacks."""
        return f"FGSM and PGD of {self.steps} steps, radius {self.radius:.4g}"

    def why_not(self, runner: Runner, data: CalibrationSet) -> str | None:
        """Why a model cannot be attacked: what torch cannot run, or computes otherwise."""
        if not self.ranges:
            return "none of its inputs is of floating-point numbers, which could change a little"
        try:
            target = self._target(runner)
            size = data.fixed or SHAPED
            sample = data.sample(size)
            feeds = feeds_for(runner, sample.filled(size))
            departs, _ = why_not_equal(target.model, [feeds], target.module)
        except CompressorError as error:
            return error.message
        if departs is not None:
            return f"torch does not compute what the runtime does: {departs}"
        return None

    def made(
        self, runner: Runner, step: Batch, labels: Classes, name: AttackName
    ) -> dict[str, Array]:
        """The inputs of a batch, changed so that the model errs on them.

        Raises:
            GraphError: A node cannot be computed on these samples.
        """
        inputs, axes = step.inputs, step.sample_axes
        wanted = [spec.name for spec in runner.inputs]
        alone = wanted[0] if len(wanted) == len(inputs) == 1 else None
        if alone is not None:  # a single input takes a single array, whatever its name
            inputs = {alone: next(iter(inputs.values()))}
            axes = {alone: next(iter(axes.values()))}
        rng = rng_of(self.seed, step.start, name)
        attack = Attack(name, self.radius, self.steps)
        crafting = _Crafting(runner, self._target(runner), attack, self._ranges(alone), rng)
        given = {**inputs, _LABEL: labels}
        made = predict(crafting, given, len(step), {**axes, _LABEL: BatchAxis(0)})
        if alone is not None:
            return dict.fromkeys(step.inputs, made[alone])
        return {**step.inputs, **made}

    def _ranges(self, alone: str | None) -> Ranges:
        """By the names of the graph."""
        return self.ranges if alone is None else {alone: next(iter(self.ranges.values()))}

    def _target(self, runner: Runner) -> "_Target":
        """The graph of a runner in torch, made once."""
        found = behind(runner)
        if found is None:
            raise GraphError("its graph is not known")
        source, output = found
        known = self._known.get(id(source))
        if known is None or known[0] is not source:
            if len(self._known) > 3:  # candidates come and go
                self._known.pop(next(iter(self._known)))
            self._known[id(source)] = known = source, _Target.of(source, output)
        return known[1]


@dataclass(frozen=True)
class _Target:
    """A graph in torch, and where its scores are."""

    model: ir.Model
    module: GraphModule
    output: str
    are_probabilities: bool

    @classmethod
    def of(cls, source: ir.Model | Path, output: str) -> "_Target":
        """Build it.

        Raises:
            GraphError: torch cannot run it, or there is no graph in the file.
        """
        if isinstance(source, Path) and source.suffix != ".onnx":
            raise GraphError(f"{source.name} is no ONNX graph, which gradients are taken of")
        model = load_model(source) if isinstance(source, Path) else source
        ends = roles_of(model).ends.get(output)
        return cls(model, GraphModule(model), output, ends == "softmax")

    def entropy(self, feeds: dict[str, Tensor], labels: Tensor) -> Tensor:
        """The cross-entropy of the labels, summed over samples."""
        scores = self.module(feeds)[self.output].float().reshape(len(labels), -1)
        if self.are_probabilities:
            scores = torch.log(scores.clamp(min=_SMALL))
        return functional.cross_entropy(scores, labels, reduction="sum")


@dataclass(frozen=True)
class _Crafting:
    """An attack as a runner, from inputs and labels to inputs, so that fixed batches are cut."""

    runner: Runner
    target: _Target
    attack: Attack
    ranges: Ranges
    rng: Generator

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's, and labels."""
        first = input_specs(self.target.model)[0].shape[0]
        return (*self.runner.inputs, TensorSpec(_LABEL, np.dtype(np.int64), (first,)))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self.runner.inputs

    @property
    def on_caller(self) -> bool:
        """Not for timing."""
        return False

    def __enter__(self) -> "_Crafting":
        return self

    def __exit__(self, *raised: object) -> None:
        """The runner belongs to who opened it."""

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Not for timing."""
        return lambda: None

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """The changed inputs."""
        labels = torch.from_numpy(np.array(feeds[_LABEL], dtype=np.int64))
        given = {name: to_tensor(array) for name, array in feeds.items() if name != _LABEL}
        moved = attacked(
            self.attack,
            given,
            lambda inputs: self.target.entropy(inputs, labels),
            self.ranges,
            self.rng,
        )
        return {
            name: moved[name].numpy() if name in self.ranges else np.asarray(feeds[name])
            for name in given
        }
