"""The part of a plan that says how weights are stored, and the integers themselves.

The integers lie beside the plan's JSON, like repaired weights, so that a replay needs no data.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from compressor.graph.tensors import Array
from compressor.quantization.blocks import BlockFormat, Packed
from compressor.results.records import Record

CODES, SCALES, ZEROS = ROLES = ("codes", "scales", "zeros")


class StoredMatrix(Record):
    """The form in which one matrix is stored.

    Attributes:
        bits: Bits of each integer.
        block: Inputs that share a scale.
        symmetric: Whether there are no zero points.
    """

    bits: Literal[4, 8]
    block: int
    symmetric: bool

    @property
    def form(self) -> BlockFormat:
        """The form as the rewriting takes it."""
        return BlockFormat(self.bits, self.block, self.symmetric)

    @classmethod
    def of(cls, form: BlockFormat) -> "StoredMatrix":
        """The record of a form that the rewriting takes."""
        return cls.model_validate(
            {"bits": form.bits, "block": form.block, "symmetric": form.symmetric}
        )


class StoragePlan(Record):
    """Which weights are stored in fewer bits.

    Attributes:
        matrices: Initializer → its form; empty where weights are stored in half of the bits.
        accuracy_level: MatMulNBits's: 4 multiplies 8-bit integers, 1 float32.
        halved: Initializers that are float16 or bfloat16.
        nodes: Nodes that read any of them.
        arrays: `INITIALIZER/codes`, `/scales` and `/zeros`. They are stored beside the JSON, in the
            file of the same name that ends in .safetensors.
    """

    matrices: dict[str, StoredMatrix] = Field(default_factory=dict)
    accuracy_level: Literal[1, 4] = 4
    halved: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    arrays: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def packed(self) -> dict[str, Packed]:
        """The integers by initializer; those that are missing are left out."""
        found = {}
        for name in self.matrices:
            parts: list[Any] = [self.arrays.get(f"{name}/{role}") for role in ROLES]
            if parts[0] is not None and parts[1] is not None:
                found[name] = Packed(*parts)
        return found


def arrays_of(packed: Mapping[str, Packed]) -> dict[str, Array]:
    """The integers as a plan keeps them."""
    found: dict[str, Array] = {}
    for name, one in packed.items():
        found |= {f"{name}/{CODES}": one.codes, f"{name}/{SCALES}": one.scales}
        if one.zeros is not None:
            found[f"{name}/{ZEROS}"] = one.zeros
    return found
