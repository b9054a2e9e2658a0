"""Batches that the user's code makes: functions, DataLoaders, lists, generators."""

import hashlib
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from calibration.sources.base import Axes, Fields, as_fields, check_same, samples_of, specs_of
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec
from compressor.system.scratch import locked_folder, remove
from compressor.system.userfile import user_errors

_END = object()


class StreamSource:
    """A stream that can be opened again: a function is called, an iterable iterated, anew.

    The first batch of every pass is compared with that of the first pass, and so is the number
    of samples at the end: what is calibrated on must be what is measured on.

    Args:
        reopen: Returns the batches of one pass.
        where: Names the data, to begin messages with.
        description: What it is.
        endless: Whether it may go on for ever, for all that can be known.
    """

    calls = True

    def __init__(
        self, reopen: Callable[[], object], where: str, description: str, *, endless: bool = True
    ) -> None:
        self.description = description
        self.endless = endless
        self._reopen = reopen
        self._where = where
        self._calls: int | None = None
        self.labels: Array | None = None
        first = next(self._batches(), None)
        if first is None:
            raise DataError(f"{where}: expected batches, found none: the set is empty")
        self.specs: tuple[TensorSpec, ...] = specs_of(first)
        self._digest = _digest(first)

    def count(self, axes: Axes) -> int | None:
        """None: the count is not known without a pass."""
        return None

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of each call, by a pass."""
        for fields in self.chunks():
            yield {name: array.shape for name, array in fields.items()}

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Make the batches again."""
        total = 0
        for number, fields in enumerate(self._batches()):
            if number == 0 and _digest(fields) != self._digest:
                raise DataError(
                    f"{self._where}: a second pass starts with other samples than the first",
                    hint="yield the same samples in the same order every time: shuffle=False, "
                    "no random augmentation, or a seed set inside the function",
                )
            check_same(self.specs, specs_of(fields), f"{self._where}, batch {number}")
            total += samples_of(fields)
            yield {name: a for name, a in fields.items() if axes is None or name in axes}
        if self._calls not in (None, total):
            raise DataError(
                f"{self._where}: one pass had {self._calls} samples and a later one {total}",
                hint="yield the same samples in the same order every time",
            )
        self._calls = total

    def _batches(self) -> Iterator[Fields]:
        """Batches of at least one sample, copied: producers like to reuse their buffers."""
        with user_errors(self._where, error=DataError):
            iterator = iter(_as_iterable(self._reopen(), self._where))
        number = 0
        while True:
            with user_errors(self._where, error=DataError):
                item = next(iterator, _END)
            if item is _END:
                return
            fields = as_fields(item, f"{self._where}, batch {number}")
            number += 1
            if samples_of(fields):
                yield {name: array.copy() for name, array in fields.items()}


class Spool:
    """The batches of a one-shot iterator, kept on disk as they come, to be read again.

    Memory stays bounded, and no more of the iterator is consumed than is used. The file goes
    with the object.
    """

    def __init__(self, iterator: Iterator[object], where: str) -> None:
        self._iterator = iterator
        self._where = where
        folder, lock = locked_folder()
        self._path = folder / "batches"
        self._path.touch()
        self._names: list[tuple[str, ...]] = []
        self._remove = weakref.finalize(self, remove, folder, lock)

    def __iter__(self) -> Iterator[Fields]:
        """Yield what is kept, then go on with the iterator."""
        number, position = 0, 0
        while True:
            if number == len(self._names) and not self._keep_next():
                return
            with self._path.open("rb") as file:
                file.seek(position)
                yield {name: np.load(file) for name in self._names[number]}
                position = file.tell()
            number += 1

    def _keep_next(self) -> bool:
        item = next(self._iterator, _END)
        if item is _END:
            return False
        fields = as_fields(item, f"{self._where}, batch {len(self._names)}")
        with self._path.open("ab") as file:
            for array in fields.values():
                np.save(file, array, allow_pickle=False)
        self._names.append(tuple(fields))
        return True


def function_source(function: Callable[..., object], where: str, description: str) -> StreamSource:
    """The batches that a function without arguments returns or yields.

    Raises:
        DataError: It takes arguments, fails, or gives no batches.
    """
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise DataError(
            f"{where}: expected a function that can be called without arguments: {error}"
        ) from error
    except ValueError:
        pass  # a builtin without a signature: calling it will tell
    return StreamSource(function, where, description)


def iterable_source(items: Iterable[object], where: str, description: str) -> StreamSource:
    """The batches of a list, a DataLoader or a one-shot iterator."""
    if isinstance(items, Iterator):
        items = Spool(items, where)
    endless = isinstance(items, Spool) or not hasattr(items, "__len__")
    return StreamSource(lambda: items, where, description, endless=endless)


def _as_iterable(made: Any, where: str) -> Iterable[object]:
    """What a function returned, as batches: one array, dict or tuple of arrays is one batch."""
    if isinstance(made, Mapping | tuple) or hasattr(made, "__array__"):
        return [made]
    if isinstance(made, Iterable) and not isinstance(made, str | bytes):
        return made
    raise DataError(
        f"{where}: expected batches, found {type(made).__name__}",
        hint="yield arrays, dicts of arrays or tuples (inputs, labels), or return a DataLoader",
    )


def _digest(fields: Fields) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(fields.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
