"""Tensors that stay in their files until they are needed.

Files of weights are mapped into memory, so that opening one reads names and shapes only. What is
read of a mapping stays resident as long as it is open; therefore a tensor remembers where it lies,
and files are opened anew for every few hundred megabytes of tensors.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CHUNK_BYTES = 256 << 20
"""Tensors that are resident at once beside the module, unless a single one is larger."""

Opened = Callable[[], Mapping[str, Any]]
"""Opens a file: name → tensor, mapped."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file that is not open.

    Attributes:
        open: Opens its file.
        key: Its name there.
        shape: Its shape.
        dtype: Its torch type.
    """

    open: Opened
    key: str
    shape: tuple[int, ...]
    dtype: Any

    def is_floating_point(self) -> bool:
        """Whether it is floating-point, as torch's tensors say."""
        return bool(self.dtype.is_floating_point)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        count = self.dtype.itemsize
        for size in self.shape:
            count *= size
        return int(count)


def tensors_of(file: Opened) -> dict[str, Any]:
    """What a file holds, each tensor as one that stays there; anything else as it is."""
    return {
        key: StoredTensor(file, key, tuple(value.shape), value.dtype)
        if hasattr(value, "is_floating_point")
        else value
        for key, value in file().items()
    }


def in_chunks(state: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A state in parts, read from the files; what is in memory already comes first."""
    waiting: dict[Opened, list[tuple[str, StoredTensor]]] = {}
    present = {}
    for key, value in state.items():
        if isinstance(value, StoredTensor):
            waiting.setdefault(value.open, []).append((key, value))
        else:
            present[key] = value
    if present:
        yield present
    for file, tensors in waiting.items():
        for chunk in _chunks(tensors):
            opened = file()
            yield {key: opened[tensor.key] for key, tensor in chunk}
            del opened


def _chunks(tensors: list[tuple[str, StoredTensor]]) -> Iterator[list[tuple[str, StoredTensor]]]:
    chunk: list[tuple[str, StoredTensor]] = []
    size = 0
    for key, tensor in tensors:
        if chunk and size + tensor.bytes > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append((key, tensor))
        size += tensor.bytes
    if chunk:
        yield chunk
