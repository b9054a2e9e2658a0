"""Shapes and element types of a graph's values and of its inputs and outputs."""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from compressor.errors import GraphError
from compressor.graph.chatter import silenced
from compressor.graph.tensors import Dimension, TensorSpec

_SEQUENCE_WRITERS = frozenset(
    {"SplitToSequence", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"}
)


def infer_shapes(model: ir.Model) -> ir.Model:
    """Fill in the types and shapes of a model's values, in place, and return it.

    ONNX's own inference, with the weights held back, so that size does not matter. What it cannot
    tell stays unknown; a model it fails on stays as it was.
    """
    sequences = [value for node in model.graph.all_nodes() for value in _sequences(node)]
    with silenced():
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    for value in sequences:
        # The pass writes down a sequence of tensors as a tensor; a runtime refuses such a model.
        if isinstance(value.type, ir.TensorType):
            value.type = ir.SequenceType(value.type)
            value.shape = None
    return model


def known_shapes(model: ir.Model) -> ir.Model:
    """`infer_shapes` where a value of the main graph lacks its type or shape."""
    values = [value for node in model.graph for value in node.outputs if value.name]
    known = all(value.dtype is not None and value.shape is not None for value in values)
    return model if known else infer_shapes(model)


def input_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """What a caller has to feed: the inputs, without those that an initializer gives a default.

    Raises:
        GraphError: An input is not a tensor of a known element type and rank.
    """
    return _specs(value for value in model.graph.inputs if not value.is_initializer())


def output_specs(model: ir.Model) -> tuple[TensorSpec, ...]:
    """What a run returns, in order.

    Raises:
        GraphError: An output is not a tensor of a known element type and rank.
    """
    return _specs(model.graph.outputs)


def shape_of(value: ir.Value) -> tuple[Dimension, ...] | None:
    """The shape of a value with symbolic sizes by name; None when not even its rank is known."""
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


def with_input_shapes(model: ir.Model, specs: Sequence[TensorSpec]) -> ir.Model:
    """A copy of a model whose inputs have the given shapes, with the shapes that follow.

    Weights are shared with the original. Shapes recorded inside the graph are dropped first: they
    may name symbols that the new input shapes give a number. Where none follows, behind operators
    that ONNX does not know, the recorded one stays, with what such symbols became.
    """
    copy = model.clone()
    given = {spec.name: spec for spec in specs}
    recorded = {}
    for graph in copy.graphs():
        for node in graph:
            for value in node.outputs:
                recorded[value] = shape_of(value)
                value.shape = None
    became = dict[str, Dimension]()
    for value in copy.graph.inputs:
        if value.name in given:
            wanted = given[value.name].shape
            pairs = zip(shape_of(value) or (), wanted, strict=False)
            became |= {old: new for old, new in pairs if isinstance(old, str)}
            value.shape = ir.Shape(wanted)
    infer_shapes(copy)
    for value, shape in recorded.items():
        if value.shape is None and shape is not None:
            value.shape = ir.Shape([became.get(d, d) if isinstance(d, str) else d for d in shape])
    return copy


def _sequences(node: ir.Node) -> Sequence[ir.Value]:
    """The outputs of a node that are sequences by definition of its operator."""
    return node.outputs if node.domain == "" and node.op_type in _SEQUENCE_WRITERS else ()


def _specs(values: Iterable[ir.Value]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(value) for value in values)


def _spec(value: ir.Value) -> TensorSpec:
    kind = value.type
    if not isinstance(kind, ir.TensorType) or value.dtype is None:
        raise GraphError(f"{value.name!r} should be a tensor of a known type and is {kind}")
    try:
        dtype = np.dtype(object) if value.dtype.is_string() else np.dtype(value.dtype.numpy())
    except TypeError as error:  # UNDEFINED, and types of a later ONNX
        raise GraphError(f"{value.name!r} is of the type {value.dtype}, which is none") from error
    shape = shape_of(value)
    if shape is None:
        raise GraphError(f"the rank of {value.name!r} is not known")
    return TensorSpec(name=value.name or "", dtype=dtype, shape=shape)
