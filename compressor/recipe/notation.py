"""The notation of `--input`: `image:float32[batch,3,224,224]`, `mask:int64[batch,past+seq]`."""

import re

import ml_dtypes
import numpy as np

from compressor.errors import UsageError
from compressor.graph.sizes import is_expression, parse_size
from compressor.graph.tensors import Dimension, TensorSpec

_DTYPES = {
    name: np.dtype(name)
    for name in (
        "float16", "float32", "float64", "int8", "int16", "int32", "int64",
        "uint8", "uint16", "uint32", "uint64", "bool",
    )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}  # fmt: skip

_NOTATION = re.compile(r"(?P<name>.+?):(?P<dtype>\w+)\[(?P<shape>[^\[\]]*)\]")


def parse_input(text: str) -> TensorSpec:
    """Read `name:dtype[dim,...]`, the notation of `--input`.

    A dimension is a size, the name of a dynamic size (equal names are equal sizes), sums and
    products of both (`past+seq`, `2*batch`), or `?`. `[]` is a scalar.

    Raises:
        UsageError: It is not of this form.
    """
    match = _NOTATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"input {text!r}: expected name:dtype[dim,...]",
            hint="For example --input 'image:float32[batch,3,224,224]'.",
        )
    dtype = _DTYPES.get(match["dtype"])
    if dtype is None:
        raise UsageError(
            f"input {text!r}: unknown type {match['dtype']!r}",
            hint=f"Choose one of: {', '.join(_DTYPES)}.",
        )
    parts = [part.strip() for part in match["shape"].split(",")] if match["shape"].strip() else []
    return TensorSpec(match["name"], dtype, tuple(_dimension(part, text) for part in parts))


def _dimension(part: str, text: str) -> Dimension:
    if part == "?":
        return None
    if part.isdecimal() and int(part) > 0:
        return int(part)
    if is_expression(part):
        size = parse_size(part)
        if size.names:
            return str(size)
        if (size.constant or 0) > 0:
            return size.constant
    raise UsageError(
        f"input {text!r}: {part!r} is neither a size, nor the name of a dynamic one, nor a sum or "
        "product of such, nor ?"
    )
