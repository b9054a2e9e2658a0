"""Types of ONNX in torch, and arrays that pass between both."""

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from compressor.errors import GraphError
from compressor.graph.tensors import Array

_TYPES = {
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.BOOL: torch.bool,
}
_WIDER = {
    ir.DataType.UINT16: np.int32,
    ir.DataType.UINT32: np.int64,
    ir.DataType.UINT64: np.int64,
    ir.DataType.INT4: np.int8,
    ir.DataType.UINT4: np.uint8,
    ir.DataType.INT2: np.int8,
    ir.DataType.UINT2: np.uint8,
}
"""What torch lacks or cannot compute in, and what holds it."""


def torch_type(dtype: ir.DataType) -> torch.dtype:
    """The type in torch.

    Raises:
        GraphError: It has none.
    """
    if dtype in _WIDER:
        return _TYPES[ir.DataType.from_numpy(np.dtype(_WIDER[dtype]))]
    if dtype not in _TYPES:
        raise GraphError(f"torch computes in no type {dtype.name}")
    return _TYPES[dtype]


def tensor_of(constant: ir.TensorProtocol) -> Tensor:
    """A constant as a tensor of its own memory.

    Raises:
        GraphError: torch has no such type.
    """
    wider = _WIDER.get(constant.dtype)
    if wider is not None:
        return torch.from_numpy(np.array(constant.numpy().astype(wider)))
    kind = torch_type(constant.dtype)
    array = constant.numpy()
    if kind is torch.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(kind)
    return torch.from_numpy(np.array(array))


def to_tensor(array: Array) -> Tensor:
    """An array that is fed, which may be read-only or of a type that torch lacks."""
    known = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64}
    wider = known.get(array.dtype)
    return torch.from_numpy(np.array(array, dtype=wider))
