"""Whole residual blocks: found, and left out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compressor.graph.concrete import concrete_shapes
from compressor.graph.invariants import check
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Arrays
from compressor.layerwise.streams import Ancestry

_PASSING = frozenset({"Relu", "Identity"})


@dataclass(frozen=True)
class Block:
    """A residual Add whose one side is the block's input.

    Attributes:
        add: Name of the Add, which is the block's, too.
        total: The sum.
        skip: The block's input.
        before: What the stream was in front of the activation that made `skip`, where nothing
            but this block reads it: what the layers before the gap can repair.
        names: Names of the nodes, values and initializers that go with it.
    """

    add: str
    total: str
    skip: str
    before: str | None
    names: frozenset[str] = frozenset()

    def is_left(self, patterns: Sequence[str]) -> bool:
        """Whether any of its names matches one of the patterns of what stays whole."""
        return any(fnmatchcase(name, pattern) for pattern in patterns for name in self.names)


@dataclass(frozen=True)
class Shortened:
    """A model without some of its blocks.

    Attributes:
        model: What is left.
        removed: Names of the blocks, in the order of removal.
        aims: Value before a gap → value of the original behind it, for `Repair.aims`.
        error: Error at the outputs after a repair of the layers before the last gap, relative to
            their variance; 0 for the whole model.
    """

    model: ir.Model
    removed: tuple[str, ...] = ()
    aims: Mapping[str, str] = field(default_factory=dict)
    error: float = 0.0


Shapes = Mapping[str, tuple[int, ...]]
"""Of values, by name."""


def find_blocks(
    model: ir.Model, feeds: Arrays | None = None, shapes: Shapes | None = None
) -> tuple[Block, ...]:
    """The residual blocks of the main graph that can be left out, in order.

    Args:
        model: The model.
        feeds: Inputs that tell all shapes, where the declared ones do not.
        shapes: These shapes, where they are known; leaving out blocks changes none.
    """
    if shapes is None:
        shapes = concrete_shapes(model, feeds, 1).shapes
    found, ancestry = [], Ancestry(model.graph)
    for node in model.graph:
        if node.op_type != "Add" or node.outputs[0].is_graph_output():
            continue
        for skip, branch in (tuple(node.inputs), tuple(reversed(node.inputs))):
            if skip is None or branch is None or not _is_block(skip, branch, ancestry):
                continue
            same = shapes.get(skip.name or "") == shapes.get(node.outputs[0].name or "")
            if same and skip.name in shapes:
                inside = ancestry.of(branch) & ~ancestry.of(skip)
                names = _names((node, *ancestry.nodes(inside)))
                add, total = node.name or "", node.outputs[0].name or ""
                before = _before(skip, node, ancestry)
                found.append(Block(add, total, skip.name or "", before, names))
    return tuple(found)


def without(start: Shortened, block: Block, *, draft: bool = False) -> Shortened:
    """Leave a block out: what read the sum reads the block's input.

    Args:
        start: A model, of which `block` is one.
        block: The block.
        draft: Whether the graph is only tried: then it is not checked, in a fifth of the time.
    """
    model = start.model.clone()
    values = {v.name: v for node in model.graph for v in node.outputs}
    values |= {v.name: v for v in model.graph.inputs}
    skip, total = values[block.skip], values[block.total]
    total.replace_all_uses_with(skip)
    maker = skip.producer()
    if maker is not None and maker.op_type == "Relu":
        for again in [node for node in skip.consumers() if node.op_type == "Relu"]:
            if not again.outputs[0].is_graph_output():
                again.outputs[0].replace_all_uses_with(skip)
    RemoveUnusedNodesPass()(model)
    if not draft:
        check(model, "removing a block")
        model = infer_shapes(model)
    aims = dict(start.aims)
    behind = aims.pop(block.total, block.total)
    if block.before is not None:
        aims[block.before] = behind
    return Shortened(model, (*start.removed, block.add), aims)


def _is_block(skip: ir.Value, branch: ir.Value, ancestry: Ancestry) -> bool:
    """Whether a branch starts from a value, and nothing else that a block needs stays behind."""
    if skip is branch or skip.is_initializer() or branch.is_initializer():
        return False
    inside = ancestry.of(branch) & ~ancestry.of(skip)
    return any(ancestry.has(inside, node) for node in skip.consumers())


def _names(nodes: Iterable[ir.Node]) -> frozenset[str]:
    """Names of nodes, of what they write, and of the initializers that they read."""
    names = set[str]()
    for node in nodes:
        read = [v for v in node.inputs if v is not None and v.is_initializer()]
        names |= {node.name or "", *(v.name or "" for v in (*node.outputs, *read))}
    return frozenset(names)


def _before(skip: ir.Value, add: ir.Node, ancestry: Ancestry) -> str | None:
    """The stream in front of the block's activation, when only this block depends on it."""
    inside = ancestry.of(add.outputs[0])
    value = skip
    if any(not ancestry.has(inside, node) for node in value.consumers()) or value.is_graph_output():
        return None
    while (maker := value.producer()) is not None and maker.op_type in _PASSING:
        value = maker.inputs[0] or value
        if len(value.uses()) != 1 or value.is_graph_output():
            return None
    return value.name if maker is not None else None
