"""A user's module, borrowed: evaluation mode, CPU, no cache, plain products; given back as it was.

Some modules count calls or keep running statistics in their buffers even in evaluation mode. They
are called several times while they are captured, so buffers are put back too.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from compressor.errors import CaptureError

_EXPERTS = "_experts_implementation"
"""How a mixture of experts of transformers computes them: as "grouped_mm" by an operator that no
exporter knows, as "batched_mm" by products of the weights that each token chooses."""


@contextmanager
def borrowed(module: torch.nn.Module, inputs: Sequence[str]) -> Iterator[torch.nn.Module]:
    """The module ready to be captured; its own state is restored afterwards.

    A module on another device is copied to the CPU instead.

    Args:
        module: The user's module.
        inputs: Names of the inputs: the key-value cache of transformers is turned off unless one
            of them is a cache.

    Raises:
        CaptureError: The module has no weights yet (parameters on the meta device).
    """
    devices = {tensor.device.type for tensor in chain(module.parameters(), module.buffers())}
    if "meta" in devices:
        raise CaptureError(
            "the model has parameters without data (on the meta device)",
            hint="Load its weights first.",
        )
    if devices - {"cpu"}:
        module = copy.deepcopy(module).to("cpu")
    training = [(part, part.training) for part in module.modules() if hasattr(part, "training")]
    caching = [] if _has_cache(inputs) else _configs(module, "use_cache", True)
    grouping = _configs(module, _EXPERTS, "grouped_mm")
    buffers = _kept_buffers(module)
    try:
        for part, _ in training:
            part.training = False
        for config in caching:
            config.use_cache = False
        for config in grouping:
            setattr(config, _EXPERTS, "batched_mm")
        yield module
    finally:
        for part, flag in training:
            part.training = flag
        for config in caching:
            config.use_cache = True
        for config in grouping:
            setattr(config, _EXPERTS, "grouped_mm")
        _put_back(buffers)


@dataclass(frozen=True)
class _Buffer:
    """A buffer of a module, and a copy of what was in it."""

    owner: torch.nn.Module
    name: str
    tensor: torch.Tensor
    content: torch.Tensor


def _kept_buffers(module: torch.nn.Module) -> list[_Buffer]:
    if isinstance(module, torch.jit.ScriptModule):  # its buffers are no Python attributes
        return []
    return [
        _Buffer(part, name, tensor, tensor.clone())
        for part in module.modules()
        for name, tensor in part._buffers.items()
        if tensor is not None
    ]


def _put_back(buffers: Sequence[_Buffer]) -> None:
    for buffer in buffers:
        buffer.owner._buffers[buffer.name] = buffer.tensor  # forward may have bound another
        if not torch.equal(buffer.tensor, buffer.content):
            buffer.tensor.copy_(buffer.content)


def _configs(module: torch.nn.Module, key: str, value: object) -> list[Any]:
    """The configurations of its parts that have this value, each once."""
    found = [getattr(part, "config", None) for part in module.modules()]
    unique = {id(config): config for config in found if config is not None}
    return [config for config in unique.values() if getattr(config, key, None) == value]


def _has_cache(inputs: Sequence[str]) -> bool:
    return any("past" in name or "cache" in name for name in inputs)
