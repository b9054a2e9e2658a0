"""Where samples come from, one kind a file, each imported when it is needed."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from calibration.encoders.base import NONE, Encoders, picture_words
from calibration.preprocess import Preprocess
from calibration.sources.base import SampleSource
from calibration.sources.tables import parted, read_table
from compressor.errors import DataError
from compressor.system.home import expanded
from compressor.system.nearby import did_you_mean
from compressor.system.special import why_no_file
from compressor.system.userfile import is_object_spec, load_object

_READS = (
    ".npz, .npy, a folder of .npz, a folder of images or sounds, .csv, .jsonl, .parquet, .txt, a "
    "saved dataset, COCO's .json, or file.py:function"
)


def find_source(
    source: object, preprocess: Preprocess, role: str, encoders: Encoders = NONE
) -> tuple[SampleSource, Preprocess]:
    """The source for whatever names or holds the data, and the preprocessing of what it yields.

    Files of arrays are told apart by their content, tables by the ending of their name.

    Raises:
        DataError: There is no such file, or nothing that can be read.
    """
    table = parted(source) if isinstance(source, str | Path) else None
    if table is not None:
        return _from_table(*table, preprocess, role, encoders)
    if isinstance(source, str) and is_object_spec(source):
        made = load_object(source, f"{role} data", error=DataError)
        return _from_object(made, f"{role} data {source}", source), preprocess
    if isinstance(source, str | Path):
        path = expanded(source)
        if path.is_dir():
            return _from_folder(path, preprocess, f"{role} data {path}", encoders)
        if path.suffix.lower() == ".json":
            return _from_boxes(path, preprocess, role, encoders)
        return _from_file(path, role), preprocess
    description = _describe(source)
    return _from_object(source, f"{role} data {description}", description), preprocess


def _from_file(path: Path, role: str) -> SampleSource:
    where = f"{role} data {path}"
    if (special := why_no_file(path)) is not None:
        raise DataError(
            f"{where} is {special}: expected {_READS}", hint="Write it to a file first."
        )
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except FileNotFoundError:
        raise DataError(
            f"{where}: there is no such file or folder",
            hint=did_you_mean(path) or f"Expected {_READS}.",
        ) from None
    except OSError as error:
        raise DataError(f"{where}: cannot be read: {error.strerror}") from error
    if start.startswith(b"PK"):
        from calibration.sources.npz import NpzSource  # noqa: PLC0415 - one kind a job

        return NpzSource(path, where)
    if start == b"\x93NUMPY":
        from calibration.sources.npy import NpySource  # noqa: PLC0415 - one kind a job

        return NpySource(path, where)
    hint = f"write {path}:function" if path.suffix == ".py" else None
    raise DataError(f"{where}: expected {_READS}, found another kind of file", hint=hint)


def _from_table(
    path: Path, chosen: tuple[str, ...], preprocess: Preprocess, role: str, encoders: Encoders
) -> tuple[SampleSource, Preprocess]:
    from calibration.sources.columns import columns_of  # noqa: PLC0415 - one kind a job
    from calibration.sources.records import record_source  # noqa: PLC0415 - one kind a job

    if (special := why_no_file(path)) is not None:
        raise DataError(f"{role} data {path} is {special}", hint="Write it to a file first.")
    if not path.exists():
        raise DataError(f"{role} data {path}: there is no such file", hint=did_you_mean(path))
    table = read_table(path, chosen, role)
    columns = columns_of(table, encoders.labels)
    if columns.kind != "image":
        return record_source(table, encoders, str(path)), preprocess
    from calibration.sources.images import ImageRecordSource  # noqa: PLC0415 - one kind a job

    images = preprocess.over(encoders.images or {})
    source = ImageRecordSource(table, columns, images, encoders.labels)
    source.made_by = None if encoders.images is None else picture_words(encoders.images)
    return source, images.for_images()


def _from_folder(
    path: Path, preprocess: Preprocess, where: str, encoders: Encoders
) -> tuple[SampleSource, Preprocess]:
    from calibration.sources.audio import audio_source, has_sound  # noqa: PLC0415 - as above
    from calibration.sources.images import ImageFolderSource, has_images  # noqa: PLC0415

    if next(path.glob("*.npz"), None) is None:
        if has_sound(path) and not has_images(path):
            return audio_source(path, encoders, where), preprocess
        images = preprocess.over(encoders.images or {})
        source = ImageFolderSource(path, images, where, encoders.labels)
        source.made_by = None if encoders.images is None else picture_words(encoders.images)
        return source, images.for_images()
    if has_images(path):
        raise DataError(f"{where}: the folder holds both .npz files and images")
    from calibration.sources.folder import NpzFolderSource  # noqa: PLC0415 - one kind a job

    return NpzFolderSource(path, where), preprocess


def _from_boxes(
    path: Path, preprocess: Preprocess, role: str, encoders: Encoders
) -> tuple[SampleSource, Preprocess]:
    from calibration.sources.coco import CocoSource  # noqa: PLC0415 - one kind a job

    where = f"{role} data {path}"
    if not path.is_file():
        raise DataError(f"{where}: there is no such file", hint=did_you_mean(path))
    images = preprocess.over(encoders.images or {})
    source = CocoSource(path, images, where, encoders.labels)
    source.made_by = None if encoders.images is None else picture_words(encoders.images)
    return source, images.for_images()


def _from_object(source: object, where: str, description: str) -> SampleSource:
    from calibration.sources.memory import MemorySource  # noqa: PLC0415 - one kind a job
    from calibration.sources.stream import (  # noqa: PLC0415 - one kind a job
        function_source,
        iterable_source,
    )

    if isinstance(source, Mapping) or hasattr(source, "__array__"):
        return MemorySource(source, where, description)
    if isinstance(source, tuple) and sum(isinstance(part, Mapping) for part in source) < 2:
        return MemorySource(source, where, description)
    if isinstance(source, Iterable) and not isinstance(source, str | bytes):
        batches = list(source) if isinstance(source, tuple) else source
        return iterable_source(batches, where, description)
    if callable(source):
        function = cast("Callable[..., object]", source)
        return function_source(function, where, description)
    hint = None
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        hint = "wrap the dataset: DataLoader(dataset, batch_size=32)"
    raise DataError(
        f"{where}: expected {_READS}, arrays, batches or a function, found {type(source).__name__}",
        hint=hint,
    )


def _describe(source: object) -> str:
    if isinstance(source, Mapping):
        return "(a dict of arrays)"
    if callable(source) and hasattr(source, "__qualname__"):
        return f"({source.__qualname__})"
    return f"({type(source).__name__})"
