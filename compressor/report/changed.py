"""Samples where the decision changed, in words."""

from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport


def change_words(graph: GraphReport) -> str:
    """`14 of 2,000 decisions changed`; empty where there are none to count."""
    if graph.changed_total is None:
        return ""
    samples = next((quality.samples for quality in graph.quality), None)
    of = "" if samples is None else f" of {samples:,}"
    return f"{graph.changed_total:,}{of} decisions changed"


def decision(number: int) -> str:
    """A class, or that there was none."""
    return "none (NaN)" if number < 0 else f"{number}"


def error_words(error: float) -> str:
    """A relative error: `3.2 %`."""
    return fmt.percent(error, 1) if error < 10 else fmt.ratio(error)
