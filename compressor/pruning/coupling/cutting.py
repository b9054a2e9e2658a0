"""A graph while it is being cut: which positions are kept, and how constants are replaced."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.initializers import add_initializer, free_name

Mask = npt.NDArray[np.bool_]


class Cutting:
    """A cut graph's masks, by which the rules adapt attributes and constants.

    Args:
        model: The model that is being changed.
        masks: (value name, axis) → which positions stay; axes that are not named stay whole.
        shapes: Shapes before the cut.
    """

    def __init__(
        self,
        model: ir.Model,
        masks: Mapping[tuple[str, int], Mask],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.model = model
        self._masks = masks
        self._shapes = shapes

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The shape before the cut."""
        return self._shapes[value.name or ""]

    def touches(self, node: ir.Node) -> bool:
        """Whether an axis of an input or output of a node loses positions."""
        values = [value for value in (*node.inputs, *node.outputs) if value is not None]
        return any(
            (value.name or "", axis) in self._masks
            for value in values
            for axis in range(len(self._shapes.get(value.name or "", ())))
        )

    def kept(self, value: ir.Value | None, axis: int) -> Mask:
        """Which positions of an axis stay."""
        assert value is not None
        return self._kept(value.name or "", axis)

    def count(self, value: ir.Value | None, axis: int) -> int:
        """How many positions of an axis stay."""
        return int(self.kept(value, axis).sum())

    def count_of(self, name: str, axis: int) -> int:
        """How many positions along an axis of a value stay, the value given by its name."""
        return int(self._kept(name, axis).sum())

    def _kept(self, name: str, axis: int) -> Mask:
        shape = self._shapes[name]
        axis %= len(shape)
        return self._masks.get((name, axis), np.ones(shape[axis], np.bool_))

    def set_input(self, node: ir.Node, index: int, numbers: Sequence[int] | npt.ArrayLike) -> None:
        """Give a node a constant of its own, of the type that it had there."""
        old = node.inputs[index] if index < len(node.inputs) else None
        dtype = np.dtype(np.int64) if old is None or old.dtype is None else old.dtype.numpy()
        array = np.asarray(numbers, dtype)
        tensor = None if old is None else old.const_value
        if tensor is not None and np.array_equal(tensor.numpy(), array):
            return
        name = f"{(old.name if old is not None else None) or node.name}_pruned"
        value = add_initializer(self.model.graph, free_name(self.model.graph, name), array)
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)
