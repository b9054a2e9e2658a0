"""Where the time of a run went, stage by stage, and what each stage did to the graph."""

from dataclasses import dataclass

from compressor.results import format as fmt
from compressor.results.records import Effect, StageRecord
from compressor.results.report import Report

_REST = "outside the stages"
_SHOWN_REST = 0.005
"""Share of the run below which what no stage accounts for is not told."""


@dataclass(frozen=True)
class Bar:
    """A stage and its place in the waterfall, as percentages of the whole run."""

    name: str
    seconds: float
    start: float
    width: float
    effects: tuple[str, ...] = ()


def waterfall(report: Report) -> tuple[Bar, ...]:
    """Stages one after the other, then what lies between and around them.

    Together they are the run's time; where the stages' own sum is longer, it is that sum.
    """
    spent = sum(stage.seconds for stage in report.stages)
    total = max(report.seconds, spent) or 1.0
    bars = []
    start = 0.0
    for stage in report.stages:
        told = (*(effect_words(effect) for effect in stage.effects), *_counts(stage))
        share = 100 * stage.seconds / total
        bars.append(Bar(stage.name, stage.seconds, start, share, told))
        start += share
    rest = total - spent
    if bars and rest > _SHOWN_REST * total:
        words = ("loading, reading the data, building, writing",)
        bars.append(Bar(_REST, rest, start, 100 * rest / total, words))
    return tuple(bars)


def effect_words(effect: Effect) -> str:
    """`nodes 143 → 72`, `weights 1.1 MB → 280 kB`, `latency 1.31 ms → 0.80 ms`."""
    name = {"nodes": "nodes", "weight_bytes": "weights", "latency_ms": "latency"}[effect.amount]
    after = _amount(effect, effect.after)
    if effect.before is None or (before := _amount(effect, effect.before)) == after:
        return f"{name} {after}"
    return f"{name} {before}\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}{after}"


def _amount(effect: Effect, value: float) -> str:
    match effect.amount:
        case "nodes":
            return fmt.count(round(value))
        case "weight_bytes":
            return fmt.size(round(value))
        case "latency_ms":
            return fmt.milliseconds(value)


def _counts(stage: StageRecord) -> tuple[str, ...]:
    """What it changed, where one count says it; a list of rules is for the stage's own entry."""
    if stage.effects or len(stage.changed) != 1:
        return ()
    return tuple(f"{what} {fmt.count(times)}" for what, times in stage.changed.items())
