"""LSTM as dynamic INT8: weights are stored as integers, and what they meet is rounded as it comes.

    i, o, f, c = s_x · s_W · (x_q · W_q) + s_h · s_R · (h_q · R_q) + b

(ONNX Runtime, ContribOperators.md, com.microsoft.DynamicQuantizeLSTM.) One operator runs the whole
sequence, so that x is rounded by its range over all steps, h by its range at each step; gates and
the cell's state stay float. W and R, (directions, 4 · hidden, inputs) in ONNX, are stored with the
last two axes exchanged, each with a scale for each gate's output of each direction, or for each
direction, and zero points of 0.
"""

from typing import Final

import numpy as np
import onnx_ir as ir

from calibration.scheme import Codes, FloatArray, Scheme
from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, free_name
from compressor.quantization.placement import why_not_finite
from compressor.quantization.weights import nearest_integers, weight_params
from exporters.base import QuantPolicy

OPERATORS: Final = frozenset({"LSTM", "GRU", "RNN"})
INPUTS = 12
"""Inputs of the integer operator: LSTM's, and a scale and a zero point for W and for R."""
WEIGHTS = {1: 8, 2: 10}
"""W and R: position → position of the scale, which its zero point follows."""


def is_recurrent(node: ir.Node) -> bool:
    """Whether it is an operator of ONNX that runs over a sequence."""
    return node.domain == "" and node.op_type in OPERATORS


def why_not_recurrent(node: ir.Node, policy: QuantPolicy) -> str | None:
    """Why a recurrent operator cannot be dynamic; None when it can."""
    if node.op_type not in policy.dynamic:
        return policy.without_kernel(node.op_type)
    if node.attributes.get_int("layout", 0):
        return "the integer kernel takes steps before samples only (layout=0)"
    source = node.inputs[0]
    if source is None or constant(source) is not None:
        return "its input is a constant"
    for weight in node.inputs[1:3]:
        tensor = constant(weight)
        if weight is None or tensor is None:
            return "its weights are not constants"
        if tensor.dtype != ir.DataType.FLOAT:
            return f"its weights are {tensor.dtype.name.lower()}, not float32"
        if len(weight.uses()) > 1 or weight.is_graph_output():
            return f"its weight {weight.name} is read elsewhere as well"
        refusal = why_not_finite(tensor)
        if refusal is not None:
            return refusal
    return None


def place_recurrent(model: ir.Model, policy: QuantPolicy) -> tuple[tuple[str, ...], dict[str, str]]:
    """The recurrent nodes of the main graph that can be dynamic, and why the others cannot."""
    found = {n.name or "": why_not_recurrent(n, policy) for n in model.graph if is_recurrent(n)}
    chosen = tuple(name for name, refusal in found.items() if refusal is None)
    return chosen, {name: refusal for name, refusal in found.items() if refusal is not None}


def make_dynamic(model: ir.Model, node: ir.Node, policy: QuantPolicy) -> None:
    """Turn an LSTM that `place_recurrent` lists into its integer form, in place.

    What it reads and writes besides, and its name, stay.
    """
    node.domain, node.op_type, node.version = "com.microsoft", "DynamicQuantizeLSTM", None
    node.attributes.pop("layout", None)
    node.resize_inputs(INPUTS)
    for index, scale_index in WEIGHTS.items():
        weight = node.inputs[index]
        tensor = constant(weight)
        if weight is None or tensor is None:
            raise AssertionError(f"{node.name} was placed without constant weights")
        whole, scales = _integers(tensor.numpy(), policy.weight)
        name = f"{weight.name}_dynamic"
        stored = {
            index: (name, whole),
            scale_index: (f"{name}_scale", scales),
            scale_index + 1: (f"{name}_zero_point", np.zeros(scales.shape, whole.dtype)),
        }
        for position, (called, array) in stored.items():
            value = add_initializer(model.graph, free_name(model.graph, called), array)
            node.replace_input_with(position, value)
    model.opset_imports.setdefault(node.domain, 1)


def _integers(weight: FloatArray, scheme: Scheme) -> tuple[Codes, FloatArray]:
    """Integers (directions, inputs, 4 · hidden); scales (directions, 4 · hidden), or one each."""
    found = []
    for direction in weight:
        params = weight_params(direction, 0, scheme)
        found.append((nearest_integers(direction, params, 0).T, params.scale))
    whole, scales = zip(*found, strict=True)
    return np.ascontiguousarray(np.stack(whole)), np.stack(scales).astype(np.float32)
