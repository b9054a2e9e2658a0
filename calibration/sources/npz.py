"""`.npz` files: arrays named as the model's inputs, read in chunks from inside the archive."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from calibration.sources.base import TEXT, Fields, check_even, rows_per_chunk
from calibration.sources.npy import DAMAGE, NpyHeader, read_chunks, read_header
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

_SUFFIX = ".npy"


class NpzSource:
    """The arrays of one archive, stored or deflated, none of them ever whole in memory.

    The exception is an array in Fortran order, whose samples are interleaved: that one is.
    """

    def __init__(self, path: Path, where: str) -> None:
        self.description = str(path)
        self._path = path
        self._where = where
        self._headers = self._read_headers()
        sizes = {name: header.shape[0] for name, header in self._headers.items()}
        check_even(sizes, where)
        self.specs: tuple[TensorSpec, ...] = tuple(
            header.spec(name, f"{where}, {name!r}") for name, header in self._headers.items()
        )
        self.count: int | None = next(iter(sizes.values()))
        self.labels: Array | None = None

    def chunks(self) -> Iterator[Fields]:
        """Read all members side by side."""
        rows = rows_per_chunk(self.specs)
        with ExitStack() as stack:
            archive = stack.enter_context(_open(self._path, self._where))
            readers = {}
            for name, header in self._headers.items():
                what = f"{self._where}, {name!r}"
                try:
                    stream = stack.enter_context(archive.open(name + _SUFFIX))
                except (KeyError, *DAMAGE) as error:
                    raise DataError(f"{what}: cannot be read: {error}") from error
                if read_header(stream, what, text=name == TEXT) != header:
                    raise DataError(f"{what}: the file changed while it was in use")
                readers[name] = read_chunks(stream, header, rows, what)
            for arrays in zip(*readers.values(), strict=True):
                yield dict(zip(readers, arrays, strict=True))

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


def _open(path: Path, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except DAMAGE as error:
        raise DataError(f"{where}: no readable .npz archive: {error}") from error
