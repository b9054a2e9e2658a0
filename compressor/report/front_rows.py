"""The points of a front as rows of words, for every form of its page."""

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.results import format as fmt
from compressor.results.front import SearchReport, SearchTrial

HEADINGS = {
    "latency": "latency",
    "quality": "loss",
    "size": "file",
    "memory": "peak memory",
}
_COUNTS = ("front", "dominated", "infeasible", "stopped", "failed")


@dataclass(frozen=True)
class FrontRow:
    """A point.

    Attributes:
        number: Its trial.
        cells: One an objective, in order.
        recipe: What differs from trial to trial.
        note: What else is to be known; empty where nothing is.
        plan: Its plan's file; empty where there is none.
    """

    number: int
    cells: tuple[str, ...]
    recipe: str
    note: str
    plan: str


def front_rows(report: SearchReport) -> list[FrontRow]:
    """The front, as it is ordered."""
    trials = {trial.number: trial for trial in report.trials}
    return [_row(report, trials[number]) for number in report.front]


def headline(report: SearchReport) -> str:
    """What was searched, in one line."""
    return (
        f"{report.source} → {report.target}: {fmt.plural(len(report.front), 'point')} on the front "
        f"of {fmt.plural(len(report.trials), 'trial')} ({report.sampler}, seed {report.seed})"
    )


def summary_lines(report: SearchReport) -> list[str]:
    """What the figures are of, what became of trials, and what mattered."""
    counts = {state: sum(t.state == state for t in report.trials) for state in _COUNTS}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [
        f"Trials: {told}.",
        f"The loss of {report.metric} is of the samples that were searched on "
        f"({report.validation}): none of them confirms anything.",
    ]
    if report.allowed is not None:
        lines.append(f"Allowed: {fmt.loss_words(report.allowed, report.unit)}.")
    if report.hypervolume:
        lines.append(f"Hypervolume: {report.hypervolume[-1]:.3f} of the box up to the reference.")
    for objective, shares in report.importances.items():
        if shares:
            most = sorted(shares.items(), key=lambda one: -one[1])[:4]
            words = ", ".join(f"{name} {fmt.percent(share)}" for name, share in most)
            lines.append(f"What mattered for {objective} ({report.importance_by}): {words}.")
    if report.picked is not None:
        verdict = {True: "confirmed", False: "NOT confirmed", None: "measured"}[report.picked.met]
        lines.append(
            f"Picked by {report.picked.asked!r}: trial {report.picked.trial}, in "
            f"{report.picked.folder}, {verdict}: {report.picked.reason}."
        )
    return [*lines, *report.notices]


def objective_value(report: SearchReport, trial: SearchTrial, objective: str) -> str:
    """A value with its interval: the latency as it was raced, else as predicted."""
    if objective == "latency":
        raced = trial.latency
        if raced is not None and raced.is_known:
            ms, ends = raced.milliseconds[1], fmt.ratio_interval(raced.ends)
            return f"{fmt.milliseconds(ms)}, {fmt.ratio(raced.speed)} ({ends})"
        ms = 1e3 * trial.values.get("latency", 0.0)
        return f"{fmt.milliseconds(ms)} predicted"
    value = trial.values.get(objective)
    if value is None:
        return fmt.NOTHING
    if objective == "quality":
        words, bounds = fmt.loss_words(value, report.unit), trial.found.loss_interval
        if bounds is None:
            return words
        low, high = (fmt.loss_words(end, "").strip() for end in (bounds.low, bounds.high))
        return f"{words} ({low}…{high})"
    return fmt.size(int(value))


def _row(report: SearchReport, trial: SearchTrial) -> FrontRow:
    varied = [name for name in report.space if _varies(report.trials, name)]
    recipe = ", ".join(
        f"{name} {_word(trial.recipe[name])}" for name in varied if name in trial.recipe
    )
    return FrontRow(
        trial.number,
        tuple(objective_value(report, trial, name) for name in report.objectives),
        recipe,
        "dominated as raced" if trial.outdone else "",
        trial.plan or "",
    )


def _varies(trials: Sequence[SearchTrial], name: str) -> bool:
    return len({trial.recipe.get(name) for trial in trials}) > 1


def _word(value: str | float | int) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
