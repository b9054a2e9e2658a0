"""Where a network can be left: values that all that its layers computed so far goes through."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.concrete import Concrete, concrete_shapes
from compressor.graph.cost import node_costs
from compressor.graph.invariants import subgraphs
from compressor.graph.macs import carries_macs
from compressor.graph.tensors import Arrays
from compressor.graph.walks import reads

SAMPLES = 2
"""Of a run that tells shapes: where they lie along the first axis, that is of this size."""
EARLIEST, LATEST = 0.05, 0.95
"""Share of the multiply-accumulates before which nothing is known, and behind which nothing is
saved."""
GRIDS = (4, 2, 1)
"""Fields along each side of a picture that are averaged by themselves."""
MOST_FEATURES = 512
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Cut:
    """The end of a block.

    Attributes:
        value: Its name; samples lie along its first axis.
        share: Of the multiply-accumulates, that are done there.
        channels_last: Whether the last axis holds channels, as of tokens, and not the second.
        grid: Fields along each side that a picture is averaged in.
        features: Numbers of a sample that are left of it then.
    """

    value: str
    share: float
    channels_last: bool
    grid: int
    features: int


def find_cuts(model: ir.Model, feeds: Arrays) -> list[Cut]:
    """The ends of blocks, in order: one behind every layer where no other value goes on.

    What no layer computed, as masks of tokens, may go on beside it. Of several values between two
    layers the last float one is taken: behind activation and norm.

    Args:
        model: A float or quantized graph.
        feeds: Inputs of two samples, or as many as are baked in.
    """
    concrete = concrete_shapes(model, feeds, SAMPLES)
    costs = [cost.macs or 0 for cost in node_costs(model, SAMPLES, feeds)]
    nodes, total = list(concrete.model.graph), sum(costs)
    if not total:
        return []
    sized = len(next(iter(feeds.values()))) if feeds else SAMPLES
    found: dict[int, Cut] = {}
    done, layer, kinds = 0, -1, [node.op_type for node in nodes]
    layers = [index for index, node in enumerate(nodes) if carries_macs(node)]
    for index, (node, value) in enumerate(_alone(nodes)):
        done += costs[index]
        layer = index if carries_macs(node) else layer
        if value is None or layer < 0 or not EARLIEST <= done / total <= LATEST:
            continue
        behind = next((kinds[i] for i in layers if i > index), "")
        convolved = "Conv" in (kinds[layer], behind)
        cut = _cut(value, concrete, done / total, sized, convolved=convolved)
        if cut is not None:
            found[layer] = cut
    return list(found.values())


def _alone(nodes: Sequence[ir.Node]) -> list[tuple[ir.Node, ir.Value | None]]:
    """Each node, with the one value of layers that goes on behind it; None where more do."""
    last = {value: place for place, node in enumerate(nodes) for value in reads(node)}
    last |= {v: len(nodes) for node in nodes for v in node.outputs if v.is_graph_output()}
    deep: set[ir.Value] = set()
    live: set[ir.Value] = set()
    found: list[tuple[ir.Node, ir.Value | None]] = []
    for place, node in enumerate(nodes):
        if carries_macs(node) or any(value in deep for value in reads(node)):
            deep.update(node.outputs)
            live.update(node.outputs)
        live = {value for value in live if last.get(value, -1) > place}
        found.append((node, next(iter(live)) if len(live) == 1 else None))
    return found


def _cut(
    value: ir.Value, concrete: Concrete, share: float, samples: int, *, convolved: bool
) -> Cut | None:
    """A cut at a value, if it is one of features of every sample."""
    shape, maker = concrete.shapes.get(value.name or ""), value.producer()
    if shape is None or len(shape) not in (2, 3, 4) or shape[0] != samples or maker is None:
        return None
    if maker.op_type in _QUANTIZING or value.dtype not in (ir.DataType.FLOAT, None):
        return None
    last = not convolved or len(shape) == 2
    channels = shape[-1] if last else shape[1]
    grid = _grid(concrete.model, shape) if not last and len(shape) == 4 else 1
    return Cut(value.name or "", share, last, grid, channels * grid * grid)


def _grid(model: ir.Model, shape: tuple[int, ...]) -> int:
    """The finest grid that divides a picture, of sizes that no call changes."""
    sizes = [size for one in model.graph.inputs for size in list(one.shape or ())[1:]]
    if not all(isinstance(size, int) for size in sizes):
        return 1
    _, channels, height, width = shape
    fits = (
        grid
        for grid in GRIDS
        if height % grid == 0 and width % grid == 0 and channels * grid * grid <= MOST_FEATURES
    )
    return next(fits, 1)


def why_not_branched(model: ir.Model) -> str | None:
    """Why a graph gets no exits whatever they would gain; None where it may."""
    outputs = model.graph.outputs
    if len(outputs) != 1:
        return f"an exit answers one output, and the graph has {len(outputs)}"
    if outputs[0].dtype not in (ir.DataType.FLOAT, None):
        return f"an exit answers in float32, and the output is {outputs[0].dtype}"
    if outputs[0].producer() is None:
        return "no layer computes the output"
    if any(True for node in model.graph for _ in subgraphs(node)):
        return "the graph branches or loops already"
    return None
