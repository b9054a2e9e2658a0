"""Operators that TensorRT does not have, each with what to do instead.

Source: `OnnxParser.supports_operator` of TensorRT-RTX 1.7 over every operator of ONNX and of ONNX
Runtime; a test compares this file with the parser that is installed.
"""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from exporters.lint.base import Finding, Rule
from exporters.trt.graph import element_type, operand

UNSUPPORTED = Rule(
    "unsupported-operator",
    "error",
    "Replace it by operators that TensorRT has, or leave this part out of the engine.",
)
FOREIGN = Rule(
    "foreign-operator",
    "warning",
    "Export with standard operators only; keep ONNX Runtime's fusions for ONNX Runtime.",
)

_QUANTIZED = "Quantize with QuantizeLinear and DequantizeLinear around float operators (Q/DQ)."
_DYNAMIC = "Quantize statically with calibrated Q/DQ; TensorRT has no dynamic integer operators."
_SEQUENCE = "Export with tensors in place of sequences: stack, split and concatenate."
_OPTIONAL = "Export without optional values: make a model for each case."
_BITS = "Do it with integer Mul, Div and Mod, or outside of the engine."
_TEXT = "Do it outside of the engine, before the model."
_TRAINING = "Export the model for inference, without its loss."
_RANDOM = "Draw the random numbers outside of the engine and feed them as an input."

_FAMILIES = {
    _DYNAMIC: "ConvInteger DynamicQuantizeLinear MatMulInteger",
    _QUANTIZED: "QLinearConv QLinearMatMul",
    _SEQUENCE: "ConcatFromSequence SequenceAt SequenceConstruct SequenceEmpty SequenceErase "
    "SequenceInsert SequenceLength SequenceMap SplitToSequence",
    _OPTIONAL: "Optional OptionalGetElement OptionalHasElement",
    _BITS: "BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor",
    _TEXT: "ImageDecoder RegexFullMatch StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    _TRAINING: "NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss",
    _RANDOM: "Bernoulli Multinomial",
}

MISSING = {
    **{name: advice for advice, names in _FAMILIES.items() for name in names.split()},
    "AffineGrid": "Compute the grid with MatMul and feed it to GridSample.",
    "CenterCropPad": "Use Slice and Pad with constant bounds.",
    "Col2Im": "Use ConvTranspose with a constant kernel of zeros and ones.",
    "Compress": "Use Where or Gather, whose output shapes are known.",
    "CumProd": "Use Exp, CumSum and Log where the values are positive.",
    "DFT": "Multiply with a constant Fourier matrix (MatMul), or use STFT.",
    "DeformConv": "Build it from GridSample and Conv, or use a plugin.",
    "Det": "Write the determinant out for a fixed size.",
    "MaxRoiPool": "Use RoiAlign.",
    "MaxUnpool": "Use Resize or ConvTranspose.",
    "MelWeightMatrix": "Store the matrix as an initializer: it depends on constants only.",
    "SwiGLU": "Write it as Mul of Swish and the other half of a Split.",
    "Unique": "Do it outside of the engine: its output shape depends on the data.",
}
"""Operators of ONNX that the parser does not import → what to do instead."""

IMPORTED_FOREIGN = frozenset(
    {"GroupQueryAttention", "MatMulNBits", "MultiHeadAttention", "QMoE", "RotaryEmbedding"}
    | {"SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "Gelu"}
)
"""Operators of ONNX Runtime that TensorRT-RTX imports; other parsers of TensorRT need not."""

STANDARD_DOMAINS = ("", "ai.onnx")
OTHER_DOMAINS = ("ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training")
"""Domains of ONNX of which TensorRT has nothing."""
MICROSOFT = "com.microsoft"
PLUGINS = "trt.plugins"
"""The domain in which graphs name TensorRT's plugins, by convention."""


STANDARD = frozenset(
    schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""
)
"""Every operator that ONNX has or had."""

_PLUGIN = "it needs a plugin of that name"
_INSTALL = "Install its plugin where the engine is built and run, or replace it."


def unsupported(model: ir.Model) -> Iterator[Finding]:
    """What the parser cannot import, it rejects; every such node at once."""
    for node in model.graph.all_nodes():
        if node.domain in STANDARD_DOMAINS and node.op_type in MISSING:
            yield UNSUPPORTED.at(node, f"TensorRT has no {node.op_type}", fix=MISSING[node.op_type])
        elif node.domain == MICROSOFT and node.op_type not in IMPORTED_FOREIGN | QDQ:
            yield UNSUPPORTED.at(
                node,
                f"{MICROSOFT}.{node.op_type} is an operator of ONNX Runtime, not of TensorRT",
                fix=_microsoft_advice(node.op_type),
            )
        elif node.domain in OTHER_DOMAINS:
            yield UNSUPPORTED.at(node, f"TensorRT has no operators of {node.domain}")
        elif _is_float_weight_only(node):
            yield UNSUPPORTED.at(
                node,
                f"TensorRT-RTX imports {node.op_type} with half inputs only, and this one has "
                "float32",
                fix="Store the weights as INT4 behind DequantizeLinear (opset 21), or convert "
                "the model to float16 first.",
            )


def foreign(model: ir.Model) -> Iterator[Finding]:
    """The parser tells operators by name alone: another domain's is a plugin or a mistaken name."""
    for node in model.graph.all_nodes():
        if node.domain in STANDARD_DOMAINS:
            if node.op_type not in STANDARD | MISSING.keys():
                yield FOREIGN.at(node, f"ONNX has no {node.op_type}: {_PLUGIN}", fix=_INSTALL)
            continue
        whole = f"{node.domain}.{node.op_type}"
        if node.domain == MICROSOFT and node.op_type in IMPORTED_FOREIGN | QDQ:
            yield FOREIGN.at(node, f"the parser of TensorRT-RTX 1.7 knows {whole}; others need not")
        elif node.domain not in (MICROSOFT, PLUGINS, *OTHER_DOMAINS):
            yield FOREIGN.at(
                node,
                f"the parser ignores the domain of {whole}: {_PLUGIN}, or it is read "
                f"as the standard {node.op_type} if there is one",
                fix=_INSTALL,
            )


QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})


def _is_float_weight_only(node: ir.Node) -> bool:
    """Whether a product with 4- or 8-bit weights reads float32: "input tensor A must be FP16"."""
    is_product = node.domain == MICROSOFT and node.op_type == "MatMulNBits"
    return is_product and element_type(operand(node, 0)) == ir.DataType.FLOAT


def _microsoft_advice(operator: str) -> str:
    if operator.startswith("QLinear") or operator in ("QGemm", "QAttention"):
        return _QUANTIZED
    if "Integer" in operator or operator.startswith("DynamicQuantize"):
        return _DYNAMIC
    return FOREIGN.fix
