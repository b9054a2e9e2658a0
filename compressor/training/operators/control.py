"""Control flow, and sequences of tensors that it carries.

A body is a function of its inputs; what it reads from around it, the executor gives it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from compressor.training.attributes import Attributes

Bodies = Mapping[str, Callable[..., list[Any]]]
"""Attribute → the graph in it, as a function."""


def if_(node: Attributes, bodies: Bodies, condition: Tensor) -> tuple[Any, ...]:
    """One branch or the other."""
    return tuple(bodies["then_branch" if bool(condition) else "else_branch"]())


def loop(
    node: Attributes,
    bodies: Bodies,
    most: Tensor | None = None,
    condition: Tensor | None = None,
    *carried: Any,
) -> tuple[Any, ...]:
    """While a condition holds, so often at most: what is carried, then what was collected."""
    limit = None if most is None else int(most)
    going = condition is None or bool(condition)
    state, rounds, number = list(carried), list[list[Tensor]](), 0
    while going and (limit is None or number < limit):
        goes_on, *made = bodies["body"](torch.tensor(number), torch.tensor(going), *state)
        state, collected = made[: len(carried)], made[len(carried) :]
        rounds.append(collected)
        going, number = bool(goes_on), number + 1
    return (*state, *(torch.stack(parts) for parts in zip(*rounds, strict=True)))


def scan(node: Attributes, bodies: Bodies, *given: Tensor) -> tuple[Tensor, ...]:
    """A body over slices of some inputs: what is carried, then what was collected."""
    count = node.get("num_scan_inputs")
    state, scanned = list(given[:-count]), given[-count:]
    into = node.ints("scan_input_axes", [0] * count) or []
    backwards = node.ints("scan_input_directions", [0] * count) or []
    columns = [
        (x.flip(axis) if back else x).unbind(axis)
        for x, axis, back in zip(scanned, into, backwards, strict=True)
    ]
    rounds: list[list[Tensor]] = []
    for parts in zip(*columns, strict=True):
        made = bodies["body"](*state, *parts)
        state, collected = made[: len(state)], made[len(state) :]
        rounds.append(collected)
    outputs = list(zip(*rounds, strict=True))
    out = node.ints("scan_output_axes", [0] * len(outputs)) or []
    turned = node.ints("scan_output_directions", [0] * len(outputs)) or []
    stacked = (
        torch.stack(parts[::-1] if back else parts, axis)
        for parts, axis, back in zip(outputs, out, turned, strict=True)
    )
    return (*state, *stacked)


def sequence_empty(node: Attributes) -> list[Tensor]:
    """No tensor."""
    return []


def sequence_construct(node: Attributes, *xs: Tensor) -> list[Tensor]:
    """Some tensors."""
    return list(xs)


def sequence_insert(
    node: Attributes, xs: list[Tensor], x: Tensor, place: Tensor | None = None
) -> list[Tensor]:
    """One more, at the end or at a place."""
    at = len(xs) if place is None else int(place)
    at = at + len(xs) if at < 0 else at
    return [*xs[:at], x, *xs[at:]]


def sequence_erase(node: Attributes, xs: list[Tensor], place: Tensor | None = None) -> list[Tensor]:
    """One less, at the end or at a place."""
    at = (len(xs) - 1 if place is None else int(place)) % len(xs)
    return [*xs[:at], *xs[at + 1 :]]


def sequence_at(node: Attributes, xs: list[Tensor], place: Tensor) -> Tensor:
    """The one at a place."""
    return xs[int(place)]


def sequence_length(node: Attributes, xs: list[Tensor]) -> Tensor:
    """How many there are."""
    return torch.tensor(len(xs))


def concat_from_sequence(node: Attributes, xs: list[Tensor]) -> Tensor:
    """All in one, along an axis that is there or is new."""
    axis = node.get("axis")
    return torch.stack(xs, axis) if node.get("new_axis", 0) else torch.cat(xs, axis)


def split_to_sequence(node: Attributes, x: Tensor, parts: Tensor | None = None) -> list[Tensor]:
    """Pieces along an axis."""
    axis = node.get("axis", 0)
    if parts is None:
        pieces = list(x.split(1, axis))  # type: ignore[no-untyped-call]
        return pieces if node.get("keepdims", 1) else [one.squeeze(axis) for one in pieces]
    sizes = int(parts) if parts.ndim == 0 else [int(n) for n in parts.tolist()]
    return list(torch.split(x, sizes, axis))
