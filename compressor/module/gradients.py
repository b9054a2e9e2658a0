"""What a loss would change by, to first order, if units of a module's parameters were zero.

With w the parameters of a unit, in all the tensors that are coupled by it, and L the loss,

    score = Σ over batches of n/N · |Σ over the unit of w · ∂L/∂w|,

n of the N samples in the batch (Molchanov et al. 2017, arXiv 1611.06440, section 2.2; by whole
structures of parameters as in Molchanov et al. 2019, arXiv 1906.10771, section 3).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.capture.binding import bind
from compressor.capture.module_state import borrowed
from compressor.capture.outputs import leaves
from compressor.capture.reference import flat_module, to_numpy, to_torch
from compressor.errors import RecipeError
from compressor.graph.tensors import Array
from compressor.layerwise.factor import threads
from compressor.layerwise.im2col import Doubles
from compressor.pruning import Grouping
from compressor.pruning.coupling.labels import Ints
from compressor.pruning.selection.importance import Scores
from compressor.system.progress import SILENT, Progress
from compressor.system.userfile import load_object, user_errors


@dataclass(frozen=True)
class LossBatch:
    """A batch as a loss gets it, beside the module's outputs.

    Attributes:
        inputs: Input name → tensor, samples along the first dimension.
        labels: One entry per sample; None where the data has none.
    """

    inputs: Mapping[str, torch.Tensor]
    labels: torch.Tensor | None


Loss = Callable[[Any, LossBatch], torch.Tensor]
"""The batch's mean loss, a scalar, of what the module returns and the batch."""


def find_loss(named: str | None, data: CalibrationSet) -> Loss:
    """The user's loss, or cross-entropy of the only output where the data has class labels.

    Args:
        named: `file.py:function` or `package.module:function`.
        data: What it will be told.

    Raises:
        RecipeError: There is no such function, or none is named and the data has no class labels.
    """
    if named is not None:
        found = load_object(named, "pruning loss", error=RecipeError)
        if not callable(found):
            raise RecipeError(
                f"pruning loss {named}: expected a function of (outputs, batch), found "
                f"{type(found).__name__}"
            )
        return _users(found, named)
    labels = data.head(1).labels
    if labels is None or labels.shape[1:] not in ((), (1,)) or labels.dtype.kind not in "iu":
        raise RecipeError(
            "importance by 'taylor' needs a loss: the calibration data has no class labels",
            hint="Name one with --prune-loss file.py:function, or choose obs.",
        )
    return cross_entropy


def cross_entropy(outputs: Any, batch: LossBatch) -> torch.Tensor:
    """Mean cross-entropy of the only output, logits [n, classes], against the labels.

    Raises:
        RecipeError: The outputs are something else.
    """
    tensors = [leaf for _, leaf in leaves(outputs) if isinstance(leaf, torch.Tensor)]
    labels = batch.labels
    assert labels is not None, "data without labels has no default loss"
    logits = tensors[0] if len(tensors) == 1 else None
    if logits is None or logits.ndim != 2 or int(labels.max()) >= logits.shape[1]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        raise RecipeError(
            f"importance by 'taylor' needs a loss: cross-entropy with labels up to "
            f"{int(labels.max())} does not fit outputs of shape {shapes}",
            hint="Name one with --prune-loss file.py:function, or choose obs.",
        )
    return functional.cross_entropy(logits, labels.reshape(-1).long())


@contextmanager
def _few_threads() -> Iterator[None]:
    """Give torch as few threads as solves get: those that wait spin, too."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def first_order(
    module: torch.nn.Module,
    grouping: Grouping,
    data: CalibrationSet,
    loss: Loss,
    *,
    batch: int,
    progress: Progress = SILENT,
) -> Scores:
    """The score of each unit; groups without a parameter of the module are left out.

    Args:
        module: Runs in evaluation mode; parameters, their gradients and buffers stay as they were.
        grouping: The groups of a graph whose initializers bear the names of the parameters.
        data: Bound to the graph's inputs.
        loss: What is differentiated.
        batch: Samples per step.
        progress: Called with the batches done.

    Raises:
        RecipeError: The loss fails or is no scalar that depends on the parameters.
    """
    names = [spec.name for spec in data.fields]
    binding = bind(module, names)
    with borrowed(module, names) as own, _differentiable(own) as parameters:
        run = flat_module(own, binding)

        def outputs(tensors: Mapping[str, torch.Tensor]) -> Any:
            return run.call([tensors[name] for name in binding.order])

        return summed(outputs, parameters, grouping, data, loss, batch=batch, progress=progress)


def summed(
    outputs: Callable[[Mapping[str, torch.Tensor]], Any],
    parameters: Mapping[str, torch.nn.Parameter],
    grouping: Grouping,
    data: CalibrationSet,
    loss: Loss,
    *,
    batch: int,
    progress: Progress = SILENT,
) -> Scores:
    """The score of each unit by the gradients of some parameters; groups without one are left out.

    Args:
        outputs: What the model makes of inputs by name.
        parameters: Its parameters, by the names of the initializers that the groups are of.
        grouping: The groups.
        data: Bound to the inputs.
        loss: What is differentiated.
        batch: Samples per step.
        progress: Called with the batches done.

    Raises:
        RecipeError: The loss fails or is no scalar that depends on the parameters.
    """
    total: dict[str, Doubles] = {}
    members, steps = _members(grouping, parameters), data.calls(batch)
    with (
        _few_threads(),
        torch.enable_grad(),
        progress.stage("differentiate", total=steps) as advance,
    ):
        for part in data.batches(batch):
            tensors = {name: to_torch(array) for name, array in part.inputs.items()}
            value = _checked(loss(outputs(tensors), _told(part, tensors)))
            products = _products(value, parameters)
            for group, read in members.items():
                change = sum(_by_unit(products[name], a, p) for (name, a), p in read.items())
                share = len(part) / len(data) * np.abs(change)
                total[group] = total.get(group, 0.0) + share
            advance(1)
    return total


_Members = Mapping[tuple[str, int], Ints]
"""Parameter and axis → the positions along it of each unit."""


def _members(
    grouping: Grouping, parameters: Mapping[str, torch.nn.Parameter]
) -> Mapping[str, _Members]:
    """Group → the parameters that shrink with it; what is shared counts once."""
    found: dict[str, dict[tuple[str, int], Ints]] = {}
    for group in grouping.groups:
        for member in group.members:
            copied = member.value not in parameters  # a vector's copies are called NAME#2 and so on
            name = member.value.rpartition("#")[0] if copied else member.value
            shape = grouping.shapes[member.value]
            if name in parameters and tuple(parameters[name].shape) == shape:
                found.setdefault(group.name, {})[name, member.axis] = member.positions
    return found


@contextmanager
def _differentiable(module: torch.nn.Module) -> Iterator[dict[str, torch.nn.Parameter]]:
    """All floating parameters by each of their names, frozen ones as if they were not."""
    every = dict(module.named_parameters(remove_duplicate=False))
    found = {name: p for name, p in every.items() if p.is_floating_point()}
    frozen = [parameter for parameter in found.values() if not parameter.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        yield found
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _products(
    value: torch.Tensor, parameters: Mapping[str, torch.nn.Parameter]
) -> Mapping[str, Array]:
    """W · ∂L/∂w of every parameter; zeros where the loss does not depend on it."""
    unique = {id(parameter): parameter for parameter in parameters.values()}
    gradients = torch.autograd.grad(value, list(unique.values()), allow_unused=True)
    found = dict(zip(unique, gradients, strict=True))
    made = {}
    for name, parameter in parameters.items():
        gradient = found.get(id(parameter))
        product = torch.zeros_like(parameter) if gradient is None else parameter * gradient
        made[name] = to_numpy(product.float())
    return made


def _by_unit(product: Array, axis: int, positions: Ints) -> Doubles:
    along = np.moveaxis(product, axis, 0).reshape(product.shape[axis], -1)
    found: Doubles = along.sum(1, dtype=np.float64)[positions].sum(1)
    return found


def _told(part: Batch, tensors: Mapping[str, torch.Tensor]) -> LossBatch:
    labels = None if part.labels is None else torch.from_numpy(np.array(part.labels))
    return LossBatch(tensors, labels)


def _users(function: Loss, name: str) -> Loss:
    def called(outputs: Any, batch: LossBatch) -> torch.Tensor:
        with user_errors(f"pruning loss {name}", error=RecipeError):
            return function(outputs, batch)

    return called


def _checked(value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        found = f"a tensor of shape {list(value.shape)}" if isinstance(value, torch.Tensor) else ""
        raise RecipeError(
            "the pruning loss should return a scalar tensor that depends on the module's "
            f"parameters, and returned {found or type(value).__name__}"
        )
    return value.reshape(())
