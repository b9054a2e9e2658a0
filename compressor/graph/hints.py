"""Shapes and types that a file notes inside its graph are hints: what runs is the judge.

Editors and exporters leave notes that contradict the graph, write unknown sizes as -1 or as `?`
everywhere, and leave out what ONNX cannot infer, such as the types of contrib operators.
"""

from collections.abc import Iterable, Iterator, Sequence

import onnx_ir as ir

from compressor.errors import CompressorError
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes, shape_of
from compressor.graph.tensors import Dimension

_UNKNOWN = frozenset({"", "?", "-1", "None", "none", "unknown"})
"""Names of sizes that say no more than that a size is open: equal ones are no relation."""

_TYPES = {
    "float": ir.DataType.FLOAT,
    "double": ir.DataType.DOUBLE,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
    "bool": ir.DataType.BOOL,
    "string": ir.DataType.STRING,
    **{f"int{bits}": ir.DataType[f"INT{bits}"] for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": ir.DataType[f"UINT{bits}"] for bits in (8, 16, 32, 64)},
}
"""How the runtime names types."""


def settle_hints(model: ir.Model) -> tuple[str, ...]:
    """Bring what a graph notes of its values in line with what it computes, in place.

    Sizes below zero and sizes called `?` become open sizes of their own. Where any noted shape
    contradicts the one that follows from the inputs, none is trusted. Types that ONNX cannot tell
    are asked of the runtime.

    Returns:
        What the user should know.
    """
    _open_sizes(model)
    stale = _contradiction(model)
    if stale is not None:
        for value in _written(model):
            if not value.is_graph_output():
                value.shape = None
    infer_shapes(model)
    _ask_types(model)
    return () if stale is None else (stale,)


def fit_outputs(model: ir.Model, shapes: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """Open the sizes that outputs are declared with and did not have in a run, in place.

    Args:
        model: The model.
        shapes: Shapes of its outputs in a run, in order; empty ones count as well.

    Returns:
        What the user should know.
    """
    said = []
    for value, shape in zip(model.graph.outputs, shapes, strict=True):
        declared = shape_of(value)
        if declared is None or not _contradict(declared, shape):
            continue
        same_rank = len(declared) == len(shape)
        fitted = [
            size if same_rank and not (isinstance(size, int) and size != found) else None
            for size, found in zip(declared if same_rank else shape, shape, strict=True)
        ]
        value.shape = ir.Shape(fitted)
        said.append(
            f"the output {value.name!r} is declared with the shape {_told(declared)} and comes "
            f"with {list(shape)}: the sizes that differ were left open"
        )
    return tuple(said)


def _open_sizes(model: ir.Model) -> None:
    inputs = (value for graph in model.graphs() for value in graph.inputs)
    for value in (*inputs, *_written(model), *model.graph.outputs):
        if value.shape is None:
            continue
        sizes = shape_of(value) or ()
        if sizes != opened(sizes):
            value.shape = ir.Shape(opened(sizes))


def opened(sizes: Iterable[Dimension]) -> tuple[Dimension, ...]:
    """Sizes with those below zero, or with a name that says no more than that, as open ones."""
    return tuple(None if _is_open(size) else size for size in sizes)


def _is_open(size: int | str | None) -> bool:
    return size is None or (size < 0 if isinstance(size, int) else size.strip() in _UNKNOWN)


def _contradiction(model: ir.Model) -> str | None:
    """What contradicts the graph, with outputs that do brought in line; None if nothing does."""
    fresh = model.clone()
    for value in _written(fresh):
        value.shape = None
    infer_shapes(fresh)
    said: str | None = None
    for value, inferred in zip(_written(model), _written(fresh), strict=True):
        noted, follows = shape_of(value), shape_of(inferred)
        if noted is None or follows is None or not _contradict(noted, follows):
            continue
        said = said or (
            f"the file notes the shape {_told(noted)} for {value.name!r}, and {_told(follows)} "
            "follows from the graph: its shapes were taken for hints, and found anew"
        )
        if value.is_graph_output():
            value.shape = ir.Shape(follows)
    return said


def _contradict(one: Sequence[int | str | None], other: Sequence[int | str | None]) -> bool:
    """Whether two shapes cannot be of one value."""
    if len(one) != len(other):
        return True
    pairs = zip(one, other, strict=True)
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)


def _told(shape: Sequence[int | str | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _written(model: ir.Model) -> Iterator[ir.Value]:
    for node in model.graph.all_nodes():
        yield from node.outputs


def _ask_types(model: ir.Model) -> None:
    """Ask the runtime for types, and shapes, of what inference could not tell."""
    missing = [v for node in model.graph for v in node.outputs if v.name and v.type is None]
    if not missing:
        return
    copy = model.clone()
    named = {value.name: value for node in copy.graph for value in node.outputs}
    known = {value.name for value in copy.graph.outputs}
    asked = [value for value in missing if value.name not in known]
    copy.graph.outputs.extend(named[value.name] for value in asked)
    try:
        session = open_session(copy, optimize=False)
    except CompressorError:
        return  # a model that cannot be loaded is refused where it is run
    told = {argument.name: argument for argument in session.get_outputs()}
    for value in missing:
        argument = told[value.name]
        kind = argument.type.removeprefix("tensor(").removesuffix(")")
        if kind not in _TYPES:
            continue
        value.type = ir.TensorType(_TYPES[kind])
        if value.shape is None and argument.shape is not None:
            value.shape = ir.Shape(
                [d if isinstance(d, int | str) else None for d in argument.shape]
            )
