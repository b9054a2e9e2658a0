"""Concrete shapes of a graph's values for given inputs: inferred where possible, else measured.

Inference alone does not do on exported transformers, whose Reshape and Expand read computed
shapes; a run alone costs a pass through the model. So what inference leaves open is found by one
run of the graph with a Shape node on each open value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.errors import CompressorError
from compressor.graph.batch import BatchAxis, batch_axes, batch_symbol, rows_of
from compressor.graph.chatter import silenced
from compressor.graph.inlining import inline
from compressor.graph.names import make_unique
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs, shape_of, with_input_shapes
from compressor.graph.tensors import Array, Arrays, TensorSpec

Inputs = Arrays | Sequence[TensorSpec] | None


@dataclass(frozen=True)
class Concrete:
    """A model with functions inlined, and the shapes of its values for one run.

    Attributes:
        model: A copy whose nodes are those the shapes belong to.
        shapes: Value name → shape, of the main graph and what is constant.
        reason: Why shapes are missing, when some are.
    """

    model: ir.Model
    shapes: Mapping[str, tuple[int, ...]]
    reason: str | None = None


def concrete_shapes(model: ir.Model, inputs: Inputs = None, batch: int = 1) -> Concrete:
    """Shapes of every value when the model runs on the given inputs.

    Args:
        model: The model; stays as it is.
        inputs: Arrays to run on, of which the first `batch` samples are taken; or specifications,
            whose leading symbolic size is `batch`; or nothing, for those of the model's inputs.
        batch: Leading size of inputs whose leading size is symbolic in the model.
    """
    with silenced():
        inlined = model.clone()
        inline(inlined)
    specs = {spec.name: spec for spec in input_specs(inlined)}
    feeds = _arrays(inputs, specs, batch)
    given = _given(inputs, specs, feeds, batch)
    inferred = with_input_shapes(inlined, given)
    shapes = _known(inferred)
    missing = [value for value in _values(inferred.graph) if value.name not in shapes]
    if not missing:
        return Concrete(inferred, shapes)
    open_input = next((s for s in given if any(not isinstance(d, int) for d in s.shape)), None)
    if open_input is not None:
        return Concrete(inferred, shapes, f"the shape of the input {open_input} is not known")
    try:
        measured = _measure(inferred, missing, feeds or _zeros(given))
    except CompressorError as error:
        return Concrete(inferred, shapes, f"a run to measure shapes failed: {error.message}")
    return Concrete(inferred, {**shapes, **measured})


def _arrays(inputs: Inputs, specs: Mapping[str, TensorSpec], batch: int) -> dict[str, Array] | None:
    if not isinstance(inputs, Mapping):
        return None
    wanted = list(specs.values())
    axes = batch_axes(wanted) if batch_symbol(wanted) else {}
    counts = (inputs[n].shape[a.axis] // a.multiple for n, a in axes.items() if a and n in inputs)
    samples = next(counts, batch)
    return dict(inputs) if samples == batch else rows_of(inputs, axes, slice(batch), samples)


def _given(
    inputs: Inputs,
    specs: Mapping[str, TensorSpec],
    feeds: Mapping[str, Array] | None,
    batch: int,
) -> list[TensorSpec]:
    if feeds is not None:
        return [TensorSpec(n, a.dtype, tuple(a.shape)) for n, a in feeds.items() if n in specs]
    given = {s.name: s for s in inputs or () if isinstance(s, TensorSpec)}
    wanted = [given.get(name, spec) for name, spec in specs.items()]
    axes = batch_axes(wanted) if batch_symbol(wanted) else {}
    return [_with_batch(spec, axes.get(spec.name), batch) for spec in wanted]


def _with_batch(spec: TensorSpec, lies: BatchAxis | None, batch: int) -> TensorSpec:
    if lies is None:
        return spec
    shape = list(spec.shape)
    shape[lies.axis] = lies.multiple * batch
    return TensorSpec(spec.name, spec.dtype, tuple(shape))


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    for node in graph:
        for value in node.outputs:
            if value.name:
                yield value


def _known(model: ir.Model) -> dict[str, tuple[int, ...]]:
    shapes = {}
    constants = [value for graph in model.graphs() for value in graph.initializers.values()]
    for value in [*model.graph.inputs, *constants, *_values(model.graph)]:
        tensor = value.const_value
        shape = shape_of(value) if tensor is None else tuple(tensor.shape.numpy())
        if shape is not None and all(isinstance(size, int) for size in shape):
            shapes[value.name or ""] = tuple(int(size) for size in shape)  # type: ignore[arg-type]
    return shapes


def _zeros(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    # Zeros are valid indices, masks and lengths nearly everywhere; only shapes are read off.
    return {s.name: np.zeros([int(d or 0) for d in s.shape], s.dtype) for s in specs}


def _measure(
    model: ir.Model, missing: Sequence[ir.Value], feeds: Mapping[str, Array]
) -> dict[str, tuple[int, ...]]:
    copy = model.clone()
    wanted = {value.name for value in missing}
    probes: dict[str, str] = {}
    for value in list(_values(copy.graph)):
        if value.name in wanted and not isinstance(value.type, ir.SequenceType | ir.OptionalType):
            node = ir.node("Shape", [value])
            copy.graph.append(node)
            node.outputs[0].name = f"shape of {value.name}"
            node.outputs[0].type = ir.TensorType(ir.DataType.INT64)
            probes[node.outputs[0].name] = value.name or ""
            copy.graph.outputs.append(node.outputs[0])
    if not probes:  # and a run that is asked for no outputs returns all of them
        return {}
    make_unique(copy)
    session = open_session(copy, optimize=False)
    try:
        results = session.run(list(probes), dict(feeds))
    except Exception as error:  # the runtime raises its own classes, unrelated to each other
        raise CompressorError(str(error)) from error
    return {
        name: tuple(int(size) for size in shape)
        for name, shape in zip(probes.values(), results, strict=True)
    }
