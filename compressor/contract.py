"""Whether what was asked for was reached, by the figures of the finished result."""

from compressor.errors import BudgetError, GoalError, TargetError
from compressor.evaluation.results import LatencyResult, Size
from compressor.goal import Goal
from compressor.pruning.allocation import TWICE
from compressor.report.format import milliseconds, percent, ratio
from compressor.report.format import size as bytes_words
from compressor.report.schema import GraphReport
from compressor.report.schema_pruning import GoalResult
from compressor.search.decided import Decided

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
    goal: Goal, decided: Decided, latency: tuple[LatencyResult, ...], before: Size, after: Size
) -> GoalResult:
    """What became of a goal.

    Args:
        goal: What was asked for.
        decided: What ships, and whether the quality budget held it back.
        latency: Measured last; the deciding configuration is first. Empty where the run was
            interrupted, or where the baseline itself ships.
        before: Of the original.
        after: Of the result.
    """
    wanted = 1e3 * goal.amount if goal.kind == "latency" else goal.amount
    measured = _measured(goal, decided, latency, before, after)
    if goal.kind == "threshold":
        met = not _is_reverted(decided)
    else:
        met = measured is not None and goal.is_met(_reached(goal, wanted, measured))
        met = met and not _is_twice(goal, wanted, measured)
    held_back = not met and decided.held_back is not None
    return GoalResult(
        asked=goal.flag,
        kind=goal.kind,
        wanted=wanted,
        measured=measured,
        met=met,
        held_back=held_back,
        reason=_reason(goal, wanted, measured, latency) + _why_less(decided, met=met),
    )


def require_kept(graph: GraphReport) -> None:
    """Refuse a result that does not keep what was asked for; it is written all the same.

    Raises:
        BudgetError: It loses more quality than the budget allows, or that is not certain.
        TargetError: An engine could not be built.
        GoalError: It was to be smaller or faster, and no quality budget is the reason.
    """
    budget, goal, engine = graph.budget, graph.goal, graph.engine
    if engine is not None and engine.file is None and (engine.failed or engine.required):
        raise TargetError(
            f"no engine was built: {engine.reason}",
            hint="Model, report and build_engine.py are written all the same.",
        )
    if budget is not None and not budget.met:
        raise BudgetError(
            f"the budget of {budget.asked} was not met: {budget.reason}",
            hint=f"The best is written all the same. {_REMEDY[budget.accept]}",
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


def _measured(
    goal: Goal, decided: Decided, latency: tuple[LatencyResult, ...], before: Size, after: Size
) -> float | None:
    if goal.kind == "size":
        return float(after.file_bytes)
    if goal.kind == "params":
        return 1 - after.parameters / max(before.parameters, 1)
    if goal.kind in ("macs", "threshold"):
        if before.macs is None or after.macs is None:
            return 0.0 if decided.pruning is None else decided.pruning.share
        return 1 - after.macs / max(before.macs, 1)
    if goal.kind == "speedup" and decided.shipped is decided.baseline:
        return 1.0
    if not latency or not latency[0].is_known:
        return None
    return latency[0].speed if goal.kind == "speedup" else latency[0].milliseconds[1]


def _is_reverted(decided: Decided) -> bool:
    """Whether less went than was below the threshold."""
    tried = any(candidate.pruned for candidate in decided.candidates)
    return decided.held_back is not None or (tried and decided.pruning is None)


def _reached(goal: Goal, wanted: float, measured: float) -> float:
    """1 is exactly what was asked, more is further."""
    if goal.kind in _COUNTED:
        return (measured + ROUNDING) / wanted
    if goal.kind == "speedup":
        return measured / wanted
    return wanted / max(measured, 1e-12)


def _why_less(decided: Decided, *, met: bool) -> str:
    """What kept the pruning from shipping, where that is known."""
    if met:
        return ""
    if decided.held_back is not None:
        return f"; {decided.held_back}"
    return "; what was pruned ran slower (--keep-slower keeps it)" if _is_reverted(decided) else ""


def _is_twice(goal: Goal, wanted: float, measured: float | None) -> bool:
    """Whether a share that can be counted is twice what was asked for."""
    is_share = goal.kind in ("macs", "params")
    return is_share and measured is not None and measured >= TWICE * wanted


def _reason(
    goal: Goal, wanted: float, measured: float | None, latency: tuple[LatencyResult, ...]
) -> str:
    if measured is None and latency and latency[0].reason is not None:
        return latency[0].reason
    if measured is None:
        return "the run was interrupted before it was measured"
    if goal.kind in _COUNTED:
        twice = ", twice what was asked for" if _is_twice(goal, wanted, measured) else ""
        return f"{percent(measured, 1)} of the {_COUNTED[goal.kind]} were removed{twice}"
    if goal.kind == "speedup":
        return f"it runs at {ratio(measured)} the speed of the float baseline"
    if goal.kind == "latency":
        return f"one inference takes {milliseconds(measured)}"
    return f"the file has {bytes_words(round(measured), round(wanted))}"
