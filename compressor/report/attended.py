"""What efficient attention came to, in words, for every form the report is shown in."""

from dataclasses import dataclass

from compressor.results import format as fmt
from compressor.results.attention import AttentionLayer, AttentionResult
from compressor.results.graph_report import GraphReport
from compressor.results.measurements import QualityResult

AS_IT_WAS = "softmax over all"


@dataclass(frozen=True)
class AttentionView:
    """The section on efficient attention."""

    headline: str
    quality: str
    layers: tuple[tuple[str, ...], ...]


def attention_view(graph: GraphReport) -> AttentionView | None:
    """The section of one graph; None where none was asked for."""
    found = graph.attention
    if found is None:
        return None
    return AttentionView(headline(found), quality_words(found), tuple(map(_row, found.layers)))


def headline(result: AttentionResult) -> str:
    """What became of it, as a sentence."""
    verdict = "Efficient attention" if result.kept else "No efficient attention"
    return f"{verdict}: {result.reason}."


def quality_words(result: AttentionResult) -> str:
    """What training brought back, as a sentence; empty where that was not measured."""
    before, after = _value(result.untrained), _value(result.trained)
    if result.untrained is None or before is None or after is None:
        return ""
    original = ""
    if result.untrained.reference == "labels" and result.untrained.baseline is not None:
        original = f"; of the original {result.untrained.baseline:.4g}{result.untrained.unit}"
    return (
        f"On {fmt.plural(result.untrained.samples, 'sample')} {result.untrained.metric} was "
        f"{before} before the layers were trained and {after} as they ship{original}."
    )


def _value(quality: QualityResult | None) -> str | None:
    if quality is None or quality.result is None:
        return None
    return f"{quality.result:.4g}{quality.unit}"


def _row(one: AttentionLayer) -> tuple[str, ...]:
    """Layer, form, tokens, milliseconds before and in the form, damage alone, and why."""
    before = after = ""
    if one.latency is not None and one.latency.is_known:
        before, after = (f"{ms:.3g} ms" for ms in one.latency.milliseconds)
    return (
        one.name,
        one.form or AS_IT_WAS,
        "" if one.tokens is None else f"{one.tokens:,}",
        before,
        after,
        "" if one.damage is None else f"{one.damage:.3g}",
        one.reason,
    )
