"""Whole residual blocks: found, removed, and ranked by what the network's output loses.

Source: Wang and Wu, PRACTISE (arXiv 2202.07861): drop a block, let the one in front of it imitate
what came out behind, and compare by that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import reduce
from operator import and_, or_

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from calibration.dataset import CalibrationSet
from calibration.frontier import Frontier
from calibration.taps import Taps
from compressor.graph.concrete import concrete_shapes
from compressor.graph.invariants import check
from compressor.graph.shapes import infer_shapes, known_shapes
from compressor.graph.tensors import Arrays
from compressor.layerwise.layers import layers_of
from compressor.layerwise.streams import Ancestry
from compressor.pruning.coupling.groups import Grouping
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.system.progress import SILENT, Progress

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


def find_blocks(model: ir.Model, feeds: Arrays | None = None) -> tuple[Block, ...]:
    """The residual blocks of the main graph that can be left out, in order.

    Args:
        model: The model.
        feeds: Inputs that tell all shapes, where the declared ones do not.
    """
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


def without(start: Shortened, block: Block) -> Shortened:
    """Leave a block out: what read the sum reads the block's input.

    Args:
        start: A model, of which `block` is one.
        block: The block.
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
    check(model, "removing a block")
    aims = dict(start.aims)
    behind = aims.pop(block.total, block.total)
    if block.before is not None:
        aims[block.before] = behind
    return Shortened(infer_shapes(model), (*start.removed, block.add), aims)


WALKED = 20_000
"""Nodes that the candidates of one removal have together, at most: each is built and run whole."""
FEWEST = 4
"""Candidates that are tried whatever the size of the graph."""


def likeliest(
    model: ir.Model, blocks: Sequence[Block], data: CalibrationSet, batch: int
) -> list[Block]:
    """The blocks that are worth trying: of a deep graph those that change their stream least.

        change = Σ ‖y - x‖² / Σ ‖y‖²,   y = x + f(x)

    over some samples, in one run (after the "block influence" of Men et al. 2024, arXiv
    2403.03853, section 3.1, which takes the cosine).

    Args:
        model: Their model.
        blocks: All of them.
        data: Bound to its inputs.
        batch: Samples of the run.
    """
    most = max(FEWEST, WALKED // max(len(model.graph), 1))
    if len(blocks) <= most:
        return list(blocks)
    taps = Taps(known_shapes(model.clone()))
    fetched = []
    for block in blocks:
        x, y = taps.values[block.skip], taps.values[block.total]
        for value in (taps.node("Sub", [y, x]), y):
            flat = taps.node("Reshape", [value, taps.integers(-1)])
            fetched.append(taps.output(taps.reduced("ReduceSumSquare", flat, 0)))
    front = Frontier(taps.finished(), data.take(batch), batch=batch, room=0)
    found = next(front.batches(fetched))
    sums = np.array([found[name] for name in fetched], np.float64).reshape(-1, 2)
    changes = sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny)
    chosen = sorted(np.argsort(np.nan_to_num(changes, nan=np.inf), kind="stable")[:most])
    return [blocks[index] for index in chosen]


def shorten(
    original: ir.Model,
    grouping: Grouping,
    data: CalibrationSet,
    count: int,
    how: Repair | None = None,
    progress: Progress = SILENT,
    *,
    leave: Sequence[str] = (),
) -> tuple[Shortened, ...]:
    """Remove blocks one after the other, each time that by which the output loses least.

    In a deep graph only the `likeliest` are candidates. A candidate is judged after the layers
    between the gap and the block before it have been refitted to what the original has behind
    the gap.

    Args:
        original: The whole model.
        grouping: Its groups.
        data: Bound to its inputs.
        count: Blocks to remove, at most.
        how: Options of the repair.
        progress: Told the candidates done.
        leave: Patterns of names whose blocks stay.

    Returns:
        The model without one block, without two, and so on; none of them repaired.
    """
    how = how or Repair()
    current, found = Shortened(original), list[Shortened]()
    for _ in range(count):
        blocks = [
            block
            for block in find_blocks(current.model, data.head(1).inputs)
            if not block.is_left(leave)
        ]
        blocks = likeliest(current.model, blocks, data, how.batch)
        tried = []
        with progress.stage("remove a block", total=len(blocks)) as advance:
            for block in blocks:
                candidate = without(current, block)
                tried.append(_judged(original, candidate, block, grouping, data, how))
                advance(1)
        if not tried:
            break
        current = min(tried, key=lambda one: one.error)
        found.append(current)
    return tuple(found)


def output_error(
    original: ir.Model, candidate: ir.Model, data: CalibrationSet, *, batch: int, threads: int = 0
) -> float:
    """Σ ‖y - y'‖² over all floating outputs, each relative to its variance; their mean.

    Args:
        original: Makes y.
        candidate: Makes y'.
        data: Bound to the inputs.
        batch: Samples per run.
        threads: Threads of the runtime; 0 is all.
    """
    names = [v.name or "" for v in original.graph.outputs if _floating(v)]
    sides = [
        Frontier(model, data, batch=batch, room=0, threads=threads).batches(names)
        for model in (original, candidate)
    ]
    wrong, squares, sums, count = (np.zeros(len(names)) for _ in range(4))
    for one, other in zip(*sides, strict=True):
        for i, name in enumerate(names):
            y = one[name].astype(np.float64)
            wrong[i] += ((y - other[name]) ** 2).sum()
            squares[i] += (y**2).sum()
            sums[i] += y.sum()
            count[i] += y.size
    spread = squares - sums**2 / np.maximum(count, 1)
    return float(np.mean(wrong / np.maximum(spread, np.finfo(np.float64).tiny)))


def _judged(
    original: ir.Model,
    candidate: Shortened,
    block: Block,
    grouping: Grouping,
    data: CalibrationSet,
    how: Repair,
) -> Shortened:
    only = frozenset(_layers_before(candidate.model, block))
    limited = replace(how, aims=candidate.aims, only=only, rounds=0)
    repaired, _ = repair(original, candidate.model, grouping, {}, data, limited)
    error = output_error(original, repaired, data, batch=how.batch, threads=how.threads)
    return replace(candidate, error=error)


def _layers_before(model: ir.Model, block: Block) -> Sequence[str]:
    """The layers of the block in front of a gap, or the one layer that made the stream."""
    values = {v.name: v for node in model.graph for v in node.outputs}
    if block.before is None or block.before not in values:
        return ()
    layers = layers_of(model)
    maker = values[block.before].producer()
    if maker is None or maker.op_type != "Add":
        return [name for name, one in layers.items() if one.output.name == block.before]
    ancestry = Ancestry(model.graph)
    sides = [ancestry.of(value) for value in maker.inputs if value is not None]
    inside = reduce(or_, sides) & ~reduce(and_, sides)
    return [name for name, one in layers.items() if ancestry.has(inside, one.node)]


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


def _floating(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()
