"""What the columns of a table hold: texts, pictures or sound, and labels."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.labels import LABEL_NAMES
from calibration.sources.tables import Table
from compressor.errors import DataError
from compressor.graph.tensors import Array

TEXTS = (
    "text", "sentence", "content", "review", "question", "prompt", "input", "document", "body",
    "article", "instruction", "title",
)  # fmt: skip
"""Names of a column of texts, the likeliest first."""
PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"),
    ("question", "context"), ("query", "passage"), ("text", "text_pair"),
)  # fmt: skip
"""Names of two columns whose texts belong together."""
LABELS = (*LABEL_NAMES, "class", "category", "sentiment", "intent", "score")
"""Names of a column of labels."""
PICTURES, SOUNDS = ("image", "img", "picture", "pixel_values"), ("audio", "sound", "wav")


@dataclass(frozen=True)
class Columns:
    """Which columns are which.

    Attributes:
        kind: What the inputs are made of: "text", "image" or "audio".
        inputs: One column, or two of texts that belong together.
        label: The column of labels; None where there is none.
    """

    kind: str
    inputs: tuple[str, ...]
    label: str | None = None


def columns_of(table: Table, labels: Sequence[str]) -> Columns:
    """Tell inputs and labels apart: by what the user named, else by names and contents.

    Args:
        table: The rows.
        labels: Names of the model's classes.

    Raises:
        DataError: It cannot be told; the message lists the columns.
    """
    if not table.chosen:
        return _found(table, labels)
    *rest, last = table.chosen
    if rest and _is_label(table, last, labels):
        return Columns(_kind(table, rest[0]), tuple(rest), last)
    return Columns(_kind(table, table.chosen[0]), table.chosen)


def label_numbers(table: Table, column: str, labels: Sequence[str]) -> Array:
    """Labels as numbers: classes by the names that the model has for them, or as they are.

    Raises:
        DataError: A label is none of the model's.
    """
    values = list(table.columns[column])
    named = table.classes.get(column)
    if named and labels and {n.casefold() for n in named} <= {n.casefold() for n in labels}:
        values = [named[value] if isinstance(value, int) and value >= 0 else value
                  for value in values]  # fmt: skip
    known = {name.casefold(): place for place, name in enumerate(labels)}
    found = [_number(value, known) for value in values]
    wrong = next((row for row, value in enumerate(found) if value is None), None)
    if wrong is not None:
        told = f"the model has {', '.join(labels)}" if labels else "the model has no names for them"
        raise DataError(
            f"{table.where}: label {values[wrong]!r} of row {wrong + 1} is no class: {told}",
            hint="Write the model's names, or numbers from 0 in the order of its outputs.",
        )
    whole = all(isinstance(value, int) for value in found)
    return np.array(found, np.int64 if whole else np.float32)


def _number(value: Any, known: dict[str, int]) -> int | float | None:
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, int | float):
        return value
    text = str(value).strip() if value is not None else ""
    if text.casefold() in known:
        return known[text.casefold()]
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return None


def _found(table: Table, labels: Sequence[str]) -> Columns:
    names = {name.casefold(): name for name in table.columns}
    label = next((names[one] for one in LABELS if one in names), None)
    if label is not None and not _is_label(table, label, labels):
        label = None
    for kind, known in (("image", PICTURES), ("audio", SOUNDS)):
        inputs = next((names[one] for one in known if one in names), None)
        if inputs is not None and _kind(table, inputs) == kind:
            return Columns(kind, (inputs,), label)
    for one, other in PAIRS:
        if one in names and other in names:
            return Columns("text", (names[one], names[other]), label)
    texts = [name for name in table.columns if name != label and _holds_text(table, name)]
    likely = next((names[one] for one in TEXTS if names.get(one) in texts), None)
    if likely is None and len(texts) == 1:
        likely = texts[0]
    if likely is None:
        raise DataError(
            f"{table.where}: which of its columns is the text? It has {', '.join(table.columns)}",
            hint="Name them behind a colon: FILE:text,label.",
        )
    return Columns("text", (likely,), label)


def _kind(table: Table, column: str) -> str:
    first = table.columns[column][0]
    if isinstance(first, dict) and ("bytes" in first or "path" in first):
        return "audio" if _is_sound(first, column) else "image"
    if isinstance(first, str) and re.search(r"\.(jpe?g|png|bmp|gif|webp|tiff?)$", first, re.I):
        return "image"
    if isinstance(first, str) and re.search(r"\.(wav|flac|ogg|mp3)$", first, re.I):
        return "audio"
    return "text"


def _is_sound(value: dict[str, Any], column: str) -> bool:
    path = str(value.get("path") or "")
    if re.search(r"\.(wav|flac|ogg|mp3)$", path, re.I) or column.casefold() in SOUNDS:
        return True
    start = (value.get("bytes") or b"")[:4]
    return start in (b"RIFF", b"fLaC", b"OggS")


def _holds_text(table: Table, column: str) -> bool:
    values = table.columns[column][:100]
    return all(isinstance(v, str) for v in values) and any(_number(v, {}) is None for v in values)


def _is_label(table: Table, column: str, labels: Sequence[str]) -> bool:
    """Whether a column holds labels: called so, or numbers, or the model's own names."""
    if column.casefold() in LABELS or column in table.classes:
        return True
    known = {name.casefold(): place for place, name in enumerate(labels)}
    return all(_number(value, known) is not None for value in table.columns[column][:100])
