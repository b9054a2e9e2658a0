"""What OpenVINO's CPU plugin computes in integers, and where it wants Q/DQ.

Its low-precision transformations fuse what lies behind a layer into its kernel: activations of any
kind, residual additions, and the rounding for what reads it. So what a layer writes passes Q/DQ
where it is read as integers, and stays float where a float activation reads it.

Source: OpenVINO, "OpenVINO Low Precision Transformations" and "Quantization Scheme".
"""

import onnx_ir as ir

from calibration.scheme import Scheme
from compressor.system.hardware import has_int8_dot
from exporters.base import QuantPolicy

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
ELEMENTWISE = frozenset({"Add", "Concat", "AveragePool", "GlobalAveragePool"})
MOVED = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Pad"}
    | {"Gather", "Split", "DepthToSpace", "SpaceToDepth"}
)


def openvino_policy(cpu: str) -> QuantPolicy:
    """Asymmetric uint8 activations, symmetric int8 weights per channel, float biases.

    On CPUs without an 8-bit dot product weights use 7 bits: there the kernels sum pairs of
    products in 16 bits, which saturate.

    Args:
        cpu: The deployment CPU: "host", "vnni", "avx2" or "arm64".
    """
    return QuantPolicy(
        activation=Scheme("uint8", symmetric=False),
        weight=Scheme("int8", symmetric=True, per_channel=True, bits=8 if has_int8_dot(cpu) else 7),
        bias="float",
        weighted=WEIGHTED,
        elementwise=ELEMENTWISE,
        passthrough=MOVED,
        absorbed=frozenset({"Relu", "Clip"}),
        float_output=WEIGHTED,
        why_not_integer=why_not_integer,
    )


def why_not_integer(node: ir.Node) -> str | None:
    """Why an average pool stays as it is: the plugin has none with dilations."""
    is_pool = node.op_type == "AveragePool"
    if is_pool and any(size != 1 for size in node.attributes.get_ints("dilations", ())):
        return "average pools with dilations have no integer kernel"
    return None
