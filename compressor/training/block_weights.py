"""Weights in blocks of integers (`MatMulNBits`) as the real numbers that are trained, and back."""

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from compressor.graph.constants import stored_array
from compressor.graph.tensors import Array
from compressor.training.attributes import Attributes
from compressor.training.operators.contributed import blocks_of, unpacked
from compressor.training.types import to_tensor


@dataclass(frozen=True)
class BlockWeight:
    """The integers of one weight (n, k), and what they stand for: w ≈ (q - z) · s.

    Attributes:
        step: s of each block, (n, blocks, 1).
        offset: z likewise, or one for all.
        bits: Of an integer.
        shape: Of the bytes as they are stored.
    """

    step: Tensor
    offset: Tensor
    bits: int
    shape: tuple[int, ...]

    @classmethod
    def of(cls, node: ir.Node, attributes: Attributes) -> tuple["BlockWeight", Tensor]:
        """The weight of a node, and its real numbers (n, blocks, block)."""
        stored = stored_array(node.inputs[1])
        given = node.inputs[3] if len(node.inputs) > 3 else None
        zeros = None if given is None else to_tensor(stored_array(given))
        step, offset = blocks_of(attributes, to_tensor(stored_array(node.inputs[2])), zeros)
        bits, block = attributes.get("bits", 4), attributes.get("block_size")
        bytes_ = to_tensor(stored).reshape(step.shape[0], step.shape[1], -1)
        codes = unpacked(bytes_, bits)[..., :block].to(step.dtype)
        return cls(step, offset, bits, stored.shape), (codes - offset) * step

    def packed(self, real: Tensor) -> Array:
        """The bytes that stand for real numbers: the nearest integers, low bits first."""
        codes = torch.round(real / self.step).add(self.offset).clamp(0, 2**self.bits - 1)
        parts = codes.to(torch.int32).reshape(*codes.shape[:-1], -1, 8 // self.bits)
        shifts = torch.arange(0, 8, self.bits, dtype=torch.int32)
        made: Array = (parts << shifts).sum(-1).to(torch.uint8).reshape(self.shape).numpy()
        return made
