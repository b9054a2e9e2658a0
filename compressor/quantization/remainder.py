"""Everything that is not integer in half precision, with types written into the graph.

Strongly typed networks convert nothing by themselves, so every operator gets inputs of one type:
weights, biases and the scales of Q/DQ are stored as float16, and Cast stands where a node that has
to stay float32 meets one that has not. Inputs and outputs of the graph keep their type.

float16 ends at 65,504 and below 6.1e-5 loses digits. Nodes stay float32 that write or read a value
which came half as far on the samples, or was nowhere larger than that (`unfit_for_half`), that read
a constant of such numbers alone (the epsilon of a normalization), or a scale that would lose more
than it rounds; and those that join what is scattered to one place. TensorRT takes a LogSoftmax for
the logarithm of a Softmax: it stays float32 where that one comes to such numbers. A constant that
stands for infinity, like the -3.4e38 of attention masks, becomes a number that half can hold and
that Softmax still takes for none.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from calibration.collect import Advance, extremes
from calibration.dataset import CalibrationSet
from calibration.observers import Observed
from calibration.scheme import FLOAT8, FloatArray
from compressor.graph.casts import cast, cast_output
from compressor.graph.chatter import silenced
from compressor.graph.constants import constant
from compressor.graph.initializers import (
    add_initializer,
    free_name,
    names_beside,
    remove_unread_initializers,
)
from compressor.graph.invariants import check, subgraphs
from compressor.graph.schemas import schema_of
from compressor.graph.shapes import infer_shapes
from compressor.quantization.graph import QDQ
from compressor.quantization.runtime_rounding import least_half_scales

LIMIT = 65504 / 2
"""The magnitude on the samples from which a value stays float32: others may go twice as far."""
LARGEST = float(np.finfo(np.float16).max)
ENDLESS = 1e30
"""Constants from here on stand for infinity."""
MASKED = 30000.0
"""What they become."""
SMALLEST = float(np.finfo(np.float16).smallest_normal)
LEAST_SCALE = 2.0**-20
"""Below it half has hardly a digit left for a scale."""
SCALES_SINCE = 19
"""The first opset with scales in half."""
REFUSED = frozenset({"MeanVarianceNormalization"})
"""Operators that TensorRT's parser refuses in half: it gives this one an epsilon in float32."""
JOINING = frozenset({"add", "mul", "max", "min"})
"""Reductions of what is scattered to one place: sums of many, and ONNX Runtime's CPU kernels, which
the graph is checked with, take most of them in float32 alone."""
REFERENCE = (
    "ONNX Runtime computes float16 in float32 here. The range of half was checked on the samples; "
    "its rounding between nodes is not in the measured quality"
)
"""Notice of what a figure of quality leaves out."""
_TYPED = ("to", "dtype")
"""Attributes that say what a node writes."""
_EIGHT_BITS = (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)


def why_not_half(model: ir.Model) -> str | None:
    """Why a graph cannot be in half; None where it can."""
    opset = model.opset_imports.get("", 0)
    if opset < SCALES_SINCE:
        return f"its opset is {opset}, and half scales need {SCALES_SINCE}"
    for node in model.graph:
        if any(True for _ in subgraphs(node)):
            return f"{node.op_type} {node.name!r} has a body, whose types are not changed"
    return None


def unfit_for_half(
    model: ir.Model,
    data: CalibrationSet,
    *,
    batch: int = 8,
    memory: int | None = None,
    advance: Advance = lambda samples: None,
) -> tuple[str, ...]:
    """The nodes that have to stay float32, by what is seen on the samples, in graph order.

    Args:
        model: The float graph.
        data: Calibration samples, of which all are run.
        batch: Samples a run.
        memory: Bytes to take beside the model (1 GB).
        advance: Called with the number of samples done.
    """
    typed = infer_shapes(model.clone())
    values = [
        value.name or "" for node in typed.graph for value in node.outputs if _is_float(value)
    ]
    values += [value.name or "" for value in typed.graph.inputs if _is_float(value)]
    seen = extremes(typed, values, data, batch=batch, memory=memory, advance=advance)
    lost = {name for name, one in seen.items() if _leaves_half(one.low, one.high)}
    kept = []
    for node in typed.graph:
        touched = {value.name for value in (*node.inputs, *node.outputs) if value is not None}
        is_unfit = any(_is_unfit(value) for value in node.inputs if value is not None)
        if touched & lost or is_unfit or _has_tiny_shares(node, seen):
            kept.append(node.name or "")
    return tuple(kept)


def halved(model: ir.Model, kept: Collection[str]) -> ir.Model:
    """The graph with float16 wherever it is float32; `model` stays as it is.

    Args:
        model: A float graph, or one with Q/DQ; its opset is 19 or more.
        kept: Names of the nodes that stay float32.
    """
    typed = infer_shapes(model.clone())
    with silenced():
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(typed)
    for node in typed.graph:
        if node.op_type == "DequantizeLinear" and _is_read_in_half(node, kept):
            _fit_scales(typed.graph, node, kept)
    _Halving(typed, kept).run()
    check(typed, "half")
    return typed


class _Halving:
    """The conversion of one graph to half: which values are float16 already."""

    def __init__(self, model: ir.Model, kept: Collection[str]) -> None:
        self._graph, self._kept = model.graph, set(kept)
        self._opset = model.opset_imports.get("", 0)
        self._names = names_beside(model.graph)
        self._stored: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self._cast: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def run(self) -> None:
        declared = [value.dtype for value in self._graph.outputs]
        for node in list(self._graph):
            self._convert(node)
        for index, value in enumerate(self._graph.outputs):
            if declared[index] == ir.DataType.FLOAT and value.dtype == ir.DataType.FLOAT16:
                cast_output(self._graph, index, ir.DataType.FLOAT, "half")
        remove_unread_initializers(self._graph)

    def _convert(self, node: ir.Node) -> None:
        schema = schema_of(node, self._opset) if node.domain == "" else None
        goes = schema is not None and self._goes(node)
        floats = [_is_float(value) for value in node.outputs]
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16):
                half = goes and schema is not None and _takes_half(schema.inputs, index)
                wanted = ir.DataType.FLOAT16 if half else ir.DataType.FLOAT
                node.replace_input_with(index, self._as(value, wanted, node))
        if not goes or schema is None:
            return
        for name in _TYPED:
            if node.attributes.get_int(name, 0) == ir.DataType.FLOAT:
                node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
        if node.op_type == "ConstantOfShape" and floats[0]:
            tensor = node.attributes.get_tensor("value", None)
            filled = np.zeros(1) if tensor is None else tensor.numpy()
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(_halves(filled)))
        for index, value in enumerate(node.outputs):
            if floats[index] and _takes_half(schema.outputs, index):
                value.type = ir.TensorType(ir.DataType.FLOAT16)  # a clone shares the old type

    def _goes(self, node: ir.Node) -> bool:
        """Q has the type of what it reads, and DQ that of its readers; scales must allow it."""
        if node.op_type in QDQ:
            scale = constant(node.inputs[1])
            if scale is None or not _are_scales_of_half(scale.numpy()):
                return False
        if node.op_type == "QuantizeLinear":
            return node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT16
        if node.op_type == "DequantizeLinear":
            return _is_read_in_half(node, self._kept)
        if node.op_type in REFUSED or node.attributes.get_string("reduction", "none") in JOINING:
            return False
        return node.name not in self._kept

    def _as(self, value: ir.Value, wanted: ir.DataType, node: ir.Node) -> ir.Value:
        """The value in the wanted type: stored so, or through a Cast in front of the node."""
        tensor = constant(value)
        if tensor is not None:
            return self._constant(value, tensor, wanted, exact=node.op_type not in QDQ)
        if value.dtype == wanted:
            return value
        key = (value, wanted)
        if key not in self._cast:
            name = self._names.take(f"{value.name}_{_tag(wanted)}")
            made = cast(value, wanted, name)
            made_by = value.producer()
            if made_by is None:
                self._graph.insert_before(self._graph[0], [made])
            else:
                self._graph.insert_after(made_by, [made])
            self._cast[key] = made.outputs[0]
        return self._cast[key]

    def _constant(
        self, value: ir.Value, tensor: ir.TensorProtocol, wanted: ir.DataType, *, exact: bool
    ) -> ir.Value:
        """A constant in the wanted type; a scale is rounded in either, as Q and DQ share it."""
        if wanted == ir.DataType.FLOAT and exact:
            return value
        key = (value, wanted)
        if key not in self._stored:
            round_to = _halves if wanted == ir.DataType.FLOAT16 else _scales
            name = self._names.take(f"{value.name}_{_tag(wanted)}")
            self._stored[key] = add_initializer(self._graph, name, round_to(tensor.numpy()))
        return self._stored[key]


def _is_read_in_half(node: ir.Node, kept: Collection[str]) -> bool:
    """Whether not all that read a node stay float32."""
    readers = node.outputs[0].consumers()
    return not readers or any(reader.name not in kept for reader in readers)


def _fit_scales(graph: ir.Graph, node: ir.Node, kept: Collection[str]) -> None:
    """Round the weights of channels with tiny scales anew, by scales that half holds.

    Such a channel hardly matters, and a scale in float32 would put a Cast between the integers and
    their layer, which then is no integer layer any more. 8-bit floats lose nothing by a power of
    two but what becomes subnormal; 448 times as fine as their values, their scales often are tiny.
    So are those rounded anew by which ONNX Runtime could not round the bias (`runtime_rounding`).
    """
    whole, scale = (constant(value) for value in node.inputs[:2])
    if whole is None or scale is None or whole.dtype not in _EIGHT_BITS:
        return
    old = scale.numpy().astype(np.float64)
    is_float = whole.dtype == ir.DataType.FLOAT8E4M3FN
    least = np.zeros_like(old) if is_float else _least_scales(node, old.shape, kept)
    tiny = (old < SMALLEST) | (old < least)
    if not tiny.any():
        return
    raised = _by_powers(old) if is_float else _next_half(np.maximum(old, least))
    new = np.where(tiny, raised, old)
    shape = [1] * len(whole.shape)
    if old.ndim:
        shape[node.attributes.get_int("axis", 1)] = -1
    ratio = (old / new).reshape(shape if old.ndim else ())
    scaled = whole.numpy().astype(np.float64) * ratio
    rounded = scaled.astype(FLOAT8) if is_float else np.rint(scaled).astype(np.int8)
    for index, array in ((0, rounded), (1, new.astype(np.float32))):
        name = free_name(graph, f"{node.inputs[index].name}_fit")  # type: ignore[union-attr]
        node.replace_input_with(index, add_initializer(graph, name, array))


def _least_scales(node: ir.Node, shape: tuple[int, ...], kept: Collection[str]) -> FloatArray:
    """Scales of a weight with which the biases of the layers that read it survive in half."""
    least = np.zeros(shape)
    for reader in node.outputs[0].consumers():
        found = least_half_scales(reader) if reader.name not in kept else None
        if found is None or reader.inputs[1] is not node.outputs[0]:
            continue
        if not shape or shape == (1,):
            least = np.maximum(least, found.max(initial=0.0))
        elif shape == found.shape:
            least = np.maximum(least, found)
    return least


def _next_half(scale: FloatArray) -> FloatArray:
    """The least scale in half that is no less."""
    new = np.maximum(scale, LEAST_SCALE).astype(np.float16)
    return np.where(new < scale, np.nextafter(new, np.float16(np.inf)), new).astype(np.float64)


def _by_powers(scale: FloatArray) -> FloatArray:
    """Times the least power of two that makes it normal in half."""
    powers: FloatArray = np.exp2(np.ceil(np.log2(SMALLEST / scale)))
    return scale * powers


def _tag(kind: ir.DataType) -> str:
    return "half" if kind == ir.DataType.FLOAT16 else "single"


def _halves(values: FloatArray) -> FloatArray:
    """The values in float16; what stands for infinity becomes `MASKED`."""
    endless = np.abs(values) >= ENDLESS
    return np.where(endless, np.sign(values) * MASKED, values).astype(np.float16)


def _scales(values: FloatArray) -> FloatArray:
    """Scales as float32, rounded to half where that can hold them."""
    if not _are_scales_of_half(values):
        return values.astype(np.float32)
    return values.astype(np.float16).astype(np.float32)


def _are_scales_of_half(values: FloatArray) -> bool:
    return bool(values.min() >= LEAST_SCALE and values.max() <= LARGEST)


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and bool(value.name) and value.dtype == ir.DataType.FLOAT


def _leaves_half(low: float, high: float) -> bool:
    """Whether a value comes near to either end of half, but for what stands for infinity."""
    is_tiny = 0 < max(abs(low), abs(high)) < SMALLEST
    return is_tiny or any(LIMIT < abs(bound) < ENDLESS for bound in (low, high))


def _has_tiny_shares(node: ir.Node, seen: Mapping[str, Observed]) -> bool:
    """Whether the Softmax in a LogSoftmax came to numbers that half does not hold."""
    one = seen.get(node.outputs[0].name or "")
    return node.op_type == "LogSoftmax" and one is not None and one.low < np.log(SMALLEST)


def _is_unfit(value: ir.Value) -> bool:
    """A constant with numbers too large for half, or with none that are large enough."""
    tensor = constant(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size == 0:
        return False
    sizes = np.abs(tensor.numpy())
    if 0 < float(sizes.max()) < SMALLEST:
        return True
    return bool(((sizes > LIMIT) & (sizes < ENDLESS)).any())


def _takes_half(formal: Sequence[onnx.defs.OpSchema.FormalParameter], index: int) -> bool:
    """Whether an input or output of an operator may be float16."""
    parameter = formal[min(index, len(formal) - 1)]
    return "tensor(float16)" in parameter.types
