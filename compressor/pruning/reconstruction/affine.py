"""Affine terms of norms that stay: what there is to fit where nothing is contracted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import stored_array
from compressor.graph.initializers import add_initializer, free_name
from compressor.graph.tensors import Array
from compressor.layerwise.im2col import Doubles

_AXES = {
    "BatchNormalization": 1,
    "InstanceNormalization": 1,
    "GroupNormalization": 1,
    "LayerNormalization": -1,
    "RMSNormalization": -1,
}
"""Norm → the axis of its channels; factors are its second input, shifts its third."""

_PASSING = frozenset({"Reshape", "Transpose", "Cast", "Identity"})


@dataclass(frozen=True)
class NormAffine:
    """Factors, and mostly shifts, one for each channel of what a norm makes.

    Attributes:
        node: The norm, or the Mul by a vector behind what an exporter took a norm apart to.
        axis: Axis of the channels in the output.
        add: The Add of a vector behind a Mul, where there is one.
    """

    node: ir.Node
    axis: int
    add: ir.Node | None = None

    @property
    def name(self) -> str:
        """The norm's name, or the Mul's."""
        return self.node.name or ""

    @property
    def output(self) -> ir.Value:
        """What is written, shifts included."""
        return (self.add or self.node).outputs[0]

    @property
    def scale(self) -> Doubles:
        """γ, (channels,)."""
        return _flat(stored_array(self.node.inputs[_place(self.node)]))

    @property
    def shift(self) -> Doubles | None:
        """β, (channels,); None where there is none."""
        where = self._shifted
        return None if where is None else _flat(stored_array(_value(*where)))

    @property
    def names(self) -> tuple[str, str | None]:
        """Names of the initializers of γ and β; None where there is no β."""
        where = self._shifted
        shift = None if where is None else _value(*where).name
        return _value(self.node, _place(self.node)).name or "", shift

    @property
    def unshared(self) -> bool:
        """Whether γ and β are vectors that nothing else reads."""
        where = self._shifted
        own = [_value(self.node, _place(self.node)), *([] if where is None else [_value(*where)])]
        return all(len(v.uses()) == 1 and v.shape is not None and len(v.shape) == 1 for v in own)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the factors."""
        return stored_array(self.node.inputs[_place(self.node)]).dtype

    def write(self, model: ir.Model, scale: Array, shift: Array | None) -> None:
        """Give the node other factors and shifts in place, of its own where they are shared."""
        _replace(model.graph, self.node, _place(self.node), scale)
        where = self._shifted
        if shift is not None and where is not None:
            _replace(model.graph, *where, shift)

    @property
    def _shifted(self) -> tuple[ir.Node, int] | None:
        if self.add is not None:
            return self.add, _place(self.add)
        has_shift = self.node.op_type in _AXES and len(self.node.inputs) > 2
        return (self.node, 2) if has_shift and self.node.inputs[2] is not None else None


def affines_of(model: ir.Model) -> Mapping[str, NormAffine]:
    """Node name → affine terms, in the order of the main graph.

    Terms that are ones and zeros are left out: an exporter put them there.
    """
    found = (_affine(node) for node in model.graph if node.domain == "")
    return {one.name: one for one in found if one is not None and not _is_neutral(one)}


def _affine(node: ir.Node) -> NormAffine | None:
    if node.op_type in _AXES:
        terms = [value for value in node.inputs[1:3] if value is not None]
        trained = any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
        if not terms or trained or not all(_is_vector(value) for value in terms):
            return None
        axis = _AXES[node.op_type]
        several = axis == -1 and node.attributes.get_int("axis", -1) != -1
        by_group = node.attributes.get_int("num_groups", 0) == stored_array(node.inputs[1]).size
        return None if several or by_group else NormAffine(node, axis)
    if node.op_type != "Mul":
        return None
    vectors = [value for value in node.inputs if value is not None and _is_vector(value)]
    others = [value for value in node.inputs if value is not None and value not in vectors]
    if len(vectors) != 1 or len(others) != 1 or not _is_normalized(others[0]):
        return None
    axis = _axis(vectors[0])
    return NormAffine(node, axis, _added(node.outputs[0], axis))


def _added(value: ir.Value, axis: int) -> ir.Node | None:
    """The Add of a vector along the same axis that alone reads a value."""
    if len(value.uses()) != 1 or value.is_graph_output():
        return None
    (node,) = value.consumers()
    other = next((v for v in node.inputs if v is not None and v is not value), None)
    matches = other is not None and _is_vector(other) and _axis(other) == axis
    return node if node.op_type == "Add" and matches else None


def _is_normalized(value: ir.Value) -> bool:
    """Whether a value is a norm's, or something times or over a root of its squares."""
    node = value.producer()
    while node is not None and node.op_type in _PASSING:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None:
        return False
    if node.op_type == "Div":
        return _makes(node.inputs[1], "Sqrt")
    if node.op_type == "Mul":
        return any(_makes(side, "Reciprocal") or _over_root(side) for side in node.inputs)
    return node.op_type in _AXES or node.op_type == "LpNormalization"


def _makes(value: ir.Value | None, op_type: str) -> bool:
    node = None if value is None else value.producer()
    return node is not None and node.op_type == op_type


def _over_root(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    return node is not None and node.op_type == "Div" and _makes(node.inputs[1], "Sqrt")


def _is_neutral(affine: NormAffine) -> bool:
    shift = affine.shift
    return bool((affine.scale == 1).all()) and (shift is None or bool((shift == 0).all()))


def _is_vector(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or not value.is_initializer() or value.is_graph_input():
        return False
    wide = sum(size > 1 for size in tensor.shape.numpy())
    return wide == 1 and tensor.dtype.is_floating_point()


def _axis(value: ir.Value) -> int:
    """The only axis of more than one position, from the last, which is -1."""
    assert value.const_value is not None
    shape = value.const_value.shape.numpy()
    return next(axis for axis in range(-1, -len(shape) - 1, -1) if shape[axis] > 1)


def _place(node: ir.Node) -> int:
    """Which input holds the vector."""
    if node.op_type in _AXES:
        return 1
    return next(i for i, v in enumerate(node.inputs) if v is not None and _is_vector(v))


def _value(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None
    return value


def _replace(graph: ir.Graph, node: ir.Node, index: int, vector: Array) -> None:
    value, old = _value(node, index), stored_array(node.inputs[index])
    array = np.ascontiguousarray(vector.reshape(old.shape), dtype=old.dtype)
    if len(value.uses()) == 1:
        value.const_value = ir.tensor(array, name=value.name)
        return
    name = free_name(graph, f"{node.name}/{value.name}")
    node.replace_input_with(index, add_initializer(graph, name, array))


def _flat(array: Array) -> Doubles:
    return array.reshape(-1).astype(np.float64)
