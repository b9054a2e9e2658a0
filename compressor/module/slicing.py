"""The smaller `torch.nn.Module`: parameters and buffers are sliced, standard modules told so.

What a module's forward does with sizes of its own cannot be seen from outside.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compressor.errors import PruningError

Kept = Mapping[str, Mapping[int, Sequence[int]]]
"""Parameter or buffer → axis → positions that stay."""

_REFUSED = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Bilinear)
"""Modules whose forward knows sizes that cannot be changed one by one."""

_TELLING = ("weight", "running_mean")
"""Attributes whose shape the sizes of a standard module follow; a BatchNorm may have no weight."""


def slice_module(
    module: nn.Module, slices: Kept, shapes: Mapping[str, Sequence[int]] = MappingProxyType({})
) -> None:
    """Slice a module in place; tensors that several modules share stay shared.

    Args:
        module: The module.
        slices: What stays.
        shapes: Parameter or buffer → the shape that it has to have.

    Raises:
        PruningError: A name or a size is not the module's, or a module cannot be made smaller.
    """
    places = dict(_places(module))
    wanted: dict[int, dict[int, tuple[int, ...]]] = {}
    for name, axes in slices.items():
        if name not in places:
            raise PruningError(
                f"the plan slices {name!r}, which the module does not have",
                hint="Apply a plan to the module that it was made for.",
            )
        tensor = places[name].tensor
        asked = {axis: tuple(kept) for axis, kept in axes.items()}
        if wanted.setdefault(id(tensor), asked) != asked:
            raise PruningError(f"{name!r} is shared, and the plan slices it in two ways")
        if name in shapes and tuple(tensor.shape) != tuple(shapes[name]):
            raise PruningError(
                f"{name!r} is of shape {list(tensor.shape)}, the plan was made for "
                f"{list(shapes[name])}",
                hint="Apply a plan to the module that it was made for.",
            )
        _check(name, tensor, asked)
    adapt = [
        (place.owner, wanted[id(place.tensor)])
        for place in places.values()
        if id(place.tensor) in wanted and place.attribute in _TELLING
    ]
    _refuse(module, wanted)
    old_sizes = {id(owner): _groups(owner) for owner, _ in adapt}
    made: dict[int, torch.Tensor] = {}
    for place in places.values():
        key = id(place.tensor)
        if key in wanted:
            if key not in made:
                made[key] = _sliced(place.tensor, wanted[key])
            place.put(made[key])
    for owner, axes in adapt:
        _adapt(owner, axes, old_sizes[id(owner)])


def zeroed(module: nn.Module, slices: Kept) -> None:
    """Set what `slice_module` removes to zero in every parameter, in place.

    What a module computes then is what the smaller one has to compute.
    """
    places = dict(_places(module))
    with torch.no_grad():
        for name, axes in slices.items():
            tensor = places[name].tensor
            if not isinstance(tensor, nn.Parameter):
                continue
            for axis, kept in axes.items():
                dropped = torch.ones(tensor.shape[axis], dtype=torch.bool, device=tensor.device)
                dropped[list(kept)] = False
                tensor.transpose(0, axis)[dropped] = 0


class _Place:
    """An attribute of a module that holds a parameter or buffer."""

    def __init__(self, owner: nn.Module, attribute: str, tensor: torch.Tensor) -> None:
        self.owner = owner
        self.attribute = attribute
        self.tensor = tensor

    def put(self, tensor: torch.Tensor) -> None:
        """Hold another tensor."""
        if isinstance(tensor, nn.Parameter):
            self.owner._parameters[self.attribute] = tensor
        else:
            self.owner._buffers[self.attribute] = tensor


def _places(module: nn.Module) -> Iterator[tuple[str, _Place]]:
    """Every name of every parameter and buffer, also of shared ones."""
    for prefix, owner in module.named_modules(remove_duplicate=False):
        for attribute, tensor in chain(owner._parameters.items(), owner._buffers.items()):
            if tensor is not None:
                name = f"{prefix}.{attribute}" if prefix else attribute
                yield name, _Place(owner, attribute, tensor)


def _check(name: str, tensor: torch.Tensor, axes: Mapping[int, tuple[int, ...]]) -> None:
    for axis, kept in axes.items():
        if axis >= tensor.ndim or not kept or max(kept) >= tensor.shape[axis]:
            raise PruningError(
                f"{name!r} is of shape {list(tensor.shape)}; the plan keeps positions of axis "
                f"{axis} that it does not have",
                hint="Apply a plan to the module that it was made for, once.",
            )


def _sliced(tensor: torch.Tensor, axes: Mapping[int, tuple[int, ...]]) -> torch.Tensor:
    result = tensor.detach()
    for axis, kept in axes.items():
        result = result.index_select(axis, torch.tensor(kept, device=result.device))
    result = result.contiguous()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(result, requires_grad=tensor.requires_grad)
    return result


def _refuse(module: nn.Module, wanted: Mapping[int, object]) -> None:
    for name, part in module.named_modules():
        if isinstance(part, _REFUSED) and any(id(p) in wanted for p in part.parameters()):
            raise PruningError(
                f"{name or 'the module'} is a {type(part).__name__}, which cannot be made smaller "
                "from outside",
                hint=f"Leave it alone with --prune-leave '*{name}*'.",
            )


def _groups(owner: nn.Module) -> tuple[int, int]:
    """Independent groups of a module, and what they divide along axis 0 of its weight."""
    if isinstance(owner, _ConvNd):
        return owner.groups, int(owner.weight.shape[0])
    if isinstance(owner, nn.GroupNorm):
        return owner.num_groups, owner.num_channels
    return 1, 1


def _left(groups: int, size: int, kept: Sequence[int] | None) -> int:
    """Groups that are left: fewer where whole ones went, all where each lost some positions."""
    if kept is None or groups == 1:
        return groups
    width = size // groups
    counts = torch.bincount(torch.tensor(kept) // width, minlength=groups)
    whole = bool(((counts == 0) | (counts == width)).all())
    return int((counts > 0).sum()) if whole else groups


def _adapt(owner: nn.Module, axes: Mapping[int, Sequence[int]], before: tuple[int, int]) -> None:
    """Make the attributes of a standard module say what its weight's shape does."""
    held = owner._parameters | owner._buffers
    telling = next(t for name in _TELLING if (t := held.get(name)) is not None)
    shape = tuple(int(size) for size in telling.shape)
    groups = _left(*before, axes.get(0))
    for kind, adapt in _ADAPTING:
        if isinstance(owner, kind):
            adapt(owner, shape, groups)
            return


def _conv(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    assert isinstance(owner, _ConvNd)
    transposed = isinstance(owner, _ConvTransposeNd)
    owner.groups = groups
    owner.out_channels = shape[1] * groups if transposed else shape[0]
    owner.in_channels = shape[0] if transposed else shape[1] * groups


def _linear(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    del groups
    owner.out_features, owner.in_features = shape  # type: ignore[assignment]


def _norm(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    del groups
    owner.num_features = shape[0]  # type: ignore[assignment]


def _group_norm(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    owner.num_groups, owner.num_channels = groups, shape[0]  # type: ignore[assignment]


def _layer_norm(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    del groups
    owner.normalized_shape = shape  # type: ignore[assignment]


def _embedding(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    del groups
    owner.num_embeddings, owner.embedding_dim = shape  # type: ignore[assignment]


def _prelu(owner: nn.Module, shape: tuple[int, ...], groups: int) -> None:
    del groups
    owner.num_parameters = shape[0]  # type: ignore[assignment]


_ADAPTING: tuple[tuple[type[nn.Module], Callable[[nn.Module, tuple[int, ...], int], None]], ...] = (
    (_ConvNd, _conv),
    (nn.Linear, _linear),
    (_NormBase, _norm),
    (nn.GroupNorm, _group_norm),
    (nn.LayerNorm, _layer_norm),
    (nn.RMSNorm, _layer_norm),
    (nn.Embedding, _embedding),
    (nn.PReLU, _prelu),
)
