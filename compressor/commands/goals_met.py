"""Whether what was asked for was reached, by the figures of the finished result."""

from collections.abc import Mapping

from compressor.errors import BudgetError, GoalError, TargetError
from compressor.pruning.selection.allocation import most_of
from compressor.recipe.goal import FAR, NEAR, Goal
from compressor.results.format import milliseconds, percent, ratio
from compressor.results.format import size as bytes_words
from compressor.results.graph_report import BudgetResult, GraphReport
from compressor.results.measurements import LatencyResult, Size
from compressor.results.pipeline import PipelineResult
from compressor.results.pruning import GoalResult
from compressor.results.report import Report
from compressor.search.candidate import Outcome

ROUNDING = 1e-3
"""Share by which counts of the captured graph and of the folded one, which is cut, may differ."""

_REMEDY = {
    "bound": "More samples to judge on, a larger --max-drop, or --budget point would let it pass.",
    "point": "A larger --max-drop would let it pass.",
}
_COUNTED = {
    "macs": "multiply-accumulates",
    "params": "parameters",
    "threshold": "multiply-accumulates",
}


def goal_result(
    goal: Goal, outcome: Outcome, latency: tuple[LatencyResult, ...], before: Size, after: Size
) -> GoalResult:
    """What became of a goal.

    Args:
        goal: What was asked for.
        outcome: What ships, and whether the quality budget held it back.
        latency: Measured last; the deciding configuration is first. Empty where the run was
            interrupted, or where the baseline itself ships.
        before: Size of the original.
        after: Size of the result.
    """
    wanted = 1e3 * goal.amount if goal.kind == "latency" else goal.amount
    measured = _measured(goal, outcome, latency, before, after)
    if goal.kind == "threshold":
        met = not _is_reverted(outcome)
    else:
        counts = _cut_away(goal, outcome, measured)
        met = counts is not None and goal.is_met(_reached(goal, wanted, counts))
        met = met and not _is_beyond(goal, wanted, measured, FAR)
    held_back = not met and outcome.held_back is not None
    return GoalResult(
        asked=goal.flag,
        kind=goal.kind,
        wanted=wanted,
        measured=measured,
        met=met,
        held_back=held_back,
        reason=_reason(goal, wanted, measured, latency)
        + _repaired(goal, wanted, measured, outcome)
        + _why_more(goal, wanted, measured, outcome)
        + _why_less(outcome, met=met),
    )


def pipeline_goal(
    goal: Goal, pipeline: PipelineResult, graphs: Mapping[str, GraphReport]
) -> GoalResult:
    """What became of a goal of a whole loop.

    Args:
        goal: What was asked for.
        pipeline: The loop, measured.
        graphs: Its graphs, each with what became of its part.
    """
    wanted = 1e3 * goal.amount if goal.kind == "latency" else goal.amount
    before, after = pipeline.baseline_size, pipeline.result_size
    measured = _counted(goal, before, after) if goal.counted else _raced(goal, pipeline.latency)
    parts = [graph.goal for graph in graphs.values() if graph.goal is not None]
    if goal.kind == "threshold":
        measured = 1 - (after.macs or 0) / max(before.macs or 1, 1)
        met = all(part.met for part in parts)
    else:
        met = measured is not None and goal.is_met(_reached(goal, wanted, measured))
    return GoalResult(
        asked=goal.flag,
        kind=goal.kind,
        wanted=wanted,
        measured=measured,
        met=met,
        held_back=not met and any(part.held_back for part in parts),
        reason=_reason(goal, wanted, measured, pipeline.latency, "unit", "all files have"),
    )


def _counted(goal: Goal, before: Size, after: Size) -> float | None:
    """Bytes of all files, or the share that is gone of a unit's work or of all parameters."""
    if goal.kind == "size":
        return float(after.file_bytes)
    if goal.kind == "params":
        return 1 - after.parameters / max(before.parameters, 1)
    return None if None in (before.macs, after.macs) else 1 - (after.macs or 0) / (before.macs or 1)


def _raced(goal: Goal, latency: tuple[LatencyResult, ...]) -> float | None:
    if not latency or not latency[0].is_known:
        return None
    return latency[0].speed if goal.kind == "speedup" else latency[0].milliseconds[1]


def require_report_kept(report: Report) -> None:
    """Refuse a result that does not keep what was asked for; it is written all the same.

    Of a pipeline budget and goal are those of the whole; each graph needs its engine.

    Raises:
        BudgetError: It loses more quality than the budget allows, or that is not certain.
        TargetError: An engine could not be built.
        GoalError: It was to be smaller or faster, and no quality budget is the reason.
    """
    for graph in report.graphs.values():
        if report.pipeline is None:
            require_kept(graph)
        else:
            _require_engine(graph)
    if report.pipeline is not None:
        _require_kept(report.pipeline)


def require_kept(graph: GraphReport) -> None:
    """The same of one graph that is all there is."""
    _require_engine(graph)
    _require_kept(graph)


def _require_engine(graph: GraphReport) -> None:
    engine = graph.engine
    if engine is not None and engine.file is None and (engine.failed or engine.required):
        raise TargetError(
            f"no engine was built: {engine.reason}",
            hint="The model, the report and what builds the engine are written all the same.",
        )


def _require_kept(result: GraphReport | PipelineResult) -> None:
    budget, goal = result.budget, result.goal
    if budget is not None and not budget.met:
        raise BudgetError(
            f"the budget of {budget.asked} was not met: {budget.reason}",
            hint=f"The best is written all the same. {_remedy(budget, result)}",
        )
    if goal is None or goal.met or (goal.held_back and goal.kind in _COUNTED):
        return
    raise GoalError(
        f"{goal.asked} was not met: {goal.reason}",
        hint="The best is written all the same. A larger --max-drop would let more be pruned."
        if goal.held_back
        else "The best is written all the same; the report shows what was tried. Ask for less, or "
        "let more go with a smaller --prune-least or --prune-round.",
    )


def _remedy(budget: BudgetResult, result: GraphReport | PipelineResult) -> str:
    """What would let it pass; of a loop, which makes its samples itself, how many of them."""
    told = _REMEDY[budget.accept]
    if not isinstance(result, PipelineResult):
        return told
    more = "More units" if budget.needed_n is None else f"--units {budget.needed_n}"
    return told.replace("More samples to judge on", more)


def _measured(
    goal: Goal, outcome: Outcome, latency: tuple[LatencyResult, ...], before: Size, after: Size
) -> float | None:
    if goal.kind == "size":
        return float(after.file_bytes)
    if goal.kind == "params":
        return 1 - after.parameters / max(before.parameters, 1)
    if goal.kind in ("macs", "threshold"):
        if before.macs is None or after.macs is None:
            return 0.0 if outcome.pruning is None else outcome.pruning.share
        return 1 - after.macs / max(before.macs, 1)
    if goal.kind == "speedup" and outcome.shipped is outcome.baseline:
        return 1.0
    if not latency or not latency[0].is_known:
        return None
    return latency[0].speed if goal.kind == "speedup" else latency[0].milliseconds[1]


def _is_reverted(outcome: Outcome) -> bool:
    """Whether less went than was below the threshold."""
    tried = any(candidate.pruned for candidate in outcome.considered)
    return outcome.held_back is not None or (tried and outcome.pruning is None)


def _reached(goal: Goal, wanted: float, measured: float) -> float:
    """1 is exactly what was asked, more is further."""
    if goal.kind in _COUNTED:
        return (measured + ROUNDING) / wanted
    if goal.kind == "speedup":
        return measured / wanted
    return wanted / max(measured, 1e-12)


def _why_less(outcome: Outcome, *, met: bool) -> str:
    """What kept the pruning from shipping, where that is known."""
    if met:
        return ""
    if outcome.held_back is not None:
        return f"; {outcome.held_back}"
    return "; what was pruned ran slower (--keep-slower keeps it)" if _is_reverted(outcome) else ""


def _cut_away(goal: Goal, outcome: Outcome, measured: float | None) -> float | None:
    """The share that was cut, where biases that the repair added take some of it back."""
    pruning = outcome.pruning
    if measured is None or pruning is None or pruning.cost != goal.kind:
        return measured
    return measured if pruning.share is None else max(measured, pruning.share)


def _repaired(goal: Goal, wanted: float, measured: float | None, outcome: Outcome) -> str:
    """How the goal is met although less is gone."""
    cut = _cut_away(goal, outcome, measured)
    if cut is None or measured is None or goal.kind != "params":
        return ""
    if not measured + ROUNDING < wanted <= cut + ROUNDING:
        return ""
    return f", {percent(cut, 1)} before the repair added biases"


def _is_beyond(goal: Goal, wanted: float, measured: float | None, most: float) -> bool:
    """Whether a share that can be counted is so many times what was asked for, or more."""
    if measured is None or goal.kind not in ("macs", "params"):
        return False
    return measured - ROUNDING > most_of(wanted, most)


def _why_more(goal: Goal, wanted: float, measured: float | None, outcome: Outcome) -> str:
    """What made more go than was asked for, where that is much."""
    if measured is None or not _is_beyond(goal, wanted, measured, NEAR):
        return ""
    said = f", {measured / wanted:.2g} times what was asked for"
    pruning = outcome.pruning
    if pruning is None:
        return said
    sizes = sorted({group.units_before for group in pruning.groups})
    blocks = ["whole blocks"] if pruning.blocks else []
    units = [f"groups of {_few(sizes)} units"] if sizes else []
    return f"{said}: no smaller steps lead there with {' and '.join(blocks + units)}"


def _reason(
    goal: Goal,
    wanted: float,
    measured: float | None,
    latency: tuple[LatencyResult, ...],
    unit: str = "inference",
    files: str = "the file has",
) -> str:
    if measured is None and latency and latency[0].reason is not None:
        return latency[0].reason
    if measured is None:
        return "the run was interrupted before it was measured"
    if goal.kind in _COUNTED:
        return f"{percent(measured, 1)} of the {_COUNTED[goal.kind]} were removed"
    if goal.kind == "speedup":
        return f"it runs at {ratio(measured)} the speed of the float baseline"
    if goal.kind == "latency":
        return f"one {unit} takes {milliseconds(measured)}"
    return f"{files} {bytes_words(round(measured), round(wanted))}"


def _few(sizes: list[int]) -> str:
    """Some numbers, or from where to where they reach."""
    return ", ".join(map(str, sizes)) if len(sizes) <= 4 else f"{sizes[0]} to {sizes[-1]}"
