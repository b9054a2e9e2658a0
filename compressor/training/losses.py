"""What training makes small: how far the graph is from the original, from labels, or a user's loss.

Logits are compared by T² · KL(softmax(t / T) ‖ softmax(s / T)) (Hinton et al. 2015, arXiv
1503.02531, section 2), all else by Σ (t - s)² / Σ (t - mean t)², so that outputs and inner values
of any scale weigh alike. Where an input is a mask of tokens, those that it hides do not count.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import DataError, RecipeError
from compressor.evaluation.roles import Roles, names_classes, roles_of, words
from compressor.module.gradients import LossBatch
from compressor.recipe.training import TrainOptions
from compressor.system.userfile import load_object, user_errors
from compressor.training.labels import ClassLabels, entropy, labelled_output

Tensors = Mapping[str, Tensor]
Loss = Callable[[Tensors, Tensors, LossBatch], Tensor]
"""Of what the graph computes, what the original does, and the batch: a scalar."""

_SMALL = 1e-8


@dataclass(frozen=True)
class Distillation:
    """The distance from the original.

    Attributes:
        logits: Outputs whose last axis is scores of classes.
        scores: Of those, which are probabilities already.
        others: Other outputs.
        features: Inner values.
        options: Temperature and weights.
        mask: The input that hides tokens; None where there is none.
        labelled: The output that labels are of; None without.
    """

    logits: tuple[str, ...]
    scores: tuple[str, ...]
    others: tuple[str, ...]
    features: tuple[str, ...]
    options: TrainOptions
    mask: str | None = None
    labelled: str | None = None

    def __call__(self, made: Tensors, expected: Tensors, batch: LossBatch) -> Tensor:
        """The mean over samples."""
        hidden = None if self.mask is None else batch.inputs[self.mask]
        terms = [self._divergence(n, made[n], expected[n], hidden) for n in self.logits]
        terms += [_relative(made[name], expected[name], hidden) for name in self.others]
        total = torch.stack(terms).mean()
        if self.features and self.options.features:
            errors = [_relative(made[name], expected[name], hidden) for name in self.features]
            total = total + self.options.features * torch.stack(errors).mean()
        if self.labelled is not None and batch.labels is not None and self.options.labels:
            share = self.options.labels
            total = (1 - share) * total + share * self._entropy(made, batch.labels)
        return total

    def _divergence(
        self, name: str, made: Tensor, expected: Tensor, hidden: Tensor | None
    ) -> Tensor:
        t = self.options.temperature
        student, teacher = self._logits(name, made), self._logits(name, expected)
        apart = functional.kl_div(
            torch.log_softmax(student / t, -1),
            torch.log_softmax(teacher / t, -1),
            reduction="none",
            log_target=True,
        ).sum(-1)
        return t * t * _mean(apart, hidden)

    def _logits(self, name: str, x: Tensor) -> Tensor:
        real = x.float()
        return torch.log(real.clamp(min=_SMALL)) if name in self.scores else real

    def _entropy(self, made: Tensors, labels: Tensor) -> Tensor:
        assert self.labelled is not None, "asked for by labels"
        return entropy(self._logits(self.labelled, made[self.labelled]), labels)


@dataclass(frozen=True)
class UserLoss:
    """A loss of the user's own: `function(outputs, batch)`.

    Attributes:
        name: As it was named.
        function: Outputs by name, and the batch.
    """

    name: str
    function: Callable[[Tensors, LossBatch], Tensor]

    def __call__(self, made: Tensors, expected: Tensors, batch: LossBatch) -> Tensor:
        """What it returns.

        Raises:
            RecipeError: That is no scalar with gradients, or it fails.
        """
        with user_errors(f"training loss {self.name}", error=RecipeError):
            found = self.function(made, batch)
        if not isinstance(found, Tensor) or found.numel() != 1:
            kind = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise RecipeError(
                f"the training loss {self.name} should return a scalar tensor, and returned {kind}",
                hint="Take the mean over the batch, by torch.",
            )
        if torch.is_grad_enabled() and not found.requires_grad:
            raise RecipeError(
                f"the training loss {self.name} should return a scalar tensor with a gradient, and "
                f"returned one of {str(found.dtype).removeprefix('torch.')} without",
                hint="Compute it of `outputs` by torch, without .detach(), .item() and numpy.",
            )
        return found.reshape(())


def user_loss(spec: str) -> UserLoss:
    """The function that a recipe names.

    Raises:
        RecipeError: There is none.
    """
    found = load_object(spec, "training loss", error=RecipeError)
    if not callable(found):
        raise RecipeError(
            f"training loss {spec}: expected a function of (outputs, batch), found "
            f"{type(found).__name__}"
        )
    try:
        taken = inspect.signature(found)
    except ValueError:  # some of those written in C tell nothing: its first call does
        return UserLoss(spec, found)
    try:
        taken.bind({}, None)
    except TypeError:
        raise RecipeError(
            f"training loss {spec}: expected a function of (outputs, batch), found one of {taken}"
        ) from None
    return UserLoss(spec, found)


def distillation(
    model: ir.Model,
    shapes: Mapping[str, tuple[int, ...]],
    options: TrainOptions,
    features: tuple[str, ...],
    *,
    classes: str | None = None,
    labels: ClassLabels | None = None,
) -> Distillation:
    """The distance that suits a graph's outputs.

    Args:
        model: The graph.
        shapes: Output → its shape on some samples.
        options: What was asked for.
        features: Inner values that are compared.
        classes: The output that is known to score classes.
        labels: Those of samples; None without.

    Raises:
        DataError: There are labels, and no output with scores for them.
    """
    roles = roles_of(model)
    floats = {v.name for v in model.graph.outputs if v.dtype is None or v.dtype.is_floating_point()}
    answers = [name for name in shapes if name in floats and name not in roles.states]
    labelled = None if labels is None else labelled_output(labels, answers, shapes)
    if labels is not None and labelled is None and options.data is not None:
        told = ", ".join(f"{name} {list(shapes[name])}" for name in answers)
        raise DataError(
            f"labels of shape {list(labels.shape)} fit no output: {told}",
            hint="Give class labels of the model, leave them out, or set [train] labels = 0.",
        )
    logits = tuple(
        name
        for name in answers
        if _is_logits(name, shapes[name], roles, options, classes or labelled)
    )
    others = tuple(name for name in answers if name not in logits)
    scored = tuple(name for name in logits if roles.ends.get(name) == "softmax")
    states = tuple(name for name in shapes if name in roles.states and name in floats)
    return Distillation(
        logits, scored, others, (*features, *states), options, mask_of(model), labelled
    )


def mask_of(model: ir.Model) -> str | None:
    """The input that says which tokens count: whole numbers [n, length], called a mask."""
    for value in model.graph.inputs:
        integers = value.dtype is not None and not value.dtype.is_floating_point()
        if integers and len(value.shape or ()) == 2 and "mask" in words(value.name or ""):
            return value.name
    return None


def _is_logits(
    name: str, shape: tuple[int, ...], roles: Roles, options: TrainOptions, known: str | None
) -> bool:
    if len(shape) < 2 or shape[-1] < 2 or options.distill == "output":
        return False
    told = name == known or names_classes(name) or roles.ends.get(name) == "softmax"
    return told or options.distill == "logits"


def _relative(made: Tensor, expected: Tensor, hidden: Tensor | None) -> Tensor:
    """Squared error over variance; the latter of this batch."""
    made, expected = made.float(), expected.float()
    if hidden is None or made.shape[:2] != hidden.shape:
        spread = expected.var(correction=0) if expected.numel() > 1 else expected.new_zeros(())
        return functional.mse_loss(made, expected) / (spread + _SMALL)
    error = _mean((made - expected) ** 2, hidden)
    return error / (_mean((expected - _mean(expected, hidden)) ** 2, hidden) + _SMALL)


def _mean(x: Tensor, hidden: Tensor | None) -> Tensor:
    """The mean over what a mask [n, length] lets count, where x lies along the same axes."""
    if hidden is None or x.shape[:2] != hidden.shape:
        return x.mean()
    weight = hidden.to(x.dtype).reshape(*hidden.shape, *[1] * (x.ndim - 2))
    inner = x[0, 0].numel()
    return (x * weight).sum() / (weight.sum() * inner).clamp(min=1)
