"""What each operator means for pruning: one small rule a family, found by the operator's name.

An operator that is not in `RULES` freezes what it touches and is reported. A new one is an entry
here, a function in the file of its family, and a test in `test_rules.py`.
"""

import onnx_ir as ir

from compressor.pruning.coupling.rules import (
    convolution,
    elementwise,
    indices,
    layout,
    normalization,
    opaque,
    products,
    reshape,
)
from compressor.pruning.coupling.rules.base import Rule

__all__ = ["RULES", "Rule", "rule_of"]

# fmt: off
_ELEMENTWISE = [
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift",
    "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu",
    "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater",
    "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu",
    "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not",
    "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign",
    "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh",
    "ThresholdedRelu", "Where", "Xor",
]

_REDUCTIONS = [
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSumSquare",
]

_POOLS = [
    "AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool",
]

_CHOOSING = [
    "Compress", "NonZero", "NonMaxSuppression", "OneHot", "RoiAlign", "ScatterND", "Unique",
]

_GENERATED = [
    "Bernoulli", "EyeLike", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike", "Range",
]
# fmt: on

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, Rule(elementwise.elementwise)),
    **dict.fromkeys(("Dropout",), Rule(elementwise.first_only)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), Rule(elementwise.quantize)),
    "Conv": Rule(convolution.conv, convolution.regroup, contracts=True),
    "ConvTranspose": Rule(convolution.conv_transpose, convolution.regroup, contracts=True),
    **dict.fromkeys(_POOLS, Rule(convolution.pool)),
    "GridSample": Rule(convolution.sample),
    **dict.fromkeys(("Resize", "Upsample"), Rule(convolution.resize, sizes=(3,))),
    "DepthToSpace": Rule(convolution.depth_to_space),
    "SpaceToDepth": Rule(convolution.space_to_depth),
    "Gemm": Rule(products.gemm, contracts=True),
    "MatMul": Rule(products.matmul, contracts=True),
    "Einsum": Rule(products.einsum, contracts=True),
    "BatchNormalization": Rule(normalization.batch_norm),
    "InstanceNormalization": Rule(normalization.instance_norm),
    "GroupNormalization": Rule(normalization.group_norm, normalization.regroup_norm),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), Rule(normalization.layer_norm)),
    **dict.fromkeys(
        ("Softmax", "LogSoftmax", "Hardmax", "LpNormalization"),
        Rule(normalization.normalized_axis),
    ),
    **dict.fromkeys(("LRN", "MeanVarianceNormalization"), Rule(normalization.normalized_channels)),
    "CumSum": Rule(normalization.running, sizes=(1,)),
    "Trilu": Rule(normalization.triangle),
    **dict.fromkeys(_REDUCTIONS, Rule(normalization.reduction, sizes=(1,))),
    "ReduceSum": Rule(normalization.reduction, contracts=True, sizes=(1,)),
    **dict.fromkeys(("ArgMax", "ArgMin"), Rule(normalization.arg)),
    "Concat": Rule(layout.concat),
    "Split": Rule(layout.split, layout.resplit, sizes=(1,)),
    "Slice": Rule(layout.slice_, layout.reslice, sizes=(1, 2, 3, 4)),
    "Gather": Rule(layout.gather, layout.regather, sizes=(1,)),
    "GatherElements": Rule(indices.gather_elements),
    "GatherND": Rule(indices.gather_nd),
    "ScatterElements": Rule(indices.scatter_elements),
    "TopK": Rule(indices.top_k),
    "Pad": Rule(layout.pad, layout.repad, sizes=(1, 3)),
    "Transpose": Rule(layout.transpose),
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze"), Rule(reshape.reshape, sizes=(1,))
    ),
    "Expand": Rule(reshape.expand, sizes=(1,)),
    "Tile": Rule(reshape.tile, sizes=(1,)),
    "ConstantOfShape": Rule(opaque.constant_of_shape, sizes=(0,)),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), Rule(opaque.recurrent)),
    **dict.fromkeys(("If", "Loop", "Scan"), Rule(opaque.control_flow)),
    **dict.fromkeys(_CHOOSING, Rule(opaque.positions)),
    **dict.fromkeys(_GENERATED, Rule(opaque.generated)),
}
"""Operator → rule. Those of the default domain; see `rule_of` for others."""

_CONTRIBUTED = frozenset({"Gelu", "FastGelu", "QuickGelu", "BiasGelu"})
"""ONNX Runtime's own operators that work element by element, the bias broadcast."""


def rule_of(node: ir.Node) -> Rule | None:
    """The rule of a node's operator; None where there is none."""
    if node.domain == "":
        return RULES.get(node.op_type)
    if node.domain == "com.microsoft" and node.op_type in _CONTRIBUTED:
        return RULES["Gelu"]
    return None
