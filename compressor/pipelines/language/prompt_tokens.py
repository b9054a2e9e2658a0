"""The tokens of a prompt, in whatever arrays the data has."""

from collections.abc import Mapping

import numpy as np

from compressor.errors import DataError
from compressor.graph.tensors import Array
from compressor.pipelines.language.decoding import TOKENS, Tokens

MASK = "attention_mask"


def prompt_of(sample: Mapping[str, Array], what: str) -> Tokens:
    """The tokens of a sample, without what its mask says is padding.

    Args:
        sample: Name → array of one sample.
        what: The loop, for messages.

    Raises:
        DataError: There is no array of tokens, several may be it, or it is empty.
    """
    found = [name for name in sample if name.lower() in TOKENS.names]
    if not found:
        found = [n for n, a in sample.items() if a.ndim == 1 and a.dtype.kind in "iu" and n != MASK]
    told = ", ".join(f"{n}: {a.dtype}{list(a.shape)}" for n, a in sample.items())
    if len(found) != 1:
        raise DataError(
            f"pipeline {what} expected tokens, integers of one axis a sample, found {told}",
            hint="Name the array input_ids.",
        )
    tokens = sample[found[0]]
    if tokens.dtype.kind not in "iu" or tokens.ndim != 1:
        raise DataError(
            f"pipeline {what} expected tokens, integers of one axis a sample, found {told}"
        )
    mask = sample.get(MASK)
    if mask is not None and mask.shape == tokens.shape:
        tokens = tokens[mask.astype(bool)]
    if len(tokens) == 0:
        raise DataError(f"pipeline {what}: a prompt has no token")
    return tokens.astype(np.int64)
