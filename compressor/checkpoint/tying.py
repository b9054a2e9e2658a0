"""Tensors that a module holds once under several names, of which files often keep only one."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from compressor.system.third_party_output import relayed

logger = logging.getLogger(__name__)


def tie(module: Any) -> None:
    """Let a module, and what it is made of, tie its weights where it has a way to.

    Networks of `transformers`, and many after them, do so in a method `tie_weights`, which a
    factory may not have called.
    """
    for part in module.modules():
        ties = getattr(part, "tie_weights", None)
        if callable(ties):
            # Only an offer: what is not tied by it will be missed, and named.
            with suppress(Exception), relayed(logger):
                ties()


def shared_names(expected: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Names of a module's state that mean the same tensor, those of one tensor together."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in expected.items():
        with suppress(RuntimeError, NotImplementedError, AttributeError, ValueError):
            if tensor.numel() and tensor.device.type != "meta":
                # A transposed view has the same numbers in other places.
                key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
                found.setdefault(key, []).append(name)
    return [tuple(names) for names in found.values() if len(names) > 1]


def without_tied(
    missing: Iterable[str], present: Mapping[str, Any], groups: Iterable[tuple[str, ...]]
) -> list[str]:
    """Those missing names whose tensor is there under none of its other names."""
    told = {name for names in groups if any(n in present for n in names) for name in names}
    return [name for name in missing if name not in told]


def settled(
    state: Mapping[str, Any], groups: Iterable[tuple[str, ...]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """One name for each tensor that the module shares, and what the file says twice unlike.

    The last of the module's names counts, as it does where torch loads a state dict.
    """
    kept, notices = dict(state), []
    for names in groups:
        given = [name for name in names if name in kept]
        for name in given[:-1]:
            if _differ(kept[name], kept[given[-1]]):
                notices.append(
                    f"the model shares one tensor between {name} and {given[-1]}, which differ in "
                    f"the file: {given[-1]} was taken"
                )
            del kept[name]
    return kept, tuple(notices)


def _differ(one: Any, other: Any) -> bool:
    one, other = read(one), read(other)
    if one is other or one.data_ptr() == other.data_ptr():
        return False
    return one.shape != other.shape or not bool((one == other).all())


def read(tensor: Any) -> Any:
    """A tensor of torch, read from its file where it lies in one."""
    return tensor.open()[tensor.key] if hasattr(tensor, "open") else tensor
