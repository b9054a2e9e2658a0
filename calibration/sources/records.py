"""Samples made of the rows of a table, each at its own length: texts and sound."""

import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from calibration.encoders.base import AudioEncoder, Encoders
from calibration.encoders.sound import read_sound
from calibration.sources.base import TEXT, TEXT_TYPE, Axes, Fields, SampleSource, specs_of
from calibration.sources.columns import Columns, columns_of, label_numbers
from calibration.sources.tables import Table
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

LABEL = "label"


class RecordSource:
    """One call a row: the inputs of a batch of one, and the label of the row.

    Rows of one shape are put into calls together, as those of any source of calls. Nothing is
    filled up.

    Args:
        read: Makes the inputs of a row.
        rows: How many there are.
        labels: One a row; None without.
        texts: What says of a row what it is, for reports; None without.
        where: Names the data, to begin messages with.
        description: What it is.
        made_by: How inputs are made of a row, in words.
    """

    calls = True
    endless = False

    def __init__(
        self,
        read: Callable[[int], Fields],
        rows: int,
        *,
        labels: Array | None,
        texts: list[str] | None,
        where: str,
        description: str,
        made_by: str | None = None,
    ) -> None:
        self.description, self._where, self.made_by = description, where, made_by
        self._read, self._rows, self.labels, self._texts = read, rows, labels, texts
        self.specs: tuple[TensorSpec, ...] = specs_of(self._row(0))

    def count(self, axes: Axes) -> int | None:
        """The number of rows."""
        return self._rows

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of each row."""
        for fields in self.chunks():
            yield {name: array.shape for name, array in fields.items()}

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """The rows in order."""
        for row in range(self._rows):
            fields = self._row(row)
            yield {name: a for name, a in fields.items() if axes is None or name in axes}

    def _row(self, row: int) -> Fields:
        fields = dict(self._read(row))
        if self.labels is not None:
            fields[LABEL] = self.labels[row : row + 1]
        if self._texts is not None:
            fields[TEXT] = np.array([self._texts[row]]).astype(TEXT_TYPE)
        return fields


def record_source(table: Table, encoders: Encoders, description: str) -> SampleSource:
    """The samples of a table of texts or sound.

    Raises:
        DataError: Its columns cannot be told, nothing reads them, or a row cannot be read.
    """
    columns = columns_of(table, encoders.labels)
    if columns.kind == "audio":
        return _of_sound(table, columns, encoders, description)
    return _of_text(table, columns, encoders, description)


def texts_of(table: Table, encoders: Encoders) -> list[str]:
    """The texts of a table, without what else it holds.

    Raises:
        DataError: Its columns cannot be told, or hold no texts.
    """
    columns = columns_of(table, encoders.labels)
    if columns.kind != "text":
        raise DataError(f"{table.where}: expected texts, found {columns.kind}")
    found = [str(value) for value in table.columns[columns.inputs[0]]]
    return [text for text in found if text.strip()]


def _of_text(table: Table, columns: Columns, encoders: Encoders, description: str) -> SampleSource:
    if len(columns.inputs) > 2:
        raise DataError(
            f"{table.where}: expected one column of texts, or two that belong together, found "
            f"{', '.join(columns.inputs)}"
        )
    if encoders.text is None:
        why = encoders.why_no_text or "the model's folder has no tokenizer"
        raise DataError(
            f"{table.where} is text, and nothing says how it becomes numbers: {why}",
            hint="Pass --tokenizer tokenizer.json, or give arrays of tokens.",
        )
    inputs = [[_text(v, row, table) for row, v in enumerate(table.columns[name])]
              for name in columns.inputs]  # fmt: skip
    kept = [row for row in range(len(table)) if inputs[0][row].strip()]
    if not kept:
        raise DataError(f"{table.where}: expected texts, found none")
    inputs = [[values[row] for row in kept] for values in inputs]
    encoded = encoders.text.encode(inputs[0], inputs[1] if inputs[1:] else None, table.where)
    labels = _labels(table, columns, encoders)
    return RecordSource(
        encoded.__getitem__,
        len(kept),
        labels=None if labels is None else labels[kept],
        texts=[" | ".join(row) for row in zip(*inputs, strict=True)],
        where=table.where,
        description=description,
        made_by=encoders.text.words,
    )


def _text(value: Any, row: int, table: Table) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{table.where}: row {row + 1} holds a {type(value).__name__} where a text is expected",
            hint="Name the columns behind a colon: FILE:text,label.",
        )
    return value


def _labels(table: Table, columns: Columns, encoders: Encoders) -> Array | None:
    if columns.label is None:
        return None
    return label_numbers(table, columns.label, encoders.labels)


def _of_sound(table: Table, columns: Columns, encoders: Encoders, description: str) -> SampleSource:
    values = table.columns[columns.inputs[0]]
    encoder = listener(encoders, table.where)

    def read(row: int) -> Fields:
        return encoder.encode(_sound(values[row], encoder.rate, table))

    labels = _labels(table, columns, encoders)
    return RecordSource(
        read,
        len(table),
        labels=labels,
        texts=None,
        where=table.where,
        description=description,
        made_by=encoder.words,
    )


def listener(encoders: Encoders, where: str) -> AudioEncoder:
    """What hears for the model.

    Raises:
        DataError: Nothing says how it hears.
    """
    if encoders.audio is None:
        raise DataError(
            f"{where} is sound, and nothing says how it becomes numbers: the model's folder has no "
            "preprocessor_config.json of audio",
            hint="Give arrays, as .npz or by file.py:function.",
        )
    return encoders.audio


def _sound(value: Any, rate: int, table: Table) -> Array:
    if isinstance(value, dict) and value.get("bytes"):
        return read_sound(_Bytes(value["bytes"], str(value.get("path") or "sound.wav")), rate,
                          table.where)  # fmt: skip
    path = value.get("path") if isinstance(value, dict) else value
    return read_sound(table.folder / str(path), rate, table.where)


class _Bytes(io.BytesIO):
    """Bytes with the ending of the file that they were."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name, self.suffix = name, Path(name).suffix or ".wav"

    def __str__(self) -> str:
        return str(self.name)
