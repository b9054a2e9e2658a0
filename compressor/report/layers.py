"""Layers and tensors of the quantized graph as the report shows them: where it loses."""

from dataclasses import dataclass

from markupsafe import Markup

from compressor.report import plots
from compressor.report.verdict import quality_tone
from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport, LayerError, TensorRange
from compressor.results.precision import WORDS

SHOWN = 10
"""Layers in the table; the rest is folded away below it."""
POOR = 10.0
"""SQNR in dB, below which noise is more than a tenth of the signal."""


@dataclass(frozen=True)
class LayerErrorRow:
    """A layer, its errors in words."""

    layer: LayerError
    sqnr: str
    own: str


@dataclass(frozen=True)
class TensorPicture:
    """The histogram of a tensor and what its caption tells."""

    tensor: TensorRange
    svg: Markup
    span: str
    seen: str
    clipped: str
    sqnr: str
    beyond: str


@dataclass(frozen=True)
class LayersView:
    """The section on layers; `reason` where nothing was measured."""

    rows: tuple[LayerErrorRow, ...]
    rest: tuple[LayerErrorRow, ...]
    pictures: tuple[TensorPicture, ...]
    has_shipped: bool
    reason: str
    precision: str = "INT8"

    @property
    def changed(self) -> str:
        """What a layer runs as that is not float."""
        return "integer" if self.precision == "INT8" else self.precision


def layers_view(graph: GraphReport, anchor: str) -> LayersView | None:
    """The section of one graph; None where no quantized graph is there to be told about."""
    has_shipped = graph.shipped != "float"
    reason = graph.layers_reason or ""
    if not graph.layers and not (has_shipped and reason):
        return None
    rows = tuple(
        LayerErrorRow(layer, fmt.decibels(layer.sqnr_db), fmt.decibels(layer.own_sqnr_db))
        for layer in graph.layers
    )
    pictures = tuple(
        _picture(tensor, f"{anchor}-tensor-{index}") for index, tensor in enumerate(graph.tensors)
    )
    return LayersView(
        rows[:SHOWN], rows[SHOWN:], pictures, has_shipped, reason, precision_words(graph)
    )


def precision_words(graph: GraphReport) -> str:
    """What the layers are of; reports of versions that knew INT8 only do not say."""
    return WORDS[graph.layers_precision or "int8"]


def worst_layer(graph: GraphReport) -> str:
    """The worst layer in words, where quality suffers or is about to; else empty."""
    if not graph.layers:
        return ""
    layer = graph.layers[0]
    suffers = any(quality_tone(quality) == "worse" for quality in graph.quality)
    missed = graph.budget is not None and (not graph.budget.met or graph.shipped == "float")
    if not (suffers or missed or not layer.sqnr_db >= POOR):
        return ""
    own = "" if layer.own_sqnr_db is None else f", alone {fmt.decibels(layer.own_sqnr_db)}"
    return (
        f"worst layer of the {precision_words(graph)} graph: {layer.node} ({layer.operator}), "
        f"{fmt.decibels(layer.sqnr_db)} of signal to noise{own}"
    )


def _picture(tensor: TensorRange, key: str) -> TensorPicture:
    return TensorPicture(
        tensor=tensor,
        svg=plots.range_histogram(tensor, key),
        span=_span(tensor.low, tensor.high),
        seen=_span(tensor.observed_low, tensor.observed_high),
        clipped=_clipped(tensor.clipped),
        sqnr=fmt.decibels(tensor.sqnr_db),
        beyond=_beyond(tensor),
    )


def _span(low: float, high: float) -> str:
    return f"{fmt.significant(low)}…{fmt.significant(high)}"


def _clipped(share: float) -> str:
    if share == 0:
        return "nothing clipped"
    return f"{fmt.significant(100 * share, 2)} % clipped"


def _beyond(tensor: TensorRange) -> str:
    """How many elements the picture leaves out."""
    low, high = plots.drawn_span(tensor)
    left = tensor.counts[0] if tensor.edges[0] < low else 0
    left += tensor.counts[-1] if tensor.edges[-1] > high else 0
    return f"{left:,} beyond the axis" if left else ""
