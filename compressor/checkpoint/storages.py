"""Storages of torch's archives: what a pickle claims of them is held against what is there.

The pickle says how many elements a storage has, and the bytes lie in a member of their own. Torch
believes the pickle: of a member that is shorter it reads on, in whatever memory comes behind.
"""

import io
import pickle
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any

from compressor.checkpoint.inert import Inert

_ELEMENTS = {
    "ComplexDoubleStorage": 16, "ComplexFloatStorage": 8, "DoubleStorage": 8, "LongStorage": 8,
    "FloatStorage": 4, "IntStorage": 4, "QInt32Storage": 4, "HalfStorage": 2, "BFloat16Storage": 2,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "UntypedStorage": 1,
    "QInt8Storage": 1, "QUInt8Storage": 1,
}  # fmt: skip
"""Class of a storage → bytes of an element."""
_PLACES = {"data.pkl": "data", "constants.pkl": "constants"}
"""A pickle → the folder beside it that its storages lie in."""


def why_too_short(archive: zipfile.ZipFile) -> str | None:
    """Which storage has fewer bytes than it claims; None where none has.

    Args:
        archive: Of `torch.save`, `torch.jit.save`, or one within another archive.
    """
    held = {member.filename: member.file_size for member in archive.infolist()}
    for name in held:
        folder, base = posixpath.split(name)
        if base not in _PLACES:
            continue
        for key, count in _claimed(archive.read(name)):
            bytes_held = held.get(posixpath.join(folder, _PLACES[base], key), 0)
            if bytes_held < count:
                return f"storage {key!r} claims {count:,} bytes, and the archive has {bytes_held:,}"
    return None


def _claimed(content: bytes) -> Iterator[tuple[str, int]]:
    """Names of storages in a pickle, and how many bytes they claim; nothing in it is run."""
    reading = _Claims(io.BytesIO(content))
    try:
        reading.load()
    except Exception:  # damaged: whoever reads it for good says so
        return
    yield from reading.found


class _Claims(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: list[tuple[str, int]] = []

    def find_class(self, module: str, name: str) -> Any:
        """The bytes of an element for the class of a storage, and something inert for all else."""
        if name in _ELEMENTS:
            return _ELEMENTS[name]
        return type(name.rpartition(".")[2] or "nothing", (Inert,), {"__module__": module})

    def persistent_load(self, told: Any) -> Any:
        """Note a storage: ("storage", class, name, device, elements)."""
        if isinstance(told, tuple) and len(told) >= 5 and told[0] == "storage":
            _, size, key, _, count = told[:5]
            if isinstance(size, int) and isinstance(count, int):
                self.found.append((str(key), size * count))
        return Inert()
