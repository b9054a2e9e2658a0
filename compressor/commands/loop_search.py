"""Decides each graph of a loop with the others as they are, and confirms all of them together."""

from collections.abc import Sequence
from dataclasses import replace

from compressor.commands.loop_goals import set_part
from compressor.commands.loop_job import BATCH, CONFIRMATIONS, WORDS, Job, PipelineJudge, naming
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.plan.plan import Plan
from compressor.report.pipeline import calls_words
from compressor.results.graph_report import BudgetResult
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome, ships_float
from compressor.search.quality_budget import Halves, QualityBudget
from compressor.search.replay import replay
from compressor.search.strategy import decide
from compressor.system.progress import say
from compressor.system.stopwatch import Stopwatch


def decide_all(job: Job, plan: Plan | None) -> None:
    """Each graph with the others as they are; then all together.

    Where the user ends it and something has kept the budget, that is the best so far: what was
    not decided by then ships in float.
    """
    watch = Stopwatch()
    _announce(job)
    for name in job.order:
        with naming(name):
            if plan is None and not job.interrupted:
                set_part(job, name, watch)
            _decide(job, name, plan)
    if job.recipe.budget.allowed is None:
        return
    try:
        if not job.interrupted:
            _confirm(job, may_step_back=plan is None)
    except KeyboardInterrupt:
        job.interrupted = True
    if job.interrupted and job.budget is None:
        acceptance = _acceptance(job, job.order[0], 1, 2)
        assert isinstance(acceptance, QualityBudget), "there is a budget"
        job.budget = acceptance.unconfirmed()


def _announce(job: Job) -> None:
    """Say before the search what so few units cannot prove, and how many would."""
    acceptance = _acceptance(job, job.order[0], 1, 2)
    for notice in acceptance.notices if isinstance(acceptance, QualityBudget) else ():
        job.progress.notice(notice)
        job.notices.append(notice)


def _decide(job: Job, name: str, plan: Plan | None) -> None:
    graph = job.graphs[name]
    if not job.interrupted:
        try:
            graph.outcome = _decided(job, name, plan)
            job.interrupted = graph.outcome.interrupted
        except KeyboardInterrupt:
            if not _has_best(job):
                raise
            job.interrupted = True
    if graph.outcome is None:
        reason = "the run was interrupted before it was decided"
        graph.outcome = undecided(graph.session).then(reason=reason)
    job.pipeline.current[name] = graph.session.prepared.as_shipped(graph.outcome.shipped)


def _has_best(job: Job) -> bool:
    """Whether something has kept a budget so far, which is written if the user ends the run."""
    done = [one.outcome for one in job.graphs.values() if one.outcome is not None]
    held = job.recipe.budget.allowed is not None
    return held and any(not ships_float(one.plan) for one in done)


def _decided(job: Job, name: str, plan: Plan | None) -> Outcome:
    graph = job.graphs[name]
    if len(job.graphs) > 1:
        say(job.progress, f"now graph {name}: {calls_words(graph.calls)} a unit")
    if plan is not None:
        return replay(graph.session, plan.graphs[name])
    return decide(graph.session, graph.data, _acceptance(job, name, 1, 2))


def _acceptance(job: Job, name: str, search: int, confirm: int) -> Acceptance:
    """What judges a graph of the loop, on blocks of seeds of its own."""
    session, judge = job.graphs[name].session, PipelineJudge(job.pipeline, name)
    budget, count = job.recipe.budget.allowed, job.units.count
    if budget is None:
        return NoBudget(session, job.units.of(search, count), WORDS, judge)
    return QualityBudget.announced(session, budget, _halves(job, search, confirm), judge)


def _halves(job: Job, search: int, confirm: int) -> Halves:
    count = job.units.count
    found = job.units.of(search, count), job.units.of(confirm, count)
    return Halves(*found, WORDS, "generated", 1.0, noun="unit", flag="--units")


def _confirm(job: Job, *, may_step_back: bool) -> None:
    """All together, on seeds that nothing has seen; what damages most goes back to float.

    Every verdict is on seeds of its own, which nothing has seen. Each is wrong in at most one run
    of twenty; for n graphs there are up to n + 1 verdicts, and their chances add up.

    Where so few units prove nothing, whatever ships, no graph goes back for want of a proof: the
    verdict refuses all of them and says how many units it would take.
    """
    budget = job.recipe.budget.allowed
    assert budget is not None, "there is one"
    for step in range(len(job.graphs) + 1):
        name = job.order[0]
        judge = PipelineJudge(job.pipeline, name)
        halves = _halves(job, 1, CONFIRMATIONS + step)
        held = QualityBudget.announced(job.graphs[name].session, budget, halves, judge)
        with (
            job.progress.stage("confirm the pipeline"),
            judge.original() as one,
            judge.opened(job.pipeline.current[name]) as other,
        ):
            yardstick = held.yardstick
            runners = {BASELINE: one, RESULT: other}
            scores = yardstick.scores(held.metric, runners, halves.confirm, BATCH)
        is_float = all(ships_float(one.decided.plan) for one in job.graphs.values())
        job.budget = held.confirmed(held.metric, scores, is_float=is_float)
        if job.budget.met or not may_step_back or is_float:
            return
        if not held.provable and _is_within(job.budget):
            return
        _step_back(job, held, job.budget)


def _is_within(verdict: BudgetResult) -> bool:
    """Whether no more was lost than is allowed, as measured: what is missing is the proof."""
    point, allowed = verdict.point, verdict.allowed
    return point is not None and allowed is not None and point <= allowed


def _step_back(job: Job, held: QualityBudget, verdict: BudgetResult) -> None:
    """The graph without which the loop loses least goes back to float."""
    current, losses = job.pipeline.current, dict[str, float]()
    for name in job.order:
        graph = job.graphs[name]
        if ships_float(graph.decided.plan):
            continue
        judge = PipelineJudge(job.pipeline, name)
        held = replace(held, judge=judge)
        losses[name] = held.accepts(job.pipeline.originals[name]).loss
    worst = min(losses, key=lambda name: losses[name])
    session = job.graphs[worst].session
    others = [name for name in losses if name != worst]
    notice = f"graph {worst} went back to float: {_why_back(verdict, others)}"
    job.progress.notice(notice)
    job.notices.append(notice)
    job.stepped_back.append(worst)
    outcome = undecided(session).then(reason=notice)
    job.graphs[worst].outcome = outcome
    current[worst] = session.prepared.as_shipped(outcome.shipped)


def _why_back(verdict: BudgetResult, others: Sequence[str]) -> str:
    """What the verdict says of a graph and the others that were not float: broken, or unproven."""
    beside = f"together with {', '.join(others)} " if others else ""
    broke = f"it broke the budget of {verdict.asked}"
    if _is_within(verdict):
        broke = f"it may keep the budget of {verdict.asked}, which so few units cannot prove"
    return f"{beside}{broke}: {verdict.reason}"
