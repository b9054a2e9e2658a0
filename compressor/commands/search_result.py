"""What becomes of the trials of a search: the front, raced and planned; pages that show it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compressor.plan.plan import Plan
from compressor.report.front_files import front_pages
from compressor.results.environment import environment
from compressor.results.front import Found, SearchReport, SearchTrial, State
from compressor.results.measurements import LatencyResult
from compressor.search.recipes.evaluating import Evaluator
from compressor.search.recipes.front import Values, front_of, hypervolume
from compressor.search.recipes.running import PLANS, plan_path, save_plan
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.study import Study, Told
from compressor.search.recipes.variables import Space
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.system.output_folder import replace_file

FRONT = "front.json"
WORST_LOSS = 0.1
"""Loss at which the box of the hypervolume ends without a budget, as a share of the original's."""


@dataclass(frozen=True)
class ResultOf:
    """A search whose trials are over.

    Attributes:
        session: How to measure.
        evaluator: Held them to what was asked.
        study: Has the trials.
        space: What was varied.
        folder: Where plans go.
    """

    session: Session
    evaluator: Evaluator
    study: Study
    space: Space
    folder: Path

    @property
    def shared(self) -> Shared:
        """What trials share."""
        return self.evaluator.maker.shared


def front_report(
    result: ResultOf,
    seconds: float,
    command: str | None,
    notices: tuple[str, ...],
    *,
    raced: bool,
) -> SearchReport:
    """The report; with every point of the front raced and planned, unless that was interrupted.

    Args:
        result: The search.
        seconds: What the run took so far.
        command: The command line.
        notices: What the user should know.
        raced: Whether to race the front.
    """
    told, held = result.study.told(), result.evaluator.held
    session, objectives = result.session, held.objectives
    kept = [one for one in told if one.values is not None and not one.violated]
    front = [kept[i] for i in front_of([_values(one) for one in kept])]
    front.sort(key=_values)
    trials = {one.number: _trial(one, held.values, one in front) for one in told}
    if raced:
        for one in front:
            trials[one.number] = _measured(result, one, trials[one.number])
        trials = _outdone(trials, [one.number for one in front], objectives)
        _clear(result.folder, {one.number for one in front})
    reference = reference_of(result.evaluator)
    rows = volumes(told, reference, objectives)
    importances, by = _importances(result)
    said = list(notices)
    if not front:
        said.append("no trial keeps the budget and the limits: nothing is on the front")
    return SearchReport(
        source=session.prepared.name,
        target=session.target.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=seconds,
        command=command,
        objectives=objectives,
        metric=held.metric.name,
        unit=held.metric.unit,
        allowed=held.allowed,
        sampler=session.recipe.search.sampler,
        seed=session.recipe.seed,
        validation=f"{result.evaluator.validation} on {len(result.evaluator.samples)} samples",
        space=result.space.told(),
        trials=tuple(trials[number] for number in sorted(trials)),
        front=tuple(one.number for one in front),
        hypervolume=rows,
        reference=reference,
        importances=importances,
        importance_by=by,
        study={"storage": result.study.where, "name": session.recipe.search.study},
        notices=tuple(said),
        environment=environment(),
    )


def write_front(folder: Path, report: SearchReport) -> None:
    """`front.json`, and the pages that show it, each whole or not at all."""
    replace_file(folder / FRONT, report.model_dump_json(indent=1) + "\n")
    for name, text in front_pages(report).items():
        replace_file(folder / name, text)


def _values(one: Told) -> Values:
    assert one.values is not None, "it was measured whole"
    return one.values


def _trial(one: Told, values: Callable[[Found], dict[str, float]], on_front: bool) -> SearchTrial:
    found = one.found or Found()
    return SearchTrial(
        number=one.number,
        recipe=one.point,
        state=_state(one, on_front),
        values=values(found),
        found=found.model_copy(update={"stopped": one.failed}) if one.failed else found,
    )


def _state(one: Told, on_front: bool) -> State:
    if one.failed is not None:
        return "failed"
    if one.values is None:
        return "infeasible" if one.violated else "stopped"
    if one.violated:
        return "infeasible"
    return "front" if on_front else "dominated"


def _measured(result: ResultOf, one: Told, trial: SearchTrial) -> SearchTrial:
    """With its plan, and the latency of what that plan makes, raced against the float baseline."""
    session, path = result.session, plan_path(result.folder, one.number)
    if not path.exists():
        maker = result.evaluator.maker
        save_plan(result.shared, result.folder, one.number, maker.made(maker.outline(one.point)))
    latency = None
    if "latency" in result.evaluator.held.objectives and result.shared.is_timed:
        outcome = replay(session, Plan.load(path).graphs["model"])

        def race() -> Any:
            with session.progress.stage(f"race trial {one.number}"):
                seconds = session.recipe.measure.seconds
                found = session.race(result.shared.start.baseline, outcome.shipped, seconds=seconds)
            return None if found is None else found.model_dump(mode="json")

        kept = result.shared.noted(f"race of trial {one.number}", race)
        latency = None if kept is None else LatencyResult.model_validate(kept)
    relative = path.relative_to(result.folder).as_posix()
    return trial.model_copy(update={"plan": relative, "latency": latency})


def _outdone(
    trials: dict[int, SearchTrial], front: Sequence[int], objectives: Sequence[str]
) -> dict[int, SearchTrial]:
    """With what others on the front beat in everything, by the latency that was raced."""
    rows = []
    for number in front:
        trial = trials[number]
        values = dict(trial.values)
        if trial.latency is not None and trial.latency.is_known and "latency" in values:
            values["latency"] = trial.latency.milliseconds[1] / 1e3
        rows.append(tuple(values[name] for name in objectives))
    best = {front[i] for i in front_of(rows)}
    outdone = {n: trials[n].model_copy(update={"outdone": True}) for n in front if n not in best}
    return trials | outdone


def _clear(folder: Path, front: set[int]) -> None:
    """Remove plans of trials that others have beaten since."""
    there = (folder / PLANS).glob("trial-*")
    for path in there:
        number = path.name.removeprefix("trial-")
        if number.isdigit() and int(number) not in front:
            shutil.rmtree(path)


def reference_of(evaluator: Evaluator) -> dict[str, float]:
    """The worst that counts: the float baseline, and the loss that is allowed, or a tenth."""
    held = evaluator.held
    found: dict[str, float] = {}
    for name in held.objectives:
        if name == "quality":
            found[name] = held.allowed or WORST_LOSS * abs(held.baseline) or 1.0
        elif name == "latency":
            maker = evaluator.maker
            found[name] = maker.made(maker.outline({"precision": "float"})).seconds or 1.0
        else:
            found[name] = _room_of_float(evaluator, name)
    return found


def _room_of_float(evaluator: Evaluator, objective: str) -> float:
    """Bytes of the float baseline, measured once."""
    shared, peak = evaluator.maker.shared, objective == "memory"
    baseline = shared.start.baseline

    def measured() -> int:
        size, most = evaluator.room(baseline, peak=peak)
        return size if most is None else most

    return float(shared.noted(f"{objective} of float", measured))


def volumes(
    told: Sequence[Told], reference: dict[str, float], objectives: Sequence[str]
) -> tuple[float, ...]:
    """The share of the box that is dominated after each trial."""
    worst = tuple(reference[name] for name in objectives)
    seen, rows = list[Values](), list[float]()
    for one in told:
        if one.values is not None and not one.violated:
            seen = [*seen, one.values]
            seen = [seen[i] for i in front_of(seen)]
        rows.append(hypervolume(seen, worst))
    return tuple(rows)


def _importances(result: ResultOf) -> tuple[dict[str, dict[str, float]], str]:
    found, by = dict[str, dict[str, float]](), ""
    for index, name in enumerate(result.evaluator.held.objectives):
        found[name], by = result.study.importances(index)
    return found, by
