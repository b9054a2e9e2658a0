"""A bias of zeros adds nothing."""

from collections import Counter

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import constant

_BIASED = ("Conv", "ConvTranspose", "Gemm")


def remove_zero_biases(model: ir.Model, fired: Counter[str]) -> None:
    """Leave out every constant bias that is zero throughout, in place.

    Exporters write one for each convolution without a bias. It is no parameter of the model, and
    quantized it would be stored once for every scale of its input.
    """
    for node in model.graph.all_nodes():
        if node.op_type not in _BIASED or node.domain != "" or len(node.inputs) < 3:
            continue
        tensor = constant(node.inputs[2])
        if tensor is not None and not np.any(tensor.numpy()):
            node.resize_inputs(2)
            fired["bias of zeros removed"] += 1
