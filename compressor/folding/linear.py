"""Linear operators with constant weights: Conv, ConvTranspose, Gemm, MatMul and MatMul + Add."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter._basics import MatchFailureError

from compressor.folding.affine import Vector, channel_vector, scaled
from compressor.graph.constants import constant
from compressor.graph.tensors import Array

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")

_SHARED = 2**20
"""Bytes up to which a weight that other nodes read too is folded into a copy of its own."""


@dataclass(frozen=True)
class Linear:
    """y = W∘x + b.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul.
        add: The Add behind a MatMul that brings the bias.
        weight: W as the node stores it.
        bias: One number per output channel, Gemm's beta included; None where there is none.
    """

    node: ir.Node
    add: ir.Node | None
    weight: Array
    bias: Vector | None

    @property
    def kind(self) -> str:
        """The operator."""
        return self.node.op_type

    @property
    def output(self) -> ir.Value:
        """The value y."""
        return (self.add or self.node).outputs[0]

    @property
    def axis(self) -> int:
        """The channels' axis, of x and of y."""
        return -1 if self.kind == "MatMul" else 1

    @property
    def rank(self) -> int | None:
        """The rank of x and y; None when unknown."""
        if self.kind == "MatMul":
            shape = self.node.inputs[0].shape if self.node.inputs[0] is not None else None
            return None if shape is None else len(shape)
        return self.weight.ndim

    @property
    def groups(self) -> int:
        """Conv's groups: 1 for everything else."""
        return self.node.attributes.get_int("group", 1)

    @property
    def channels_out(self) -> int:
        """Channels of y."""
        if self.kind == "ConvTranspose":
            return int(self.weight.shape[1]) * self.groups
        return int(self.weight.shape[0 if self.kind == "Conv" or self._transposed else 1])

    @property
    def channels_in(self) -> int:
        """Channels of x."""
        if self.kind == "Conv":
            return int(self.weight.shape[1]) * self.groups
        return int(self.weight.shape[1 if self._transposed else 0])

    @property
    def pads(self) -> bool:
        """Whether zeros are put around x."""
        attributes = self.node.attributes
        mode = attributes.get_string("auto_pad", "NOTSET")
        return mode not in ("NOTSET", "VALID") or any(attributes.get_ints("pads", ()))

    @property
    def _transposed(self) -> bool:
        return self.kind == "Gemm" and self.node.attributes.get_int("transB", 0) == 1

    def per_output(self, factor: Vector) -> Array:
        """A number per output channel, shaped to broadcast against the weight."""
        if self.kind == "ConvTranspose":
            return self._blocks(factor)
        return self._along(factor, 0 if self.kind == "Conv" or self._transposed else 1)

    def per_input(self, factor: Vector) -> Array:
        """A number per input channel, shaped to broadcast against the weight."""
        if self.kind == "Conv":
            return self._blocks(factor)
        return self._along(factor, 1 if self._transposed else 0)

    def response(self, shift: Vector) -> Vector:
        """W∘c, what an input that is c everywhere adds to y; ConvTranspose has no such constant."""
        product = self.weight.astype(np.float64) * self.per_input(shift).astype(np.float64)
        out_axis = 0 if self.kind == "Conv" or self._transposed else 1
        total: Vector = product.sum(axis=tuple(i for i in range(product.ndim) if i != out_axis))
        return total * self.node.attributes.get_float("alpha", 1.0)

    def emit(
        self,
        op: Any,
        scale: Array | None,
        bias: Vector | None,
        reading: ir.Value | None = None,
    ) -> ir.Value:
        """Write the operator again with `scale`·W and another bias.

        Args:
            op: The rewriter's builder.
            scale: Broadcast against the weight; None leaves the weight as it is.
            bias: The whole bias; None for none.
            reading: What to read in place of x.

        Raises:
            MatchFailureError: The numbers overflow, or a large weight that other nodes read would
                be copied.
        """
        x, old = self.node.inputs[:2]
        if scale is not None and self._is_shared(old):
            raise MatchFailureError("other nodes read the weight, and it is large", self.node)
        weight = self.weight if scale is None else scaled(self.weight, scale)
        vector = None if bias is None else bias.astype(self.weight.dtype)
        if not (_finite(weight) or scale is None) or (vector is not None and not _finite(vector)):
            raise MatchFailureError("the folded numbers overflow their type", self.node)
        x = x if reading is None else reading
        w = old if scale is None else op.initializer(ir.tensor(weight), _folded(old))
        b = None if vector is None else op.initializer(ir.tensor(vector), self._bias_name())
        if self.kind == "MatMul":
            y = self._write(op, self.node, [x, w])
            return y if b is None else self._write(op, self.add, [y, b])
        return self._write(op, self.node, [x, w] if b is None else [x, w, b])

    def _write(self, op: Any, like: ir.Node | None, inputs: list[ir.Value | None]) -> ir.Value:
        if like is None:
            product = None if inputs[0] is None else inputs[0].producer()
            name = "MatMul" if product is None else product.name
            added: ir.Value = op.op("Add", *inputs, _name=f"{name}_bias")
            return added
        attributes = {k: v for k, v in like.attributes.items() if k != "beta"}
        name = like.name or like.op_type
        written: ir.Value = op.op(like.op_type, *inputs, _name=name, **attributes)
        node = written.producer()
        if node is not None:
            node.metadata_props.update(like.metadata_props)
        return written

    def _is_shared(self, weight: ir.Value | None) -> bool:
        return weight is not None and len(weight.uses()) > 1 and self.weight.nbytes > _SHARED

    def _blocks(self, factor: Vector) -> Array:
        # Axis 0 of the weight is cut into groups; each meets its own share of the channels.
        blocks = factor.reshape(self.groups, self.weight.shape[1])
        rows = np.repeat(blocks, self.weight.shape[0] // self.groups, axis=0)
        return rows.reshape(*rows.shape, *[1] * (self.weight.ndim - 2))

    def _along(self, factor: Vector, axis: int) -> Array:
        return factor.reshape([-1 if i == axis else 1 for i in range(self.weight.ndim)])

    def _bias_name(self) -> str:
        # An exporter may have given the node a bias of zeros that has no name of its own.
        weight = _folded(self.node.inputs[1])
        if weight.endswith(".weight_folded"):
            return f"{weight.removesuffix('.weight_folded')}.bias_folded"
        for value in self.node.inputs[2:] if self.add is None else self.add.inputs:
            if constant(value) is not None:
                return _folded(value)
        return f"{weight.removesuffix('_folded')}_bias_folded"


def linear_of(y: ir.Value) -> Linear:
    """The linear operator that writes y: Conv, ConvTranspose, Gemm, MatMul, or MatMul + Add.

    Raises:
        MatchFailureError: Its weight or bias is no constant that fits.
    """
    node = y.producer()
    assert node is not None, "a rule asks of what its pattern has matched"
    return matmul_with_bias(node) if node.op_type == "Add" else _linear(node)


def matmul_with_bias(add: ir.Node) -> Linear:
    """The MatMul that an Add of a constant vector reads, as one linear operator.

    Raises:
        MatchFailureError: The weight is no constant matrix, or the other operand no such vector.
    """
    left, right = add.inputs
    product, operand = (right, left) if constant(left) is not None else (left, right)
    node = None if product is None else product.producer()
    if node is None or node.op_type != "MatMul":
        raise MatchFailureError("not one operand is a constant, and the other a MatMul", add)
    bare = _linear(node)
    return Linear(node, add, bare.weight, _bias(operand, bare))


def _linear(node: ir.Node) -> Linear:
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    tensor = constant(weight)
    if tensor is None:
        raise MatchFailureError("the weight is not a constant", node)
    if not tensor.dtype.is_floating_point():
        raise MatchFailureError(f"the weight is {tensor.dtype.name}", node)
    if len(tensor.shape) < 2 or (node.op_type == "MatMul" and len(tensor.shape) != 2):
        raise MatchFailureError(f"the weight has rank {len(tensor.shape)}", node)
    bare = Linear(node, None, tensor.numpy(), None)
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return bare
    beta = node.attributes.get_float("beta", 1.0)
    return Linear(node, None, bare.weight, _bias(node.inputs[2], bare) * beta)


def _bias(value: ir.Value | None, bare: Linear) -> Vector:
    tensor = constant(value)
    if tensor is None:
        raise MatchFailureError("the bias is not a constant", bare.node)
    array = tensor.numpy()
    if bare.kind not in ("Conv", "ConvTranspose"):
        vector = channel_vector(array, -1, bare.rank, bare.channels_out)
    else:
        vector = array.astype(np.float64) if array.shape == (bare.channels_out,) else None
    if vector is None:
        raise MatchFailureError("the bias is not one number per output channel", bare.node)
    return vector


def _folded(value: ir.Value | None) -> str:
    # A name that tells: this is no longer the checkpoint's parameter of that name.
    base = "weight" if value is None or not value.name else value.name
    return base if base.endswith("_folded") else f"{base}_folded"


def _finite(array: Array) -> bool:
    # Half precision can overflow where the two operators in turn did not.
    return bool(np.isfinite(array.astype(np.float32, copy=False)).all())
