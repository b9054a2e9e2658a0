"""From an exporter's model to ours: names, plain tensors, opset, invariants."""

import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass, OutputFixPass

from compressor.errors import CaptureError
from compressor.graph.chatter import silenced
from compressor.graph.inlining import inline
from compressor.graph.invariants import check
from compressor.graph.names import make_unique
from compressor.graph.pieces import in_memory
from compressor.graph.tensors import Array, TensorSpec

OLDEST_OPSET = 13
"""The first opset with quantization per channel."""


def finish(
    model: ir.Model,
    *,
    inputs: Sequence[TensorSpec],
    found_inputs: Sequence[ir.Value | None],
    outputs: Mapping[str, Array],
    batch: tuple[str, int] | None,
    opset: int,
    prefix: str = "",
) -> ir.Model:
    """Name, clean and check what an exporter returned, in place.

    Args:
        model: The exporter's model.
        inputs: What the inputs are to be called and look like, in order.
        found_inputs: The model's value for each; None where the exporter dropped it as unused.
        outputs: What the source returned, in order.
        batch: Name and size of the batch at which that was, None when it is baked in.
        opset: Raise the model to this if it has a lower one.
        prefix: What a wrapper put in front of every weight's name.

    Raises:
        CaptureError: The model has another number of outputs.
        GraphError: An invariant is broken.
    """
    if len(model.graph.outputs) != len(outputs):
        raise CaptureError(
            f"the exporter made {len(model.graph.outputs)} outputs of {len(outputs)}"
        )
    with silenced():
        inline(model)
        OutputFixPass()(model)
        ClearMetadataAndDocStringPass()(model)
    _restore_inputs(model, inputs, found_inputs)
    for value, name in zip(model.graph.outputs, outputs, strict=True):
        value.name = name
    _complete_outputs(model, outputs, batch)
    _plain_initializers(model, prefix)
    _clear_metadata(model)
    if model.opset_imports.get("", 0) < opset:
        model = raise_opset(model, opset)
    make_unique(model)
    check(model, "capture")
    return model


def raise_opset(model: ir.Model, opset: int) -> ir.Model:
    """A model of a higher opset, by ONNX's converters; the same model if they cannot.

    Raises:
        CaptureError: It stays below `OLDEST_OPSET`.
    """
    from onnxscript import version_converter  # noqa: PLC0415 - heavy, and rarely needed

    before = model.opset_imports.get("", 0)
    for wanted in dict.fromkeys((opset, OLDEST_OPSET)):
        if before >= wanted:
            break
        copy = model.clone()
        try:
            with silenced():
                version_converter.convert_version(copy, wanted, fallback=True)
        except Exception:  # the converters raise what their adapters raise; the next may do
            continue
        if copy.opset_imports.get("", 0) == wanted:
            return copy
    if before < OLDEST_OPSET:
        raise CaptureError(
            f"the graph has opset {before}; quantization needs {OLDEST_OPSET} or above, and ONNX's "
            "converter does not bring it there",
            hint=f"Export the model with opset {opset}.",
        )
    return model


def rename_dimensions(model: ir.Model, names: Mapping[str, str]) -> None:
    """Give symbolic sizes other names wherever a shape mentions them, in place."""
    pattern = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in names) or r"(?!)")
    for graph in model.graphs():
        values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
        for value in values:
            if value.shape is None:
                continue
            dims = [
                d if isinstance(d, int) or d.value is None
                else pattern.sub(lambda match: names[match[0]], d.value)
                for d in value.shape
            ]  # fmt: skip
            value.shape = ir.Shape([d.value if isinstance(d, ir.SymbolicDim) else d for d in dims])


def _restore_inputs(
    model: ir.Model, specs: Sequence[TensorSpec], found: Sequence[ir.Value | None]
) -> None:
    """Every input in order, with its name; those that nothing reads are declared all the same."""
    values = []
    for spec, present in zip(specs, found, strict=True):
        value = present or ir.Value(type=ir.TensorType(ir.DataType.from_numpy(spec.dtype)))
        value.name = spec.name
        value.shape = ir.Shape(spec.shape)
        values.append(value)
    model.graph.inputs.clear()
    model.graph.inputs.extend(values)


def _complete_outputs(
    model: ir.Model, outputs: Mapping[str, Array], batch: tuple[str, int] | None
) -> None:
    """Give outputs of unknown rank or type those that the source returned."""
    known = {d.value for v in model.graph.inputs for d in v.shape or () if not isinstance(d, int)}
    for value, array in zip(model.graph.outputs, outputs.values(), strict=True):
        if value.dtype is None:
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
        shape = value.shape
        if shape is None or len(shape) != array.ndim:
            shape = ir.Shape([None] * array.ndim)
        dims: list[int | str | None] = []
        for axis, dim in enumerate(shape):
            symbol = dim if isinstance(dim, int) else dim.value
            if axis == 0 and batch and symbol not in known and array.shape[0] == batch[1]:
                symbol = batch[0]
            dims.append(symbol if symbol is not None else f"{value.name}_dim{axis}")
        value.shape = ir.Shape(dims)


def _plain_initializers(model: ir.Model, prefix: str) -> None:
    """Names as in the source module, and tensors that need no torch."""
    for graph in model.graphs():
        for name, value in list(graph.initializers.items()):
            plain = name.removeprefix(prefix)
            if plain != name and plain not in graph.initializers:
                value.name = plain
            if value.const_value is not None and type(value.const_value) is not ir.Tensor:
                value.const_value = in_memory(value.const_value)
            if value.const_value is not None:
                value.const_value.name = value.name
    scope = f"/{prefix.removesuffix('.')}/"
    for node in model.graph.all_nodes() if prefix else ():
        node.name = (node.name or "").replace(scope, "/", 1)


def _clear_metadata(model: ir.Model) -> None:
    """Exporters note source lines and paths of the user's machine on nodes and values."""
    model.metadata_props.clear()
    for graph in model.graphs():
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
            value.doc_string = None
        for node in graph:
            for value in node.outputs:
                value.metadata_props.clear()
