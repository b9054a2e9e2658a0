"""Weights that were saved by numpy: an archive of arrays, or a dictionary in a single file.

No pickle in them is run: see `inert`.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from compressor.checkpoint.inert import InertFile
from compressor.errors import CheckpointError


def load_numpy(path: Path) -> Any:
    """What a `.npz` or `.npy` file holds: names and arrays, or what was pickled in their place.

    A slash in a name, as flattened trees have it, becomes a dot.

    Raises:
        CheckpointError: The file is damaged.
    """
    reading = InertFile()
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return _read(file, reading)
        with zipfile.ZipFile(path) as archive:
            found = {}
            for name in archive.namelist():
                with archive.open(name) as member:
                    key = name.removesuffix(".npy").replace("/", ".")
                    found[key] = _read(member, reading)  # type: ignore[arg-type] # binary as well
            return found
    except Exception as error:  # a damaged file raises ValueError, EOFError, zlib's and others
        raise CheckpointError(
            f"{path} is damaged: {str(error).partition(chr(10))[0] or type(error).__name__}",
            hint="Copy or save it again.",
        ) from error


def as_tensor(value: object) -> Any:
    """A torch tensor of an array or number of numpy; None of what no tensor can hold."""
    import torch  # noqa: PLC0415 - only once there is something to load

    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "fiubcV":
        return None
    array = np.array(value)  # files are mapped read-only, and torch wants to write
    if array.dtype.name == "bfloat16":  # of ml_dtypes, which torch does not know
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    try:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except TypeError:
        return None


def numbers_in(mapping: Mapping[Any, Any]) -> bool:
    """Whether a mapping names arrays of numbers, rather than single numbers alone."""
    return any(
        isinstance(key, str) and isinstance(value, np.ndarray) and value.dtype.kind in "fiubcV"
        for key, value in mapping.items()
    )


def _read(file: BinaryIO, reading: InertFile) -> Any:
    """One array; where its elements are objects, what is in it."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0
    if version > (1, 0):
        header = np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(file)
    if dtype.hasobject:
        found = reading.load(file)
        return found.item() if isinstance(found, np.ndarray) and found.shape == () else found
    count = int(np.prod(shape, dtype=np.int64))
    content = file.read(count * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
