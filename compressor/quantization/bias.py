"""Bias correction: gives every output channel of an integer layer the mean that it has in float.

    b_c += E[y_c] - E[y_q,c]

Rounding and clipping do not only scatter the outputs of a layer, they shift the mean of a channel,
and what is shifted adds up over layers. The shift is known from data and costs nothing to undo
(Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction",
section 4.2; with data in place of assumed distributions, as in its appendix D).

Layers are corrected in topological order, so that each is measured behind corrected predecessors.
Only the sums of the channels are kept, whatever the number of samples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.collect import fitting_batch, layout_of
from calibration.dataset import CalibrationSet
from calibration.frontier import Frontier
from calibration.gaps import without_gaps
from calibration.scheme import FloatArray
from calibration.taps import Taps
from compressor.errors import RecipeError
from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, names_beside
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes
from compressor.graph.walks import reads
from compressor.quantization.graph import QDQ, consumers

Means = npt.NDArray[np.float64]

_STORED = np.dtype("<f4")
MEMORY = 10**9
"""Bytes that may be taken beside the model, unless told otherwise."""


def correct(  # noqa: PLR0913 - what is corrected, and how it may be run
    model: ir.Model,
    quantized: ir.Model,
    integer: Sequence[str],
    data: CalibrationSet,
    *,
    batch: int = 32,
    memory: int | None = None,
    integers: bool = True,
    expired: Callable[[], bool] = lambda: False,
    advance: Callable[[int], None] = lambda layers: None,
) -> dict[str, FloatArray] | None:
    """The corrections of the integer layers that have a bias, or can have one.

    One pass over the data through the float graph, and one through the quantized graph for each
    run of layers that do not see each other, from what was kept in front of it. Where that does
    not fit, from what was kept last.

    Args:
        model: The float graph; it is not changed.
        quantized: Its Q/DQ graph with biases in float; it is not changed.
        integer: Names of the integer nodes.
        data: The samples whose mean is taken.
        batch: Samples per run.
        memory: Bytes to take beside the model (1 GB): the batch shrinks when it must.
        integers: Whether integer kernels compute the quantized graph, as they do where it ships.
        expired: Asked before each pass whether the time is over.
        advance: Called with the number of layers done.

    Returns:
        Node → what to add to each output channel, float32 [channels]; None when time ran out.
    """
    names = set(integer)
    layers = {
        layer.name: layer
        for node in model.graph
        if node.name in names and (layer := _layer(node)) is not None
    }
    if not layers:
        return {}
    outputs = [node.outputs[0].name or "" for node in model.graph if node.name in layers]
    layout = layout_of(model, outputs, data)
    size = layout.fixed or fitting_batch(layout, batch, memory)
    room = (memory or MEMORY) // 4
    whole = Frontier(model, data, batch=size, room=0)
    wanted = _means(whole, list(layers.values()))
    working, found = infer_shapes(quantized.clone()), dict[str, FloatArray]()
    reached = Frontier(working, data, batch=size, room=room)
    biases = _Biases(working)
    for run in _apart(model, layers):
        if expired():
            return None
        reached.advance(run[0])
        seen = _means(reached, [layers[name] for name in run], integers=integers)
        shifts = {name: (wanted[name] - seen[name]).astype(np.float32) for name in run}
        biases.add(shifts)
        found |= shifts
        advance(len(run))
    return found


def add_corrections(model: ir.Model, corrections: Mapping[str, FloatArray]) -> None:
    """Add them to the biases, in place; a node without a bias gets one.

    Each result is a constant of its own, since other nodes may read the old one.

    Raises:
        RecipeError: A node is not in the graph, has no place for a bias, or has another number of
            output channels.
    """
    _Biases(model).add(corrections)


class _Biases:
    """The biases of one graph, whose nodes and names are read once."""

    def __init__(self, model: ir.Model) -> None:
        self._graph, self._names = model.graph, names_beside(model.graph)
        self._nodes = {node.name: node for node in model.graph}

    def add(self, corrections: Mapping[str, FloatArray]) -> None:
        """See `add_corrections`."""
        for name, correction in corrections.items():
            layer = _layer(self._nodes[name]) if name in self._nodes else None
            if layer is None or correction.shape != (layer.channels,):
                channels = "none" if layer is None else layer.channels
                raise RecipeError(
                    f"the plan does not fit the graph: it corrects {correction.size} output "
                    f"channels of {name!r}, which has {channels}",
                    hint="Replay a plan with the model and the options that it was made with.",
                )
            self._add(layer, correction)

    def _add(self, layer: "_Layer", correction: FloatArray) -> None:
        reader, index = layer.place
        if len(reader.inputs) <= index:
            reader.resize_inputs(index + 1)
        old = reader.inputs[index]
        tensor = constant(old)
        bias = np.zeros(layer.channels, np.float32) if tensor is None else tensor.numpy()
        if reader.op_type == "Gemm":
            bias = bias.reshape(-1)
        made, name = np.asarray(bias + correction, np.float32), f"{layer.name}/bias"
        value = add_initializer(self._graph, self._names.take(name), made)
        reader.replace_input_with(index, value)


def stored(corrections: Mapping[str, FloatArray]) -> dict[str, bytes]:
    """Little-endian float32 of each, for the plan."""
    return {name: array.astype(_STORED).tobytes() for name, array in corrections.items()}


def restored(bias: Mapping[str, bytes]) -> dict[str, FloatArray]:
    """What `stored` wrote.

    Raises:
        RecipeError: Something else is stored.
    """
    odd = [name for name, data in bias.items() if len(data) % _STORED.itemsize]
    if odd:
        raise RecipeError(f"the plan is damaged: the bias of {odd[0]!r} is no float32 array")
    return {name: np.frombuffer(data, _STORED).astype(np.float32) for name, data in bias.items()}


@dataclass(frozen=True)
class _Layer:
    """A layer whose bias can be corrected.

    Attributes:
        name: Name of the node.
        output: Name of its first output.
        channels: Output channels.
        axes: All axes of its output but that of the channels; None where the channels are last.
        place: The node and the index of its input that the bias is, or would be.
    """

    name: str
    output: str
    channels: int
    axes: tuple[int, ...] | None
    place: tuple[ir.Node, int]


def _layer(node: ir.Node) -> _Layer | None:
    """The layer of a node; None where it has no place for a bias."""
    weight = node.inputs[1].shape if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if weight is None or not weight.is_static():
        return None
    sizes, name, output = weight.numpy(), node.name or "", node.outputs[0].name or ""
    if node.op_type == "Conv":
        return _Layer(name, output, sizes[0], (0, *range(2, len(sizes))), (node, 2))
    if node.op_type == "Gemm":
        channels = sizes[0 if node.attributes.get_int("transB", 0) else 1]
        return _Layer(name, output, channels, (0,), (node, 2))
    place = _bias_behind(node) if node.op_type == "MatMul" else None
    return None if place is None else _Layer(name, output, sizes[-1], None, place)


def _bias_behind(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The constant operand of the Add behind a MatMul, through Q/DQ, if nothing else reads it."""
    value = node.outputs[0]
    while True:
        readers = consumers(value)
        if len(readers) != 1 or value.is_graph_output():
            return None
        if readers[0].op_type not in QDQ:
            break
        value = readers[0].outputs[0]
    if readers[0].op_type != "Add":
        return None
    constants = [i for i, v in enumerate(readers[0].inputs) if constant(v)]
    return (readers[0], constants[0]) if constants else None


def _apart(model: ir.Model, layers: Mapping[str, _Layer]) -> list[list[str]]:
    """The layers in the graph's order, in runs of which none sees another of its run."""
    runs: list[list[str]] = []
    behind: set[ir.Value] = set()
    for node in model.graph:
        sees = any(value in behind for value in reads(node))
        if node.name in layers and (sees or not runs):
            runs.append([])
            behind, sees = set(), False
        if node.name in layers:
            runs[-1].append(node.name or "")
        if sees or node.name in layers:
            behind.update(node.outputs)
    return runs


def _means(
    at: Frontier, layers: Sequence[_Layer], *, integers: bool = True, gaps: bool = False
) -> dict[str, Means]:
    """The mean of each output channel over the data, reduced in the graph a batch at a time.

    Samples that fill a fixed batch up count in both graphs alike.
    """
    taps = Taps(at.part([layer.output for layer in layers]))
    fetched = []
    for layer in layers:
        value, axes = taps.values[layer.output], layer.axes
        value = without_gaps(taps, value) if gaps else value
        if axes is None:
            value = taps.node("Reshape", [value, taps.integers(-1, layer.channels)])
            axes = (0,)
        mean = taps.reduced("ReduceMean", value, *axes)
        fetched.append(taps.output(mean))
    session = open_session(taps.finished(), threads=0, spin=False, integers=integers)
    known = {value.name for value in session.get_inputs()}
    totals: list[Means] = [np.zeros(layer.channels) for layer in layers]
    samples = 0
    for feeds, count in zip(at.feeds(), at.counts(), strict=True):
        given = {name: array for name, array in feeds.items() if name in known}
        for total, mean in zip(totals, session.run(fetched, given), strict=True):
            total += mean.astype(np.float64) * count  # noqa: PLW2901 - summed in place
        samples += count
    if not gaps and not all(np.isfinite(total).all() for total in totals):
        return _means(at, layers, integers=integers, gaps=True)
    return {layer.name: total / samples for layer, total in zip(layers, totals, strict=True)}
