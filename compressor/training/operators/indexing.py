"""Elements by their places, and tensors made of nothing but sizes."""

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes
from compressor.training.types import tensor_of, torch_type


def gather(node: Attributes, x: Tensor, places: Tensor) -> Tensor:
    """Slices at places along an axis."""
    axis = node.get("axis", 0) % x.ndim
    at = places.long()
    if at.ndim == 0:
        return x.select(axis, int(at))
    if axis == 0 and x.ndim == 2 and x.is_floating_point():
        return functional.embedding(at % x.shape[0], x)
    flat = x.index_select(axis, at.reshape(-1) % x.shape[axis])
    return flat.reshape(*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])


def gather_elements(node: Attributes, x: Tensor, places: Tensor) -> Tensor:
    """Elements at places along an axis."""
    axis = node.get("axis", 0)
    return torch.gather(x, axis, places.long() % x.shape[axis])


def gather_nd(node: Attributes, x: Tensor, places: Tensor) -> Tensor:
    """Slices at tuples of places, behind `batch_dims` axes that both have."""
    batch, depth = node.get("batch_dims", 0), places.shape[-1]
    shape = x.shape[:batch]
    own = [
        torch.arange(n, device=x.device).reshape(
            [-1 if a == i else 1 for a in range(places.ndim - 1)]
        )
        for i, n in enumerate(shape)
    ]
    return x[(*own, *(places[..., i].long() for i in range(depth)))]


def scatter_elements(node: Attributes, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """X with elements put, or added, at places along an axis."""
    axis, how = node.get("axis", 0), node.text("reduction", "none")
    at = places.long() % x.shape[axis]
    if how == "none":
        return x.scatter(axis, at, updates)
    named = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[how]
    return x.scatter_reduce(axis, at, updates, named)


def scatter(node: Attributes, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """The same under its former name."""
    return scatter_elements(node, x, places, updates)


def scatter_nd(node: Attributes, x: Tensor, places: Tensor, updates: Tensor) -> Tensor:
    """X with slices put, or added, at tuples of places.

    Raises:
        NotImplementedError: They are joined otherwise.
    """
    how = node.text("reduction", "none")
    if how not in ("none", "add"):
        raise NotImplementedError(f"slices are put or added, not joined by {how!r}")
    at = tuple(places[..., i].long() for i in range(places.shape[-1]))
    return x.index_put(at, updates, accumulate=how == "add")


def slice_(
    node: Attributes,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    """From starts to ends along axes, by steps that may be negative."""
    begin, end = _named(node, "starts", starts) or [], _named(node, "ends", ends) or []
    along = _named(node, "axes", axes) or list(range(len(begin)))
    step = [1] * len(begin) if steps is None else [int(n) for n in steps.tolist()]
    for axis, low, high, by in zip(along, begin, end, step, strict=True):
        if by > 0:
            index = (slice(None),) * (axis % x.ndim)
            bounds = slice(low, high, by).indices(x.shape[axis])  # torch warns of great ends
            x = x[(*index, slice(*bounds))]
        else:
            size = x.shape[axis]
            places = list(range(size))[slice(low, None if high < -size else high, by)]
            x = x.index_select(axis, torch.tensor(places, dtype=torch.int64, device=x.device))
    return x


def compress(node: Attributes, x: Tensor, condition: Tensor) -> Tensor:
    """Slices along an axis where a condition holds; of all elements without an axis."""
    places = condition.nonzero().reshape(-1)
    axis = node.get("axis")
    return x.reshape(-1)[places] if axis is None else x.index_select(axis, places)


def non_zero(node: Attributes, x: Tensor) -> Tensor:
    """Places of what is not zero, one row an axis."""
    return x.nonzero().t()


def one_hot(node: Attributes, places: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """One value at each place along a new axis, the other elsewhere."""
    count, axis = int(depth.reshape(-1)[0]), node.get("axis", -1)
    hot = functional.one_hot(places.long() % count, count).bool()
    made = torch.where(hot, values[1], values[0])
    return made.movedim(-1, axis)


def constant(node: Attributes) -> Tensor:
    """What the node holds."""
    value = node.get("value")
    if value is not None:
        return tensor_of(value)
    for name, kind in (("int", torch.int64), ("float", torch.float32)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in node.values:
                return torch.tensor(node.values[key], dtype=kind)
    raise NotImplementedError("a constant of text, or a sparse one")


def constant_of_shape(node: Attributes, sizes: Tensor) -> Tensor:
    """One value everywhere."""
    value = node.get("value")
    filler = torch.zeros(1) if value is None else tensor_of(value)
    shape = [int(n) for n in sizes.tolist()]
    return filler.reshape(()).to(sizes.device).expand(shape).clone()


def range_(node: Attributes, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """Numbers from a start, each a step further, below a limit."""
    low, high, step = start.item(), limit.item(), delta.item()
    return torch.arange(low, high, step, dtype=start.dtype, device=start.device)


def eye_like(node: Attributes, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    named, offset = node.get("dtype"), node.get("k", 0)
    kind = x.dtype if named is None else torch_type(ir.DataType(named))
    whole = torch.ones(x.shape, device=x.device)
    return torch.diag_embed(torch.diagonal(whole, offset), offset)[: x.shape[0], : x.shape[1]].to(
        kind
    )


def _named(node: Attributes, name: str, given: Tensor | None) -> list[Any] | None:
    return node.ints(name) if given is None else [int(n) for n in given.tolist()]
