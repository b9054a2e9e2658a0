"""Tables as people keep them: `.csv`, `.tsv`, `.jsonl`, `.parquet`, `.txt`, and saved datasets.

reviews.csv                 its columns are found by their names
reviews.csv:text,label      or named, in order
saved/train                 what `datasets` wrote by save_to_disk
"""

import csv
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.errors import DataError
from compressor.system.home import expanded
from compressor.system.inside import file_inside

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt")

_COLUMNS = re.compile(r"[^:/\\]+")
_LINE = "text"
"""The column of a file that has a text a line."""


@dataclass(frozen=True)
class Table:
    """Rows in columns.

    Attributes:
        columns: Name → one value a row.
        where: Names the data, to begin messages with.
        chosen: Columns that the user named, in order; none where their names have to tell.
        classes: Column → names of its numbers, where the file tells.
        folder: Where paths in the table start.
    """

    columns: Mapping[str, Sequence[Any]]
    where: str
    chosen: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folder: Path = Path()

    def __len__(self) -> int:
        """The number of rows."""
        return len(next(iter(self.columns.values()), ()))


def parted(source: str | Path) -> tuple[Path, tuple[str, ...]] | None:
    """The file of a table, and the columns that are named behind it; None for anything else."""
    text = str(source)
    whole = expanded(text)
    if _is_table(whole):
        return whole, ()
    place, colon, names = text.rpartition(":")
    path = expanded(place)
    if colon and _COLUMNS.fullmatch(names) and (_is_table(path) or _reads_as_table(path)):
        return path, tuple(name.strip() for name in names.split(",") if name.strip())
    return None


def read_table(path: Path, chosen: tuple[str, ...], role: str) -> Table:
    """Read a table.

    Args:
        path: The file, or the folder of a saved dataset.
        chosen: Columns that the user named.
        role: "calibration" or "evaluation", for messages.

    Raises:
        DataError: It cannot be read, is empty, has no such column, or a package is missing.
    """
    where = f"{role} data {path}"
    try:
        if path.is_dir():
            columns, classes = _saved(path, where)
        else:
            columns, classes = _READERS[path.suffix.lower()](path, where), {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{where} cannot be read: {said}") from error
    missing = [name for name in chosen if name not in columns]
    if missing:
        close = difflib.get_close_matches(missing[0], columns, n=1)
        raise DataError(
            f"{where} has no column {missing[0]!r}: it has {', '.join(columns)}",
            hint=f"Did you mean {close[0]!r}?" if close else f"Name them: {path}:COLUMN,COLUMN.",
        )
    folder = path if path.is_dir() else path.parent
    table = Table(columns, where, chosen, classes, folder)
    if len(table) == 0:
        raise DataError(f"{where}: expected rows, found none")
    return table


def is_saved_dataset(path: Path) -> bool:
    """Whether `datasets` wrote a folder."""
    return (path / "dataset_info.json").is_file() or (path / "dataset_dict.json").is_file()


def _is_table(path: Path) -> bool:
    if path.is_dir():
        return is_saved_dataset(path)
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _reads_as_table(path: Path) -> bool:
    """A file that is missing is told to be, rather than taken for code."""
    return path.suffix.lower() in SUFFIXES


def _lines(path: Path, where: str) -> dict[str, list[Any]]:
    del where
    text = path.read_text(encoding="utf-8-sig")
    return {_LINE: [line for line in text.splitlines() if line.strip()]}


def _csv(path: Path, where: str) -> dict[str, list[Any]]:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter=_delimiter(path, head))
        names = next(rows, [])
        columns: dict[str, list[Any]] = {name.strip(): [] for name in names}
        if len(columns) != len(names) or not all(columns):
            raise DataError(
                f"{where}: expected the names of its columns in the first line, found "
                f"{', '.join(map(repr, names))}",
                hint="Write a first line such as text,label.",
            )
        for row in rows:
            if not row:
                continue
            if len(row) != len(columns):
                raise DataError(
                    f"{where}: line {rows.line_num} has {len(row)} fields, and the first line "
                    f"names {len(columns)}",
                    hint="Put fields that hold a comma in double quotes.",
                )
            for values, value in zip(columns.values(), row, strict=True):
                values.append(value)
    return columns


def _delimiter(path: Path, head: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=head.count) if any(one in head for one in ",;\t") else ","


def _jsonl(path: Path, where: str) -> dict[str, list[Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: line {number} is not JSON: {error}",
                hint='Each line is an object, such as {"text": "...", "label": 1}.',
            ) from error
        if not isinstance(row, dict):
            raise DataError(
                f"{where}: line {number} is a JSON {type(row).__name__}, and no object",
                hint='Each line is an object, such as {"text": "...", "label": 1}.',
            )
        rows.append(row)
    names = list(rows[0]) if rows else []
    for number, row in enumerate(rows, 1):
        absent = [name for name in names if name not in row]
        if absent:
            raise DataError(f"{where}: object {number} has no {absent[0]!r}, as the first has")
    return {name: [row[name] for row in rows] for name in names}


def _parquet(path: Path, where: str) -> dict[str, list[Any]]:
    arrow = _arrow("pyarrow.parquet", path, where)
    try:
        table = arrow.read_table(path)
    except Exception as error:  # its own classes
        raise _damaged(where, error) from error
    return {name: table.column(name).to_pylist() for name in table.column_names}


def _saved(path: Path, where: str) -> tuple[dict[str, list[Any]], dict[str, tuple[str, ...]]]:
    """What `datasets` saved: streams of Arrow, and names of classes in a JSON file."""
    if (path / "dataset_dict.json").is_file():
        splits = _splits(path, where)
        if len(splits) > 1:
            raise DataError(
                f"{where} holds several parts: {', '.join(splits)}",
                hint=f"Name one: {path / splits[0]}.",
            )
        path = path / splits[0]
    arrow = _arrow("pyarrow", path, where)
    columns: dict[str, list[Any]] = {}
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
        for one in state["_data_files"]:
            file = file_inside(path, str(one["filename"]))
            if file is None:
                raise ValueError(f"{one['filename']!r} lies outside of the folder")
            with arrow.memory_map(str(file)) as mapped:
                table = arrow.ipc.open_stream(mapped).read_all()
                for name in table.column_names:
                    columns.setdefault(name, []).extend(table.column(name).to_pylist())
        return columns, dict(_classes(info.get("features") or {}))
    except (*_NONE_OF_OURS, arrow.ArrowException) as error:
        raise _damaged(where, error) from error


_NONE_OF_OURS = (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


def _splits(path: Path, where: str) -> list[str]:
    """Names of the parts that `datasets` saved, each a folder below."""
    try:
        told = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        found = [name for name in told if file_inside(path, name) is not None]
        if not found or len(found) < len(told):
            raise ValueError(f"its parts are {told!r:.80}")
    except _NONE_OF_OURS as error:
        raise _damaged(where, error) from error
    return found


def _classes(features: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, kind in features.items():
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel":
            yield name, tuple(map(str, kind.get("names") or ()))


def _arrow(module: str, path: Path, where: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - of this alone

    try:
        import_module("pyarrow")
        return import_module(module)
    except ImportError as error:
        raise DataError(
            f"{where} is read by the package pyarrow, which is not installed",
            hint="pip install 'compressor[data]', or write the table as .csv or .jsonl.",
        ) from error


def _damaged(where: str, error: Exception) -> DataError:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"{where} is damaged: {said[0]}", hint="Write or download it again.")


_READERS: dict[str, Callable[[Path, str], dict[str, list[Any]]]] = {
    ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet,
    ".txt": _lines,
}  # fmt: skip
