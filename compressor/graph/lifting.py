"""Noise as an input: what a graph draws inside is drawn outside, and put back at the end.

Two runs of a graph that draws differ, and so do two graphs that should be equal. With the numbers
as an input both see the same ones, and whatever is compared is compared exactly. What is drawn is
standard (mean 0 and variance 1, or uniform from 0 to 1), and what makes of it what the operator
would have drawn becomes part of the graph, where it may be folded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compressor.graph.constants import constant
from compressor.graph.drawing_forms import Builder, DrawingForm, form_of
from compressor.graph.draws import Draw
from compressor.graph.initializers import FreeNames, add_initializer, free_name, names_beside
from compressor.graph.inlining import inline
from compressor.graph.invariants import subgraphs
from compressor.graph.names import make_unique
from compressor.graph.noise import FOLLOWS, drawing_nodes, draws
from compressor.graph.shapes import infer_shapes, shape_of
from compressor.graph.sizes import SymbolicSize, names_in, parse_size
from compressor.graph.tensors import Dimension, TensorSpec

_TURNS = frozenset({"Loop", "Scan"})
_OF_A_SIZE = frozenset({"ConstantOfShape", "Constant", "Expand"})


@dataclass(frozen=True)
class DrawnInput:
    """The random numbers of one node, as an input of the graph.

    Attributes:
        spec: The input; names in its shape are sizes of the other inputs.
        draw: Which numbers it takes.
        node: The node, as the model called it.
        operator: Operator of the node.
        seed: What it was seeded with, if it was.
    """

    spec: TensorSpec
    draw: Draw
    node: str
    operator: str
    seed: float | None = None

    @property
    def words(self) -> str:
        """What it was, for messages: `RandomNormalLike '/eps'`."""
        return f"{self.operator} {self.node!r}"


@dataclass(frozen=True)
class Lifted:
    """A graph whose noise is an input, as far as that can be.

    Attributes:
        model: The graph; the given one where nothing was lifted.
        noises: What became inputs.
        inside: Node that still draws → why.
    """

    model: ir.Model
    noises: tuple[DrawnInput, ...]
    inside: Mapping[str, str]


def drawing(model: ir.Model) -> Iterator[tuple[ir.Node, str | None]]:
    """The nodes of a graph and of its bodies that draw something that is read.

    Yields:
        Each, and why it cannot be made an input for where it is; None where it can.
    """
    waiting: list[tuple[ir.Graph, ir.Node | None]] = [(model.graph, None)]
    while waiting:
        graph, turn = waiting.pop()
        for node in graph:
            inner = turn or (node if node.op_type in _TURNS else None)
            waiting += [(body, inner) for body in subgraphs(node)]
            if draws(node) and any(v.uses() or v.is_graph_output() for v in node.outputs):
                yield node, None if turn is None else _drawn_anew(turn)


def flat(model: ir.Model) -> ir.Model:
    """A model that draws, inlined, without what nothing reads, shapes known; else as it is."""
    if not drawing_nodes(model):
        return model
    copy = model.clone()
    if any(draws(node) for f in copy.functions.values() for node in f.all_nodes()):
        inline(copy)
        make_unique(copy)
    RemoveUnusedNodesPass()(copy)
    return infer_shapes(copy)


def lift(
    model: ir.Model,
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, tuple[Dimension, ...] | None],
    *,
    inverted: bool = False,
) -> Lifted:
    """Make what nodes draw inputs.

    Args:
        model: Flat; stays as it is.
        specs: Types and shapes of its inputs, with a name for every open size.
        shapes: Drawing node → what it draws the size of, in the names of `specs`; None where that
            follows from none of them.
        inverted: Whether Bernoulli is 1 with the probability 1 - p, see `form_of`.
    """
    copy = model.clone()
    opset = copy.opset_imports.get("", 0)
    inside, ready = dict[str, str](), list[tuple[ir.Node, DrawingForm, tuple[Dimension, ...]]]()
    for node, reason in drawing(copy):
        form = reason or form_of(node, opset, inverted=inverted)
        shape = shapes.get(node.name or "")
        if isinstance(form, str):
            inside[node.name or ""] = form
        elif shape is None or not set(names_in([_spec("", form, shape)])) <= _plain(specs):
            inside[node.name or ""] = "its size follows from no size of an input"
        else:
            ready.append((node, form, shape))
    if not ready:
        return Lifted(model, (), inside)
    _free_names([node for node, _, _ in ready])
    noises = []
    for number, (node, form, shape) in enumerate(ready):
        name = free_name(copy.graph, "noise" if len(ready) == 1 else f"noise_{number}")
        spec = _spec(name, form, shape)
        seed = node.attributes.get("seed")
        seeded = None if seed is None else float(seed.value)
        noises.append(
            DrawnInput(spec, Draw(form.kind, number), node.name or "", node.op_type, seeded)
        )
        _replace(copy, node, form, spec, opset)
    RemoveUnusedNodesPass()(copy)
    make_unique(copy)
    infer_shapes(copy)
    return Lifted(copy, tuple(noises), inside)


def put_back(model: ir.Model, noises: Sequence[DrawnInput]) -> ir.Model:
    """The graph that draws its own noise; the model stays as it is.

    A node of the standard distribution takes the place of each input, of the sizes that the other
    inputs have.

    Args:
        model: What became of a lifted graph: its inputs have kept their names.
        noises: What was lifted.
    """
    if not noises:
        return model
    copy = model.clone()
    graph = copy.graph
    by_name = {noise.spec.name: noise for noise in noises}
    values = [value for value in graph.inputs if value.name in by_name]
    others = [value for value in graph.inputs if value.name not in by_name]
    for value in values:
        graph.inputs.remove(value)
    sizes = _Sizes(graph, others)
    for value in values:
        noise = by_name[value.name or ""]
        spec, left = _narrowed(noise.spec, value)
        if left.uses() or left.is_graph_output():
            node = _drawn(noise, spec, sizes)
            made = node.outputs[0]
            ir.convenience.replace_all_uses_with(left, made, replace_graph_outputs=True)
            made.name, made.type, made.shape = noise.spec.name, left.type, ir.Shape(spec.shape)
            sizes.made.append(node)
    if len(graph):
        graph.insert_before(graph[0], sizes.made)
    else:
        graph.extend(sizes.made)
    RemoveUnusedNodesPass()(copy)
    return copy


def _narrowed(spec: TensorSpec, value: ir.Value) -> tuple[TensorSpec, ir.Value]:
    """What is left of noise of which pruning keeps some positions: these alone are drawn."""
    shape = list(spec.shape)
    while len(uses := value.uses()) == 1 and not value.is_graph_output():
        ((node, place),) = uses
        index = constant(node.inputs[1]) if node.op_type == "Gather" else None
        axis = node.attributes.get_int("axis", 0)
        if place or index is None or not isinstance(shape[axis], int):
            break
        kept = index.numpy()
        if kept.ndim != 1 or len(np.unique(kept)) != kept.size:
            break
        shape[axis], value = int(kept.size), node.outputs[0]
    return replace(spec, shape=tuple(shape)), value


def _drawn(noise: DrawnInput, spec: TensorSpec, sizes: "_Sizes") -> ir.Node:
    """The node that draws it."""
    operator = f"Random{noise.draw.kind.capitalize()}"
    dtype = int(ir.DataType.from_numpy(spec.dtype))
    attributes: dict[str, ir.Attr] = {"dtype": ir.AttrInt64("dtype", dtype)}
    if noise.seed is not None:
        attributes["seed"] = ir.AttrFloat32("seed", noise.seed)
    fixed = [d for d in spec.shape if isinstance(d, int)]
    inputs: list[ir.Value] = []
    if len(fixed) == len(spec.shape):
        attributes["shape"] = ir.AttrInt64s("shape", fixed)
    else:
        operator += "Like"
        inputs.append(sizes.like(spec))
    return ir.Node("", operator, inputs, attributes.values(), name=sizes.name(noise.node))


class _Sizes:
    """Makes values of sizes that are given by those of a graph's inputs."""

    def __init__(self, graph: ir.Graph, inputs: Sequence[ir.Value]) -> None:
        self.made: list[ir.Node] = []
        self._graph, self._inputs = graph, inputs
        self._names = FreeNames(node.name for node in graph.all_nodes())
        self._values = names_beside(graph)
        self._known: dict[str, ir.Value] = {}

    def name(self, wanted: str) -> str:
        """A name that no node bears."""
        return self._names.take(wanted)

    def like(self, spec: TensorSpec) -> ir.Value:
        """A value of these sizes: an input where one is so, else zeros."""
        for value in self._inputs:
            if shape_of(value) == spec.shape:
                return value
        sizes = [self._dimension(dim) for dim in spec.shape]
        shape = sizes[0] if len(sizes) == 1 else self._op("Concat", *sizes, axis=0)
        return self._op("ConstantOfShape", shape)

    def _dimension(self, dim: Dimension) -> ir.Value:
        text = str(dim)
        if text not in self._known:
            found = self._axis(text) if isinstance(dim, str) else None
            self._known[text] = found or self._sum(parse_size(dim or 0))
        return self._known[text]

    def _axis(self, name: str) -> ir.Value | None:
        """The size of the first axis that is called so."""
        for value in self._inputs:
            for axis, dim in enumerate(shape_of(value) or ()):
                if _called(dim, axis, value.name or "") == name:
                    shape = self._op("Shape", value)
                    return self._op("Gather", shape, self._integer(axis), axis=0)
        return None

    def _sum(self, size: SymbolicSize) -> ir.Value:
        total: ir.Value | None = None
        for names, factor in size.terms:
            term = self._integer(factor) if factor != 1 or not names else None
            for name in names:
                other = self._dimension(name)
                term = other if term is None else self._op("Mul", term, other)
            assert term is not None, "a term has a factor or a name"
            total = term if total is None else self._op("Add", total, term)
        return self._integer(0) if total is None else total

    def _integer(self, number: int) -> ir.Value:
        name = f"noise/size_{number}"
        if name not in self._known:
            self._known[name] = add_initializer(
                self._graph, free_name(self._graph, name), np.asarray([number], np.int64)
            )
        return self._known[name]

    def _op(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        node = ir.node(op_type, inputs, attributes, name=self.name(f"noise/{op_type}"))
        node.outputs[0].name = self._values.take(f"{node.name}_output")
        self.made.append(node)
        return node.outputs[0]


def _called(dim: Dimension, axis: int, name: str) -> Dimension:
    """What a size without a name is called, as everywhere."""
    if dim is not None:
        return dim
    return f"{name}_dim{axis}" if axis else "batch"


def _plain(specs: Sequence[TensorSpec]) -> set[str]:
    """The names that are the size of some axis as they stand."""
    return {dim for spec in specs for dim in spec.shape if isinstance(dim, str)}


def _free_names(nodes: Sequence[ir.Node]) -> None:
    """Inputs of a graph that noise was put back into are called as they were."""
    for node in nodes:
        value = node.outputs[0]
        if (value.name or "").startswith("noise") and not value.is_graph_output():
            value.name = f"{node.name}/drawn"


def _spec(name: str, form: DrawingForm, shape: tuple[Dimension, ...]) -> TensorSpec:
    return TensorSpec(name, np.dtype(form.dtype.numpy()), shape)


def _is_computed(like: ir.Value | None) -> bool:
    """Whether a value is one that the graph computes, and not zeros of a size that was asked for.

    Noise of its size shrinks with it: where channels are pruned, what is drawn for them goes.
    """
    made_by = None if like is None else like.producer()
    return made_by is not None and made_by.op_type not in _OF_A_SIZE


def _drawn_anew(turn: ir.Node) -> str:
    return f"it is in the body of the {turn.op_type} {turn.name!r}, which draws anew in every turn"


def _replace(
    copy: ir.Model, node: ir.Node, form: DrawingForm, spec: TensorSpec, opset: int
) -> None:
    """An input and what makes of it what the node computes, in the place of the node."""
    drawn = ir.Value(name=spec.name, shape=ir.Shape(spec.shape), type=ir.TensorType(form.dtype))
    if _is_computed(form.like):
        drawn.metadata_props[FOLLOWS] = node.name or ""
    copy.graph.inputs.append(drawn)
    build = Builder(node, copy.graph, opset)
    found = form.compute(build, drawn)
    graph = node.graph
    assert graph is not None, "the node is in a graph"
    pairs = [(old, new) for old, new in zip(node.outputs, found, strict=True) if new is not None]
    ir.convenience.replace_nodes_and_values(
        graph, node, [node], build.made, [old for old, _ in pairs], [new for _, new in pairs]
    )
