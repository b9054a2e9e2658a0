"""`.npy` files, and the reading of any `.npy` stream in chunks, without memory for the whole."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from calibration.sources.base import (
    Fields,
    checked_dtype,
    positional_names,
    rows_per_chunk,
)
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

(_NAME,) = positional_names(1)

DAMAGE = (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What numpy and zipfile raise on damaged, truncated or encrypted files."""


@dataclass(frozen=True)
class NpyHeader:
    """What a `.npy` stream says of itself: the type, byte order included, shape and order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    def spec(self, name: str, what: str) -> TensorSpec:
        """Describe the array as it will be yielded, in native byte order."""
        return TensorSpec(
            name, checked_dtype(self.dtype, what, text=True), ("batch", *self.shape[1:])
        )


def read_header(stream: IO[bytes], what: str, *, text: bool = False) -> NpyHeader:
    """Read and check the header of a `.npy` stream, which is then at its first value.

    Raises:
        DataError: It is no `.npy` data, holds objects, or an array without dimensions.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:  # version 3 differs from 2 in the names of record fields, which are refused below
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    except DAMAGE as error:
        raise DataError(f"{what}: no readable array: {error}") from error
    checked_dtype(dtype, what, text=text)
    if not shape:
        raise DataError(
            f"{what}: expected samples along the first dimension, found a single number",
            hint="store only arrays whose first dimension counts samples",
        )
    return NpyHeader(dtype, shape, fortran)


def read_chunks(stream: IO[bytes], header: NpyHeader, rows: int, what: str) -> Iterator[Array]:
    """Yield `rows` samples at a time from a stream that is at its first value.

    An array in Fortran order has its samples interleaved: it is read whole.

    Raises:
        DataError: The stream is damaged or ends early.
    """
    total, row_shape = header.shape[0], header.shape[1:]
    native = checked_dtype(header.dtype, what, text=True)  # refused by `read_header` if at all
    if header.fortran:
        flat = _read(stream, (int(np.prod(header.shape)),), header.dtype, what)
        whole = flat.reshape(header.shape[::-1]).T
        for start in range(0, total, rows):
            part = whole[start : start + rows]
            yield np.ascontiguousarray(part).astype(native, copy=False)
        return
    for start in range(0, total, rows):
        shape = (min(rows, total - start), *row_shape)
        yield _read(stream, shape, header.dtype, what).astype(native, copy=False)


def _read(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Array:
    array: Array = np.empty(shape, dtype)
    if array.size == 0:
        return array
    view = array.reshape(-1).view(np.uint8).data
    filled = 0
    while filled < len(view):
        try:
            # `readinto` of zipfile reads by way of `read`, so pieces stay small
            block = stream.read(min(len(view) - filled, 2**18))
        except DAMAGE as error:
            raise DataError(f"{what}: damaged: {error}") from error
        if not block:
            raise DataError(f"{what}: ends early: expected {len(view)} bytes more than {filled}")
        view[filled : filled + len(block)] = block
        filled += len(block)
    return array


class NpySource:
    """One array, without a name and without labels."""

    def __init__(self, path: Path, where: str) -> None:
        self.description = str(path)
        self._path = path
        self._where = where
        with path.open("rb") as stream:
            self._header = read_header(stream, where)
        self.specs: tuple[TensorSpec, ...] = (self._header.spec(_NAME, where),)
        self.count: int | None = self._header.shape[0]
        self.labels: Array | None = None

    def chunks(self) -> Iterator[Fields]:
        """Read the file in pieces."""
        with self._path.open("rb") as stream:
            header = read_header(stream, self._where)
            if header != self._header:
                raise DataError(f"{self._where}: the file changed while it was in use")
            rows = rows_per_chunk(self.specs)
            for array in read_chunks(stream, header, rows, self._where):
                yield {_NAME: array}
