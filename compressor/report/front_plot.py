"""The picture of a front: every trial, the dominated ones grey, and the hypervolume over trials."""

from typing import Any

from markupsafe import Markup

from compressor.report.front_rows import HEADINGS
from compressor.report.plots import COLOURS, drawn
from compressor.results import format as fmt
from compressor.results.front import SearchReport, SearchTrial

_SCALES = {"latency": 1e3, "quality": 1.0, "size": 1e-6, "memory": 1e-6}
_UNITS = {"latency": "ms", "size": "MB", "memory": "MB"}


def front_picture(report: SearchReport) -> Markup | None:
    """Trials by the first two objectives; None where there is one objective or nothing to draw."""
    if len(report.objectives) < 2 or not report.trials:
        return None
    across, up = report.objectives[:2]
    shown = [t for t in report.trials if across in t.values and up in t.values]
    if not shown:
        return None
    told = "; ".join(
        f"trial {t.number} {_at(t, across):.3g}, {_at(t, up):.3g}" for t in _front(report)
    )
    return drawn(
        lambda axes: _draw(axes, report, shown, across, up),
        height=3.2,
        words=f"{_label(report, up)} against {_label(report, across)}, on the front: {told}",
        key="front",
    )


def volume_picture(report: SearchReport) -> Markup | None:
    """The hypervolume after each trial; None before there are two."""
    if len(report.hypervolume) < 2:
        return None

    def draw(axes: Any) -> None:
        quiet = COLOURS["quiet"]
        numbers = range(1, len(report.hypervolume) + 1)
        axes.step(numbers, report.hypervolume, where="post", color=COLOURS["after"], linewidth=1.4)
        axes.set_ylim(bottom=0)
        axes.spines["left"].set(visible=True, color=COLOURS["rule"])
        axes.tick_params(axis="y", color=COLOURS["rule"], labelcolor=quiet)
        axes.set_xlabel("trials", color=quiet)
        axes.set_ylabel("hypervolume", color=quiet)

    last = report.hypervolume[-1]
    words = f"Hypervolume over {len(report.hypervolume)} trials, {last:.3g} at the end"
    return drawn(draw, height=2.2, words=words, key="volume")


def _front(report: SearchReport) -> list[SearchTrial]:
    trials = {trial.number: trial for trial in report.trials}
    return [trials[number] for number in report.front]


def _at(trial: SearchTrial, objective: str) -> float:
    """Where a trial is drawn; all by the same measure, the latency as it was predicted."""
    return trial.values[objective] * _SCALES[objective]


def _draw(axes: Any, report: SearchReport, shown: list[SearchTrial], across: str, up: str) -> None:
    quiet, rule, front = COLOURS["quiet"], COLOURS["rule"], _front(report)
    others = [t for t in shown if t.state == "dominated"]
    refused = [t for t in shown if t.state not in ("dominated", "front")]
    for some, marker, colour in ((others, "o", quiet), (refused, "x", quiet)):
        xs, ys = [_at(t, across) for t in some], [_at(t, up) for t in some]
        axes.plot(xs, ys, marker, color=colour, markersize=4, alpha=0.5, linestyle="none")
    if report.allowed is not None and up == "quality":
        axes.axhline(report.allowed, color=quiet, linewidth=1, linestyle="--")
    xs, ys = [_at(t, across) for t in front], [_at(t, up) for t in front]
    axes.step(xs, ys, where="post", color=rule, linewidth=1, zorder=0)
    for trial in front:
        _draw_point(axes, trial, across, up)
    _limit(axes, report, shown, up)
    axes.spines["left"].set(visible=True, color=rule)
    axes.tick_params(axis="y", color=rule, labelcolor=quiet)
    axes.set_xlabel(_label(report, across), color=quiet)
    axes.set_ylabel(_label(report, up), color=quiet, parse_math=False)


def _draw_point(axes: Any, trial: SearchTrial, across: str, up: str) -> None:
    colour, x, y = COLOURS["after"], _at(trial, across), _at(trial, up)
    ends = trial.found.loss_interval
    if up == "quality" and ends is not None:
        axes.vlines(x, ends.low, ends.high, color=colour, linewidth=1, alpha=0.4)
    filling = "none" if trial.outdone else colour
    axes.plot([x], [y], "o", color=colour, markerfacecolor=filling, markersize=6)
    offset = (5, 4 if trial.number % 2 else -12)
    axes.annotate(str(trial.number), (x, y), offset, textcoords="offset points", color=colour)


def _limit(axes: Any, report: SearchReport, shown: list[SearchTrial], up: str) -> None:
    """What lost everything must not squeeze the rest."""
    values = sorted(_at(t, up) for t in shown)
    most = 3 * max((_at(t, up) for t in _front(report)), default=values[-1])
    if report.allowed is not None and up == "quality":
        most = max(most, 2 * report.allowed)
    if values[-1] > most > values[0]:
        axes.set_ylim(top=most)


def _label(report: SearchReport, objective: str) -> str:
    if objective == "quality":
        unit = "points" if report.unit == "%" else report.unit
        return f"loss of {report.metric}"[:30] + (f", {unit}" if unit else "")
    how = " (predicted)" if objective == "latency" else ""
    return f"{HEADINGS[objective]}{how}, {_UNITS[objective]}"


def caption(report: SearchReport) -> str:
    """What is drawn how."""
    words = (
        "Trials by number; filled on the front, hollow where a race says that another beats it, "
        "grey where another does, a cross where a budget or a limit is not kept or it was stopped. "
        "95 % intervals are of the samples that were searched on"
    )
    missing = sum(1 for trial in report.trials if len(trial.values) < 2)
    return (
        f"{words}; {fmt.plural(missing, 'trial')} without both figures not drawn."
        if missing
        else f"{words}."
    )
