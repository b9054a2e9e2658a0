"""Keys and values that a decoder takes in and gives out, by the names of their tensors.

Optimum's names are `past_key_values.N.key` in and `present.N.key` out, with `.decoder.` or
`.encoder.` before the last part in models that attend to an encoder. Older exports have `past_N`
for both in one tensor.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from compressor.errors import UsageError
from compressor.graph.tensors import Array, TensorSpec
from compressor.pipelines.calls import GraphCall

_TAKEN = re.compile(r"^(past_key_values|past_kv|past|kv_cache|cache)[._]?")
_GIVEN = re.compile(r"^(present_key_values|present_kv|present|new_cache|new_kv|new|updated)[._]?")
_KINDS = {"key": "key", "keys": "key", "k": "key", "value": "value", "values": "value"}
_KINDS |= {"v": "value"}
_SIDES = {"decoder": "self", "self": "self", "encoder": "cross", "cross": "cross"}


class Slot(NamedTuple):
    """One tensor of a cache: layer, "self" or "cross", and "key", "value" or "" for both."""

    layer: int
    side: str
    kind: str


def slots_taken(names: Iterable[str]) -> dict[str, Slot]:
    """TensorSpec → slot, of those that are a cache."""
    return _slots(names, _TAKEN)


def slots_given(names: Iterable[str], taken: Sequence[str]) -> dict[str, Slot]:
    """Output → slot; outputs without names follow the order of the inputs."""
    listed = list(names)
    found = _slots(listed, _GIVEN) or _slots(listed, _TAKEN)
    if not found and taken and len(listed) == len(taken) + 1:
        slots = list(_slots(taken, _TAKEN).values())
        return dict(zip(listed[1:], slots, strict=True))
    return found


def empty(graph: GraphCall, spec: TensorSpec, batch: object, rows: int) -> Array:
    """A cache of no positions.

    Args:
        graph: For messages.
        spec: The input. Of its open sizes one is that of units, one grows.
        batch: The size that counts units, as the graph names it.
        rows: How many units.

    Raises:
        UsageError: No size grows, or it cannot be told which.
    """
    shape: list[int] = []
    grows: list[object] = []
    for place, size in enumerate(spec.shape):
        if isinstance(size, int):
            shape.append(size)
        elif counts_units(size, batch) or (place == 0 and size is None):
            shape.append(rows)
        else:
            grows.append(size)
            shape.append(0)
    if len(grows) != 1:
        what = f"{len(grows)} open sizes" if grows else "a fixed size"
        shown = ", ".join(map(str, spec.shape))
        raise UsageError(
            f"graph {graph.name!r}: cache {spec.name!r} of shape [{shown}] has {what}, and needs "
            "one that grows with the tokens",
            hint="Export it with the batch and the length of the past as dynamic axes, and the "
            "others fixed.",
        )
    return np.zeros(shape, spec.dtype)


def counts_units(size: object, batch: object) -> bool:
    """Whether an open size is that of units, alone."""
    if not isinstance(size, str):
        return False
    return size == batch or re.fullmatch(r"(batch|batch_?size|n|b|bs)", size.lower()) is not None


def renewed(
    cache: Mapping[Slot, Array], made: Mapping[str, Array], given: Mapping[str, Slot]
) -> dict[Slot, Array]:
    """The cache after a call. Of what was empty the former stays: merged decoders give that."""
    found = dict(cache)
    for name, slot in given.items():
        if made[name].size:
            found[slot] = made[name]
    return found


def _slots(names: Iterable[str], begins: re.Pattern[str]) -> dict[str, Slot]:
    found = {name: _slot(name.lower(), begins) for name in names}
    return {name: slot for name, slot in found.items() if slot is not None}


def _slot(name: str, begins: re.Pattern[str]) -> Slot | None:
    match = begins.match(name)
    if match is None:
        return None
    parts = [part for part in re.split(r"[._]", name[match.end() :]) if part]
    layers = [int(part) for part in parts if part.isdecimal()]
    words = [part for part in parts if not part.isdecimal()]
    if len(layers) != 1 or any(word not in _KINDS and word not in _SIDES for word in words):
        return None
    sides = [_SIDES[word] for word in words if word in _SIDES] or ["self"]
    kinds = [_KINDS[word] for word in words if word in _KINDS] or [""]
    return Slot(layers[0], sides[0], kinds[0])
