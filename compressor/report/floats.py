"""What stays float of the work, in one sentence."""

from collections import defaultdict

from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport

LEAST = 0.05
"""Share of the multiply-accumulates in float below which nothing is said."""
REASONS = 2
"""Reasons that are told, those with most work."""


def float_words(graph: GraphReport) -> str:
    """`97 % of the multiply-accumulates stay float: ...`; empty where hardly any do."""
    shares: defaultdict[str, float] = defaultdict(float)
    names: dict[str, str] = {}
    for name, share in graph.float_work.items():
        reason = graph.float_reasons.get(name, "")
        shares[reason] += share
        names.setdefault(reason, name)
    total = sum(shares.values())
    if total < LEAST:
        return ""
    ranked = sorted(shares, key=lambda reason: -shares[reason])[:REASONS]
    told = "; ".join(
        f"{fmt.percent(shares[reason])} {names[reason]}{_others(graph, reason)}: {reason}"
        for reason in ranked
    )
    return f"{fmt.percent(total)} of the multiply-accumulates stay float: {told}"


def _others(graph: GraphReport, reason: str) -> str:
    count = sum(graph.float_reasons.get(name) == reason for name in graph.float_work) - 1
    return f" and {count} more" if count else ""
