"""The bytes of tensors, piece by piece, so that memory does not grow with a weight."""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

BLOCK = 2**24
"""Bytes in a piece, about."""


def each_block(tensor: ir.TensorProtocol) -> Iterator[bytes]:
    """The bytes of a tensor as ONNX stores them raw; of text each length, then its bytes.

    Weights in a file are read from there, and leave nothing mapped.
    """
    if isinstance(tensor, ir.ExternalTensor):
        left = tensor.nbytes
        with Path(tensor.path).open("rb") as file:
            file.seek(tensor.offset or 0)
            while left > 0 and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block
    elif tensor.dtype.is_string():
        for text in tensor.numpy().reshape(-1):
            data = text if isinstance(text, bytes) else str(text).encode()
            yield len(data).to_bytes(8, "little") + data
    elif tensor.dtype.itemsize < 1:
        yield tensor.tobytes()  # packed: two or four elements in a byte
    else:
        array = np.asarray(tensor.numpy())
        rows = array.reshape(1) if array.ndim == 0 else array
        step = max(1, BLOCK * len(rows) // max(1, array.nbytes))
        for start in range(0, len(rows), step):
            yield rows[start : start + step].tobytes()


def forget_pages(tensors: Iterable[ir.TensorProtocol]) -> None:
    """Give back the memory of weights that are mapped from files; they are read again if needed."""
    for tensor in tensors:
        mapped = getattr(tensor, "raw", None)
        if isinstance(mapped, mmap.mmap) and hasattr(mapped, "madvise"):
            mapped.madvise(mmap.MADV_DONTNEED)
