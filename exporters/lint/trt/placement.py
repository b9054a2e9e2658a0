"""Where Q/DQ belongs: on the inputs of convolutions and matrix products, and hardly elsewhere.

Source: NVIDIA, "Working with Quantized Types", Q/DQ layer-placement recommendations; the compiler
fuses attention, normalization, Softmax and Gelu in half by itself.
"""

from collections.abc import Iterator

import onnx_ir as ir

from compressor.graph.names import label
from exporters.lint.base import Finding, Rule
from exporters.trt.facts import AVERAGES, is_matrix_vector, thin_channels, why_not_fp8
from exporters.trt.graph import (
    DEQUANTIZE,
    LAYERS,
    QUANTIZE,
    dequantizer,
    is_fp8,
    is_integer,
    layers,
    nodes,
    operand,
    readers,
    stored,
    weight_index,
)

FLOAT_ISLAND = Rule(
    "float-island", "warning", "Put Q/DQ on its input and on its weight, or on none around it."
)
ONE_SIDED = Rule("one-sided", "warning", "Quantize its weight too, or take the Q/DQ off its input.")
KEEP_FLOAT = Rule(
    "keep-float", "warning", "Let it read the float value in front of the Q/DQ; TensorRT fuses it."
)
LONELY_POOL = Rule(
    "lonely-pool", "note", "Quantize pools only between quantized layers: leave this one in float."
)
QUANTIZED_OUTPUT = Rule(
    "quantized-output", "note", "Leave out the Q/DQ in front of a graph output."
)

FLOAT_OPERATORS = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}
    | {"GroupNormalization", "InstanceNormalization", "Softmax", "LogSoftmax", "Gelu", "Erf"}
)
POOLS = AVERAGES | {"MaxPool"}


def float_island(model: ir.Model) -> Iterator[Finding]:
    """A float layer between integer ones costs a conversion on both sides and gains no speed.

    Looked for are layers with a constant weight and average pools, on a path from an integer
    layer to another. Convolutions of few channels stay float for good reason.
    """
    integer = [node for node in layers(model) if is_integer(node)]
    before, after = _reached(integer, forward=True), _reached(integer, forward=False)
    if not integer:
        return
    in_fp8 = any(is_fp8(node) for node in integer)
    for node in model.graph.all_nodes():
        if node not in before or node not in after or not _could_be_integer(node):
            continue
        if in_fp8 and (node.op_type in AVERAGES or why_not_fp8(node) is not None):
            continue  # it has no FP8 kernel
        kind = "an average pool" if node.op_type in AVERAGES else f"a {node.op_type}"
        yield FLOAT_ISLAND.at(
            node,
            f"{kind} in float between integer layers",
            fix="Put Q/DQ on its input." if node.op_type in AVERAGES else None,
            severity="note" if node.op_type in AVERAGES else None,
        )


def one_sided(model: ir.Model) -> Iterator[Finding]:
    """A layer with a rounded input and a float weight has lost accuracy for a float kernel.

    The other way round is weight-only quantization, which saves memory.
    """
    for node in layers(model):
        index = weight_index(node)
        if index is None or dequantizer(operand(node, index)) is not None:
            continue
        made_by = dequantizer(operand(node, 1 - index))
        if made_by is not None:
            yield ONE_SIDED.at(
                node, "its input is quantized and its weight is not: it runs in float"
            )


def keep_float(model: ir.Model) -> Iterator[Finding]:
    """Normalization, Softmax, Gelu and adding a mask lose accuracy in INT8 and win nothing."""
    for node in nodes(model, *FLOAT_OPERATORS):
        made_by = dequantizer(operand(node, 0))
        if made_by is not None:
            yield KEEP_FLOAT.at(node, f"it reads quantized values, from {label(made_by)!r}")
    for node in nodes(model, "Softmax"):
        source = operand(node, 0)
        mask = None if source is None else source.producer()
        if mask is None or mask.op_type != "Add":
            continue
        made_by = next((found for value in mask.inputs if (found := dequantizer(value))), None)
        if made_by is not None:
            yield KEEP_FLOAT.at(
                mask, f"it adds a mask to quantized scores, from {label(made_by)!r}"
            )


def lonely_pool(model: ir.Model) -> Iterator[Finding]:
    """A pool gains from INT8 only where what follows it is quantized too."""
    for node in nodes(model, *POOLS):
        written = node.outputs[0]
        if dequantizer(operand(node, 0)) is None or not written.uses():
            continue
        if not any(r.op_type == QUANTIZE or is_integer(r) for r in readers(written)):
            yield LONELY_POOL.at(node, "it reads quantized values and nothing behind it does")


def quantized_output(model: ir.Model) -> Iterator[Finding]:
    """Q/DQ at the end rounds what the caller gets and speeds nothing up."""
    for node in nodes(model, DEQUANTIZE):
        integers = operand(node, 0)
        made_by = None if integers is None else integers.producer()
        is_rounded = made_by is not None and made_by.op_type == QUANTIZE
        if is_rounded and node.outputs[0].is_graph_output():
            yield QUANTIZED_OUTPUT.at(
                node, f"the output {node.outputs[0].name!r} is rounded by Q/DQ"
            )


def _could_be_integer(node: ir.Node) -> bool:
    if node.op_type in AVERAGES:
        return dequantizer(operand(node, 0)) is None
    if node.op_type not in LAYERS or is_integer(node) or is_matrix_vector(node):
        return False
    index = weight_index(node)
    if index is None or stored(operand(node, index)) is None:
        return False
    return thin_channels(node) is None


def _reached(start: list[ir.Node], *, forward: bool) -> set[ir.Node]:
    """Everything before or behind these nodes; they themselves only where another reaches them."""
    found: set[ir.Node] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        neighbours = node.successors() if forward else node.predecessors()
        fresh = [near for near in neighbours if near not in found]
        found.update(fresh)
        waiting.extend(fresh)
    return found
