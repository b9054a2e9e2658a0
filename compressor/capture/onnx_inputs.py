"""The inputs of an ONNX model: samples bound to them, and how their open sizes are related."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from compressor.capture.choice import asked, bind_samples, check_declared, declared_relations
from compressor.capture.inputs import Inputs, named, sized
from compressor.errors import CaptureError, GraphError
from compressor.graph.noise import drawing_nodes
from compressor.graph.shapes import input_specs
from compressor.graph.sizes import names_in, parse_size
from compressor.graph.tensors import Array, TensorSpec


def inputs_of(
    model: ir.Model,
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
    what: str,
) -> Inputs:
    """The model's own inputs with samples bound to them, else with sizes that are declared.

    Raises:
        CaptureError: It takes nothing and draws nothing, or takes text; or they do not fit.
    """
    try:
        specs = tuple(named(spec) for spec in input_specs(model))
    except GraphError as error:
        raise CaptureError(f"{what}: {error.message}") from error
    if not specs and not drawing_nodes(model):
        raise CaptureError(f"{what} has no inputs, and draws nothing: it is a constant")
    if any(spec.dtype.kind == "O" for spec in specs):
        raise CaptureError(f"{what} takes text: {', '.join(map(str, specs))}")
    declared = check_declared(specs, declared, what)
    specs = tuple(declared_relations(specs, declared))
    if examples:
        return sized(specs, bind_samples(specs, examples, what))
    return asked(sized(specs, {}), declared)


def related_specs(model: ir.Model, inputs: Inputs) -> list[TensorSpec] | None:
    """The inputs with sums, and multiples of the batch, for names that say nothing; else None."""
    before = {spec.name: spec for spec in input_specs(model)}
    if (told_unnamed := _several_of_unnamed(before, inputs)) is not None:
        return told_unnamed
    batch = inputs.batch_symbol if inputs.batch_symbol in names_in(before.values()) else None
    told = {
        ours: theirs
        for spec in inputs.specs
        for ours, theirs in zip(before[spec.name].shape, spec.shape, strict=True)
        if isinstance(ours, str) and isinstance(theirs, str) and ours != theirs
        if "+" in theirs or _is_multiple(theirs, batch)
    }
    if not told:
        return None
    return [
        replace(spec, shape=tuple(told.get(d, d) if isinstance(d, str) else d for d in spec.shape))
        for spec in before.values()
    ]


def _several_of_unnamed(
    before: Mapping[str, TensorSpec], inputs: Inputs
) -> list[TensorSpec] | None:
    """The inputs as they are known, where sizes without names are multiples of the batch."""
    batch = inputs.batch_symbol
    pairs = [
        (ours, theirs)
        for spec in inputs.specs
        for ours, theirs in zip(before[spec.name].shape, spec.shape, strict=True)
    ]
    unnamed = [theirs for ours, theirs in pairs if ours is None and isinstance(theirs, str)]
    if batch is None or not any(_is_multiple(size, batch) for size in unnamed):
        return None
    return [
        replace(
            spec,
            shape=tuple(
                theirs if ours is None else ours
                for ours, theirs in zip(before[spec.name].shape, spec.shape, strict=True)
            ),
        )
        for spec in inputs.specs
    ]


def _is_multiple(size: str, batch: str | None) -> bool:
    return size != batch and [names for names, _ in parse_size(size).terms] == [(batch,)]
