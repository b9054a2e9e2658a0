"""Writes the nodes of a form: tokens in blocks, and the blocks around each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.attention.forms import Form
from compressor.graph.cores import HEADS_LAST, Core
from compressor.graph.emitting import Emitter
from compressor.graph.matching import sizes
from compressor.graph.tensors import Array

FLOAT, INT = ir.DataType.FLOAT, ir.DataType.INT64
LAST = 2**31 - 1
"""Behind every end."""


class Writer:
    """Puts nodes in the place of a layer, each constant once."""

    def __init__(self, to: Emitter) -> None:
        """Nothing is written yet."""
        self._to = to
        self._known: dict[tuple[str, bytes], ir.Value] = {}

    def op(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        shape: Sequence[int | None],
        name: str,
        dtype: ir.DataType = FLOAT,
        **attributes: Any,
    ) -> ir.Value:
        """A node of one output, whose whole shape is given as far as it is known."""
        made = self._to.emit(operator, inputs, shape, name, whole=True, **attributes)
        made.type = ir.TensorType(dtype)
        return made

    def weight(self, name: str, array: Array) -> ir.Value:
        """An initializer."""
        key = (str(array.dtype) + str(array.shape), array.tobytes())
        if key not in self._known:
            self._known[key] = self._to.weight(name, array)
        return self._known[key]

    def ints(self, name: str, numbers: Sequence[int]) -> ir.Value:
        """A list of sizes or axes."""
        return self.weight(name, np.array(numbers, np.int64))

    def keys(self, core: Core) -> ir.Value:
        """[batch, heads, keys, width]."""
        if core.k_apart:
            return core.k
        batch, count, heads, width = sizes(core.k) or [None] * 4
        return self.op("Transpose", [core.k], [batch, heads, count, width], "keys", perm=HEADS_LAST)

    def count(self, value: ir.Value) -> ir.Value:
        """Tokens of [batch, heads, tokens, width], as [1]."""
        shape = self.op("Shape", [value], [4], "sizes", INT)
        bounds = [self.ints("token_axis", [2]), self.ints("behind_tokens", [3])]
        return self.op("Slice", [shape, *bounds], [1], "tokens", INT)

    def lacking(self, count: ir.Value, form: Form) -> ir.Value:
        """Tokens that are lacking to whole blocks, [1]."""
        less = self.op("Neg", [count], [1], "less", INT)
        return self.op("Mod", [less, self.ints("block", [form.block])], [1], "lacking", INT)

    def whole(self, count: ir.Value, form: Form) -> ir.Value:
        """Tokens of whole blocks, [1]."""
        return self.op("Add", [count, self.lacking(count, form)], [1], "whole", INT)

    def padded(
        self, value: ir.Value, axis: int, form: Form, count: ir.Value, fill: float, name: str
    ) -> ir.Value:
        """Tokens of four axes in whole blocks, with those around the first and the last."""
        around = (form.ahead * form.block, form.behind * form.block)
        return self._longer(value, axis, around, self.lacking(count, form), fill, name)

    def filled(
        self, value: ir.Value, axis: int, form: Form, count: ir.Value, fill: float, name: str
    ) -> ir.Value:
        """Tokens of four axes in whole blocks."""
        return self._longer(value, axis, (0, 0), self.lacking(count, form), fill, name)

    def reshaped(self, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
        """Reshape; 0 is a size that stays, -1 the one that follows."""
        before = sizes(value) or []
        known = [
            before[place] if size == 0 and place < len(before) else None if size < 1 else size
            for place, size in enumerate(shape)
        ]
        return self.op("Reshape", [value, self.ints(f"{name}_shape", shape)], known, name)

    def around(self, value: ir.Value, form: Form, axis: int, name: str) -> ir.Value:
        """Of blocks along axis 2 three that follow each other, joined along `axis`.

        Of n + 2 blocks n such threes are there.
        """
        blocks = form.ahead + form.behind
        shape = list(sizes(value) or [])
        parts = []
        for place in range(blocks + 1):
            end = LAST if place == blocks else place - blocks
            bounds = [self.ints(f"from_{place}", [place]), self.ints(f"to_{place}", [end])]
            inputs = [value, *bounds, self.ints("block_axis", [2])]
            parts.append(self.op("Slice", inputs, shape, f"{name}_{place}"))
        size = shape[axis]
        shape[axis] = None if size is None else (blocks + 1) * size
        return self.op("Concat", parts, shape, name, axis=axis)

    def _longer(
        self,
        value: ir.Value,
        axis: int,
        around: tuple[int, int],
        lacking: ir.Value,
        fill: float,
        name: str,
    ) -> ir.Value:
        fixed, open_ = np.zeros(8, np.int64), np.zeros(8, np.int64)
        fixed[axis], fixed[4 + axis] = around
        open_[4 + axis] = 1
        grown = self.op(
            "Mul", [lacking, self.weight(f"{name}_open", open_)], [8], f"{name}_by", INT
        )
        pads = self.op(
            "Add", [grown, self.weight(f"{name}_fixed", fixed)], [8], f"{name}_pads", INT
        )
        shape = list(sizes(value) or [])
        shape[axis] = None
        filling = self.weight(f"{name}_fill", np.array(fill, np.float32))
        return self.op("Pad", [value, pads, filling], shape, name)
