"""Texts as tokens, by a file of the package `tokenizers`, each at its own length."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibration.encoders.base import Fields
from compressor.errors import DataError, UsageError

NAMES = ("input_ids", "attention_mask", "token_type_ids")

_AT_A_TIME = 1024

_PADDING = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")
"""What a text is filled up with: the first of them that the tokenizer has."""


@dataclass(frozen=True)
class TokenEncoder:
    """A tokenizer, and what its model takes.

    Attributes:
        tokenizer: A `tokenizers.Tokenizer`.
        path: Where it was read from.
        max_length: Tokens of a text at most: what is beyond is cut; None for no limit.
        segments: Whether the model tells texts of a pair apart by `token_type_ids`.
        vocabulary: How many tokens the model has; None where nobody knows.
        length: Tokens that every text is cut or filled up to, where the model takes no other
            number; what is filled up has a mask of 0.
    """

    tokenizer: Any
    path: Path
    max_length: int | None = None
    segments: bool = False
    vocabulary: int | None = None
    length: int | None = None

    def encode(self, texts: list[str], others: list[str] | None, where: str) -> list[Fields]:
        """The inputs of each text, or of each pair of texts, of a batch of one.

        Raises:
            DataError: The tokenizer makes tokens that the model does not have, or none of a text.
        """
        self._set_lengths()
        given = texts if others is None else list(zip(texts, others, strict=True))
        found: list[Fields] = []
        for start in range(0, len(given), _AT_A_TIME):
            encoded = self.tokenizer.encode_batch(given[start : start + _AT_A_TIME])
            found += [self._fields(one, start + row, where) for row, one in enumerate(encoded)]
        return found

    def of_length(self, length: int) -> "TokenEncoder":
        """The same, cutting and filling up every text to one length."""
        return replace(self, length=length)

    def _set_lengths(self) -> None:
        """Cut, and fill up where that is needed: what the file says of lengths is of no model."""
        longest = self.max_length if self.length is None else self.length
        if longest is None:
            self.tokenizer.no_truncation()
        else:
            self.tokenizer.enable_truncation(longest)
        if self.length is None:
            self.tokenizer.no_padding()
            return
        known = (self.tokenizer.token_to_id(name) for name in _PADDING)
        number = next((one for one in known if one is not None), 0)
        self.tokenizer.enable_padding(pad_id=number, length=self.length)

    @property
    def words(self) -> str:
        """What it does, for reports."""
        if self.length is not None:
            return f"texts become {self.length} tokens by {self.path}, cut or filled up"
        cut = "" if self.max_length is None else f", cut at {self.max_length}"
        return f"texts become tokens by {self.path}{cut}, each at its own length"

    def _fields(self, encoded: Any, row: int, where: str) -> Fields:
        if not encoded.ids:
            raise DataError(f"{where}: text {row + 1} has no token", hint="Leave it out.")
        if self.vocabulary is not None and max(encoded.ids) >= self.vocabulary:
            raise DataError(
                f"{where}: the tokenizer {self.path} makes token {max(encoded.ids)} of text "
                f"{row + 1}, and the model has {self.vocabulary}",
                hint="It is that of another model: pass the right one by --tokenizer.",
            )
        arrays = (encoded.ids, encoded.attention_mask, encoded.type_ids)
        names = NAMES if self.segments else NAMES[:2]
        return {
            name: np.array([numbers], np.int64)
            for name, numbers in zip(names, arrays, strict=False)
        }


def open_tokenizer(path: Path) -> Any:
    """A `tokenizers.Tokenizer` of a file, or of a folder that holds one in any form.

    Raises:
        UsageError: The package `tokenizers` is missing.
        DataError: There is none, or it cannot be read.
    """
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            "text is read by the package tokenizers, which is not installed",
            hint="pip install 'compressor[text]', or give arrays of tokens.",
        ) from error
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file() and path.is_dir():
        return _older(path)
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare exceptions
        raise DataError(
            f"tokenizer {file} cannot be read: {error}",
            hint="It is the tokenizer.json that the package tokenizers writes.",
        ) from error


def _older(folder: Path) -> Any:
    """A tokenizer of a folder without tokenizer.json, which transformers converts."""
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415 - an extra

        made = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
        return made.backend_tokenizer
    except Exception as error:  # whatever its readers raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{folder} has no tokenizer.json, and transformers makes none of what is there: "
            f"{lines[0]}",
            hint="Save it anew: AutoTokenizer.from_pretrained(...).save_pretrained(folder).",
        ) from error
