"""`.npy` files, and the reading of any `.npy` data in chunks, without memory for the whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from calibration.sources.base import (
    Axes,
    Fields,
    checked_dtype,
    first_axes,
    length_along,
    positional_names,
    rows_per_chunk,
    shapes_of,
    sliced,
)
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec
from compressor.system.archives import DAMAGE

(_NAME,) = positional_names(1)


INTERLEAVED = 32
"""Chunks in one where samples do not lie one after the other: each reads all over the file."""


@dataclass(frozen=True)
class NpyHeader:
    """The header of a `.npy` stream: the type, byte order included, shape and order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    def spec(self, name: str, what: str) -> TensorSpec:
        """Describe the array as it will be yielded, in native byte order."""
        return TensorSpec(name, checked_dtype(self.dtype, what, text=True), self.shape)

    def interleaved(self, axis: int | None) -> bool:
        """Whether the samples along an axis do not lie one after the other."""
        if axis is None or len(self.shape) < 2:
            return False
        return axis != (len(self.shape) - 1 if self.fortran else 0)


def read_header(stream: IO[bytes], what: str, *, text: bool = False) -> NpyHeader:
    """Read and check the header of a `.npy` stream, which is then at its first value.

    Raises:
        DataError: It is no `.npy` data, or holds objects.
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
    return NpyHeader(dtype, shape, fortran)


def read_chunks(stream: IO[bytes], header: NpyHeader, rows: int, what: str) -> Iterator[Array]:
    """Yield `rows` samples at a time from a stream that is at its first value.

    They lie one after the other: along the first dimension, in Fortran order along the last.

    Raises:
        DataError: The stream is damaged or ends early.
    """
    shape = header.shape[::-1] if header.fortran else header.shape
    native = checked_dtype(header.dtype, what, text=True)  # refused by `read_header` if at all
    for start in range(0, shape[0], rows):
        part = (min(rows, shape[0] - start), *shape[1:])
        array = _read(stream, part, header.dtype, what).astype(native, copy=False)
        yield np.ascontiguousarray(array.T) if header.fortran else array


def read_whole(stream: IO[bytes], header: NpyHeader, what: str) -> Array:
    """The whole array, from a stream that is at its first value.

    Raises:
        DataError: The stream is damaged or ends early.
    """
    shape = header.shape[::-1] if header.fortran else header.shape
    array = _read(stream, shape, header.dtype, what)
    array = array.astype(checked_dtype(header.dtype, what, text=True), copy=False)
    return np.ascontiguousarray(array.T) if header.fortran else array


def mapped_chunks(
    file: IO[bytes], offset: int, header: NpyHeader, axis: int, rows: int, what: str
) -> Iterator[Array]:
    """Yield `rows` samples at a time along any axis of an array in a file.

    The file is mapped anew for every chunk, so that what was read before leaves memory.

    Raises:
        DataError: The file ends early.
    """
    native = checked_dtype(header.dtype, what, text=True)
    order: Literal["F", "C"] = "F" if header.fortran else "C"
    for start in range(0, header.shape[axis], rows):
        try:
            array = np.memmap(file, header.dtype, "r", offset, header.shape, order)
        except DAMAGE as error:
            raise DataError(f"{what}: ends early: {error}") from error
        yield np.array(sliced(array, axis, start, rows), native, order="C")


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
    """An array without a name and without labels."""

    calls = False
    endless = False

    def __init__(self, path: Path, where: str) -> None:
        self.description = str(path)
        self._path = path
        self._where = where
        with path.open("rb") as stream:
            self._header = read_header(stream, where)
        self.specs: tuple[TensorSpec, ...] = (self._header.spec(_NAME, where),)
        self.labels: Array | None = None

    def count(self, axes: Axes) -> int | None:
        """The length of the array."""
        return length_along(self.specs, axes)

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shape of the array."""
        yield shapes_of(self.specs)

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Read the file in pieces."""
        axes = first_axes(self.specs) if axes is None else axes
        axis = axes[_NAME]
        with self._path.open("rb") as stream:
            header = read_header(stream, self._where)
            if header != self._header:
                raise DataError(f"{self._where}: the file changed while it was in use")
            rows = rows_per_chunk(self.specs, axes)
            if axis is None:
                arrays: Iterator[Array] = iter([read_whole(stream, header, self._where)])
            elif header.interleaved(axis):
                more, offset = rows * INTERLEAVED, stream.tell()
                arrays = mapped_chunks(stream, offset, header, axis, more, self._where)
            else:
                arrays = read_chunks(stream, header, rows, self._where)
            for array in arrays:
                yield {_NAME: array}
