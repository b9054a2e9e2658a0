"""The loop of a recipe search: asked, evaluated, told, until trials or time are over."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compressor.plan.plan import Plan
from compressor.results.front import Found
from compressor.search.recipes.evaluating import Evaluator, UnmakeableError
from compressor.search.recipes.front import Values, front_of
from compressor.search.recipes.making import Made, Outline
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.study import Asked, Study, Told
from compressor.search.recipes.variables import Value
from compressor.system.workers import LostWorkerError, Workers

PLANS = "plans"
STARTS = 8
"""Points of the sensitivity table's front that are tried first."""


Remote = Callable[[int, Mapping[str, Value], list[Values]], Found]
"""Evaluates a point in another process: the trial's number, the point, the front so far."""


@dataclass
class Search:
    """One search, of one process that asks and tells.

    Attributes:
        study: Keeps trials.
        evaluator: Measures them.
        folder: Where plans go.
        trials: How many there are in the end; None for as many as there is time for.
        seconds: How long it may take; None for no limit.
        workers: Evaluate trials at the same time; None where this process does.
        remote: What they do, by what is known when a trial is handed to them.
    """

    study: Study
    evaluator: Evaluator
    folder: Path
    trials: int | None
    seconds: float | None
    workers: Workers | None = None
    remote: Callable[[], Remote] | None = None

    @property
    def shared(self) -> Shared:
        """What trials share."""
        return self.evaluator.maker.shared

    def run(self) -> None:
        """Trials, until there are enough.

        Raises:
            KeyboardInterrupt: The trials that were running are taken up again by the next run.
        """
        timer = self.shared.session.timer
        began, done = timer.now(), len(self.study.told())
        total = None if self.trials is None else max(0, self.trials - done)
        most = 1 if self.workers is None else self.workers.count
        running: dict[int, tuple[Asked, str]] = {}
        with self.shared.session.progress.stage("search recipes", total=total) as advance:
            while True:
                while len(running) < most and not self._is_over(
                    done + len(running), timer.now() - began
                ):
                    ended = self._begin(running)
                    done += ended
                    advance(ended)
                if not running:
                    return
                self._gather(running)
                done += 1
                advance(1)

    def _is_over(self, asked: int, spent: float) -> bool:
        if self.trials is not None and asked >= self.trials:
            return True
        return (self.seconds is not None and spent >= self.seconds) or self.study.is_exhausted()

    def _begin(self, running: dict[int, tuple[Asked, str]]) -> int:
        """Ask for a trial, and evaluate it or hand it to a worker; how many have ended by that."""
        asked = self.study.ask(several=self.workers is not None)
        try:
            outline, key = self.evaluator.outlined(asked.point)
            found = self._known(key)
            if found is None and self.workers is not None and self.remote is not None:
                front = _front(self.study.told())
                ticket = self.workers.submit(self.remote(), asked.number, asked.point, front)
                running[ticket] = (asked, key)
                return 0
            if found is None:
                found = self._found(asked, outline, key)
        except UnmakeableError as error:
            self.study.fail(asked, str(error))
        else:
            self._tell(asked, found)
        return 1

    def _gather(self, running: dict[int, tuple[Asked, str]]) -> None:
        """Tell what a worker found."""
        assert self.workers is not None, "something runs there"
        ticket, answer = self.workers.gather()
        asked, _ = running.pop(ticket)
        if isinstance(answer, UnmakeableError | LostWorkerError):
            self.study.fail(asked, str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            self._tell(asked, answer)

    def _tell(self, asked: Asked, found: Found) -> None:
        held = self.evaluator.held
        values, violated = held.scored(found)
        self.study.tell(asked, found, values, violated, held.estimated(found))

    def _known(self, key: str) -> Found | None:
        """What an earlier trial found that made the same."""
        for one in self.study.told():
            if one.found is not None and one.found.key == key and one.found.stopped is None:
                return one.found.model_copy(update={"same_as": one.number, "seconds": 0.0})
        return None

    def _found(self, asked: Asked, outline: Outline, key: str) -> Found:
        front = _front(self.study.told())
        with self.shared.session.progress.stage(f"trial {asked.number}"):
            return found_and_planned(self.evaluator, self.folder, asked.number, outline, key, front)


def found_and_planned(
    evaluator: Evaluator,
    folder: Path,
    number: int,
    outline: Outline,
    key: str,
    front: list[Values],
) -> Found:
    """Evaluate a trial, and write the plan of what nothing beats so far.

    Raises:
        UnmakeableError: It gives no graph.
    """
    found, made = evaluator.evaluated(outline, key, front)
    values, violated = evaluator.held.scored(found)
    if made is None or values is None or any(share > 0 for share in violated.values()):
        return found
    if len(front) in front_of([*front, values]):
        save_plan(evaluator.maker.shared, folder, number, made)
    return found


def _front(told: Sequence[Told]) -> list[Values]:
    """The objectives of the feasible trials so far that nothing beats."""
    values = [one.values for one in feasible(told) if one.values is not None]
    return [values[i] for i in front_of(values)]


def save_plan(shared: Shared, folder: Path, number: int, made: Made) -> Path:
    """Write a trial's plan as `--plan` takes it."""
    path = plan_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    data, session = shared.calibration, shared.session
    plan = Plan(
        target=session.target.name,
        seed=session.recipe.seed,
        calibration=None if data is None else data.fingerprint(),
        graphs={"model": made.plan},
    )
    plan.save(path)
    return path


def plan_path(folder: Path, number: int) -> Path:
    """Where the plan of a trial lies."""
    return folder / PLANS / f"trial-{number:03d}" / "plan.json"


def feasible(told: Sequence[Told]) -> list[Told]:
    """The trials that were measured whole and exceed no limit."""
    return [one for one in told if one.values is not None and not one.violated]


def starting_points(shared: Shared, names: Sequence[str]) -> list[dict[str, Value]]:
    """Recipes to begin with: the front of the sensitivity table, by integer programming.

    Each is the fastest choice of a precision for each region within a bound on the summed damage,
    from all that can be integer to nothing; all else as `compress` would do it.
    """
    plain: dict[str, Value] = {
        "precision": "int8",
        "ranges": "auto",
        "equalization": "auto",
        "smoothing": "auto",
        "rounding": "gptq",
        "bias": "plain",
        "prune": 0.0,
        "blocks": 0,
        "widths": "allocated",
    }
    if "regions" not in names or not shared.can_be_integer:
        return [plain]
    found, seen = [], set[tuple[int, ...]]()
    for share in np.linspace(1.0, 0.0, 21):
        chosen = shared.regions.chosen(float(share))
        if chosen not in seen:
            seen.add(chosen)
            found.append({**plain, "regions": float(share)})
    if len(found) <= STARTS:
        return found
    picked = {round(i * (len(found) - 1) / (STARTS - 1)) for i in range(STARTS)}
    return [found[i] for i in sorted(picked)]
