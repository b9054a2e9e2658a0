"""Which point of a front is asked for, and what becomes of it."""

from compressor.commands.account import GRAPH
from compressor.commands.finishing import finish
from compressor.commands.search_asked import no_objective
from compressor.commands.search_folder import PICKED, seal
from compressor.commands.search_job import Job
from compressor.commands.search_result import write_front
from compressor.errors import BudgetError, GoalError
from compressor.plan.plan import Plan
from compressor.results.format import loss_words, quality_difference
from compressor.results.front import Picked, SearchReport, SearchTrial
from compressor.search.recipes.evaluating import Yardsticks
from compressor.search.recipes.front import knee
from compressor.search.recipes.limits import Limit
from compressor.search.replay import replay
from compressor.system.stopwatch import Stopwatch


def with_picked(
    job: Job, report: SearchReport, model: object, watch: Stopwatch, command: str | None
) -> SearchReport:
    """Ship the point that is asked for, judged on samples that no trial has seen.

    Raises:
        GoalError: None is what was asked for.
        BudgetError: The budget is not confirmed.
    """
    asked, text = job.asked.pick, job.session.recipe.search.pick
    assert asked is not None and text is not None, "something is picked"
    trial = pick(report, asked, job.yardsticks())
    assert trial.plan is not None, "the front has plans"
    plan = Plan.load(job.folder / trial.plan)
    outcome = replay(job.session, plan.graphs[GRAPH])
    outcome = outcome.then(reason=f"trial {trial.number} of a search, picked by {text!r}")
    made, _ = finish(
        job.session,
        outcome,
        job.data,
        job.acceptance,
        plan,
        job.folder / PICKED,
        model=model,
        watch=watch,
        command=command,
    )
    budget, quality = made.graphs[GRAPH].budget, made.graphs[GRAPH].quality
    told = f"{job.data.words}, not searched on"
    if quality and quality[0].difference is not None:
        told = f"{quality[0].metric} {quality_difference(quality[0])} on {told}"
    found = Picked(
        asked=text,
        trial=trial.number,
        folder=PICKED,
        met=None if budget is None else budget.met,
        reason=told if budget is None else budget.reason,
    )
    report = report.model_copy(update={"picked": found})
    write_front(job.folder, report)
    seal(job.folder)
    return report


def require_picked(report: SearchReport) -> None:
    """Refuse what the confirming samples do not confirm, once all is shown.

    Raises:
        GoalError: No trial keeps the budget and the limits.
        BudgetError: The budget is not met.
    """
    if not report.front:
        least = min((t.found.loss for t in report.trials if t.found.loss is not None), default=None)
        told = "" if least is None else f"; the least loss was {loss_words(least, report.unit)}"
        raise GoalError(
            f"no trial of {len(report.trials)} keeps the budget and the limits{told}",
            hint="Allow more by --max-drop or --limit, widen [search.space], or add --trials.",
        )
    if report.picked is not None and report.picked.met is False:
        raise BudgetError(
            f"trial {report.picked.trial} was picked and is written, and the budget is not "
            f"confirmed: {report.picked.reason}",
            hint="Pick a point with a smaller loss, or pass more evaluation samples.",
        )


def pick(report: SearchReport, asked: tuple[Limit, ...], held: Yardsticks) -> SearchTrial:
    """The point of the front that is asked for.

    Of those that keep all limits, the best in the first of quality, latency, size and memory that
    no limit is on; without limits the knee (`front.knee`).

    Raises:
        GoalError: None keeps them.
    """
    by_number = {trial.number: trial for trial in report.trials}
    front = [by_number[n] for n in report.front if not by_number[n].outdone]
    if not front:
        raise GoalError(
            "nothing can be picked: no trial keeps the budget and the limits",
            hint="Give more --trials, or a larger --max-drop.",
        )
    values = [measured_values(one) for one in front]
    if not asked:
        rows = [tuple(one[name] for name in report.objectives) for one in values]
        return front[knee(rows)]
    for limit in asked:
        most = limit.at_most(held.baseline, held.metric.name)
        known = [one.get(limit.objective) for one in values]
        least = min((v for v in known if v is not None), default=None)
        if least is None:
            raise no_objective(limit, report.objectives)
        kept = [v is not None and v <= most for v in known]
        front = [one for one, fits in zip(front, kept, strict=True) if fits]
        values = [one for one, fits in zip(values, kept, strict=True) if fits]
        if not front:
            raise GoalError(
                f"nothing on the front keeps {limit}: the least is {_told(limit.objective, least)}",
                hint="The front is written: pick another point of it, or give more --trials.",
            )
    limited = {limit.objective for limit in asked}
    order = [n for n in ("quality", "latency", "size", "memory") if n in report.objectives]
    free = next((n for n in order if n not in limited), order[0])
    best = min(range(len(front)), key=lambda i: (values[i][free], values[i][order[0]]))
    return front[best]


def measured_values(trial: SearchTrial) -> dict[str, float]:
    """Objective → value, the latency as it was raced where it was."""
    values = dict(trial.values)
    if trial.latency is not None and trial.latency.is_known and "latency" in values:
        values["latency"] = trial.latency.milliseconds[1] / 1e3
    return values


def _told(objective: str, value: float) -> str:
    if objective == "latency":
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g}" if objective == "quality" else f"{value / 1e6:.3g} MB"
