"""`.npz` files: arrays named as the model's inputs, read in chunks from inside the archive."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from typing import IO

from calibration.sources.base import (
    TEXT,
    Axes,
    Fields,
    first_axes,
    length_along,
    rows_per_chunk,
    shapes_of,
)
from calibration.sources.npy import (
    INTERLEAVED,
    NpyHeader,
    mapped_chunks,
    read_chunks,
    read_header,
    read_whole,
)
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec
from compressor.system.archives import DAMAGE
from compressor.system.special import why_no_file

_SUFFIX = ".npy"


class NpzSource:
    """The arrays of one archive, stored or deflated, none of them ever whole in memory.

    Those without an axis of samples are, and one whose samples do not lie one after the other is
    inflated to a file and mapped.
    """

    calls = False
    endless = False

    def __init__(self, path: Path, where: str) -> None:
        self.description = str(path)
        self._path = path
        self._where = where
        self._headers = self._read_headers()
        self.specs: tuple[TensorSpec, ...] = tuple(
            header.spec(name, f"{where}, {name!r}") for name, header in self._headers.items()
        )
        self.labels: Array | None = None

    def count(self, axes: Axes) -> int | None:
        """The length of the arrays."""
        return length_along(self.specs, axes)

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of the arrays."""
        yield shapes_of(self.specs)

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Read the wanted members side by side."""
        axes = first_axes(self.specs) if axes is None else axes
        rows = rows_per_chunk(self.specs, axes)
        if any(self._headers[name].interleaved(axis) for name, axis in axes.items()):
            rows *= INTERLEAVED
        with ExitStack() as stack:
            archive = stack.enter_context(_open(self._path, self._where))
            readers = {
                name: self._reader(archive, name, axis, rows, stack) for name, axis in axes.items()
            }
            whole = all(axis is None for axis in axes.values())
            for arrays in zip(*readers.values(), strict=False):
                yield dict(zip(readers, arrays, strict=True))
                if whole:
                    return

    def _reader(
        self, archive: zipfile.ZipFile, name: str, axis: int | None, rows: int, stack: ExitStack
    ) -> Iterator[Array]:
        what = f"{self._where}, {name!r}"
        try:
            stream = stack.enter_context(archive.open(name + _SUFFIX))
        except (KeyError, *DAMAGE) as error:
            raise DataError(f"{what}: cannot be read: {error}") from error
        header = read_header(stream, what, text=name == TEXT)
        if header != self._headers[name]:
            raise DataError(f"{what}: the file changed while it was in use")
        if axis is None:
            return repeat(read_whole(stream, header, what))
        if not header.interleaved(axis):
            return read_chunks(stream, header, rows, what)
        return mapped_chunks(_inflated(stream, stack, what), 0, header, axis, rows, what)

    def _read_headers(self) -> dict[str, NpyHeader]:
        headers = {}
        with _open(self._path, self._where) as archive:
            for member in archive.namelist():
                if not member.endswith(_SUFFIX):
                    continue
                name = member.removesuffix(_SUFFIX)
                what = f"{self._where}, {name!r}"
                try:
                    with archive.open(member) as stream:
                        headers[name] = read_header(stream, what, text=name == TEXT)
                except DAMAGE as error:
                    raise DataError(f"{what}: cannot be read: {error}") from error
        if not headers:
            raise DataError(
                f"{self._where}: the archive holds no arrays",
                hint="write it with numpy.savez(path, image=images, label=labels)",
            )
        return headers


def _inflated(stream: IO[bytes], stack: ExitStack, what: str) -> IO[bytes]:
    """The rest of a stream in a file of its own, which goes with the stack."""
    file = stack.enter_context(tempfile.TemporaryFile(prefix="compressor-"))  # noqa: SIM115
    try:
        shutil.copyfileobj(stream, file, 2**18)
        file.flush()
    except DAMAGE as error:
        raise DataError(f"{what}: damaged: {error}") from error
    return file


def _open(path: Path, where: str) -> zipfile.ZipFile:
    if (special := why_no_file(path)) is not None:
        raise DataError(f"{where}: {path} is {special}, and no .npz archive")
    try:
        return zipfile.ZipFile(path)
    except DAMAGE as error:
        raise DataError(f"{where}: no readable .npz archive: {error}") from error
