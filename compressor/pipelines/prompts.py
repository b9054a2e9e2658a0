"""Prompts from text: a line each, read by a `tokenizers` file."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import DataError, UsageError
from compressor.graph.tensors import Array
from compressor.system.home import expanded

TOKENS = "input_ids"
"""The name of a prompt's tokens."""
_ARRAYS = (b"PK", b"\x93NUMPY")
"""How files of arrays begin."""


def texts_of(source: object, role: str, tokenizer: Path | None) -> list[str] | None:
    """The texts of a text file, or of a list of them; None where the data is anything else.

    Raises:
        DataError: The file is text, and there is no tokenizer; or it is no UTF-8.
    """
    if isinstance(source, list | tuple) and source and all(isinstance(one, str) for one in source):
        return _readable(list(source), f"{role} data (a list of texts)", tokenizer)
    path = _text_file(source, told=tokenizer is not None)
    if path is None:
        return None
    where = f"{role} data {path}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is no text in UTF-8: {error}") from error
    return _readable(lines, where, tokenizer)


def tokenized(texts: Sequence[str], tokenizer: Path | None, role: str) -> list[dict[str, Array]]:
    """The tokens of each text.

    Args:
        texts: Prompts.
        tokenizer: What `tokenizers` reads: tokenizer.json.
        role: For messages.

    Raises:
        UsageError: The package `tokenizers` is missing.
        DataError: The file cannot be read, or a text has no tokens.
    """
    assert tokenizer is not None, "texts are only read with one"
    reader = open_tokenizer(tokenizer)
    found = [np.array(reader.encode(text).ids, np.int64) for text in texts]
    found = [tokens for tokens in found if len(tokens)]
    if not found:
        raise DataError(f"{role} data: {tokenizer} makes no token of any of its texts")
    return [{TOKENS: tokens} for tokens in found]


@cache
def open_tokenizer(path: Path) -> Any:
    """What reads and writes text.

    Raises:
        UsageError: The package `tokenizers` is missing.
        DataError: The file cannot be read.
    """
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            "text is read by the package tokenizers, which is not installed",
            hint="pip install 'compressor[text]', or give arrays of tokens.",
        ) from error
    if not path.is_file():
        raise DataError(f"tokenizer {path}: there is no such file")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises bare exceptions
        raise DataError(
            f"tokenizer {path} cannot be read: {error}",
            hint="It is the tokenizer.json that the package tokenizers writes.",
        ) from error


def _text_file(source: object, *, told: bool) -> Path | None:
    """The file, if it is text: by its content where a tokenizer says so, else by its name."""
    if not isinstance(source, str | Path):
        return None
    path = expanded(source)
    if not path.is_file() or (path.suffix != ".txt" and not told):
        return None
    with path.open("rb") as file:
        return None if file.read(6).startswith(_ARRAYS) else path


def _readable(lines: list[str], where: str, tokenizer: Path | None) -> list[str]:
    if tokenizer is None:
        raise DataError(
            f"{where} is text, and nothing says how it becomes tokens",
            hint="Pass --pipeline-option tokenizer=tokenizer.json, or give arrays of tokens.",
        )
    found = [line for line in lines if line.strip()]
    if not found:
        raise DataError(f"{where}: expected a prompt a line, found no text")
    return found
