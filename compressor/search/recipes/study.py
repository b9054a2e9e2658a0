"""The trials of a search, kept in Optuna's storage.

Optuna is imported here, in `storage` and in `samplers` only, and only when a search runs. Its study
holds what was asked (`params`), what came of it (`values`, constraints, and `Found` as a user
attribute) and what study it is (`identity`), so that another process, or a later one, goes on with
it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import UsageError
from compressor.results.front import Found
from compressor.search.recipes.ownership import OWNER, is_lost, owner
from compressor.search.recipes.samplers import LEARN_FROM_ESTIMATES, sampler_of, seed_of
from compressor.search.recipes.storage import JOURNAL, first_line, hidden, opened, quiet
from compressor.search.recipes.variables import Choice, Point, Space, Value

if TYPE_CHECKING:
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

FOUND, RETRY, IDENTITY = "found", "retry_of", "identity"


@dataclass(frozen=True)
class Asked:
    """A trial that is to be evaluated."""

    number: int
    point: dict[str, Value]


@dataclass(frozen=True)
class Told:
    """A trial that has ended.

    Attributes:
        number: In the study.
        point: Variable → value.
        found: What was measured; None where it failed.
        values: Of the objectives, minimized; None where it was stopped or failed.
        violated: Limit → by what share it is exceeded, where it is.
        failed: Why it gave nothing; None where it did not fail.
    """

    number: int
    point: dict[str, Value]
    found: Found | None
    values: tuple[float, ...] | None
    violated: Mapping[str, float]
    failed: str | None = None


class Study:
    """One search: asks for recipes, and keeps what came of them."""

    def __init__(
        self, study: OptunaStudy, space: Space, *, sampler: str, seed: int, where: str, storage: Any
    ) -> None:
        """Take over what killed processes left.

        Args:
            study: Optuna's.
            space: What may be asked for.
            sampler: Its name.
            seed: Of the search.
            where: The storage, in words.
            storage: The same as Optuna's; it is closed with the study.
        """
        self._study, self._space, self.where = study, space, where
        self._storage = storage
        self._sampler, self._seed = sampler, seed
        self._distributions = _distributions(space)
        self._open: dict[int, Any] = {}
        self.taken_up = self._take_up()

    def close(self) -> None:
        """Close connections to a database."""
        if hasattr(self._storage, "engine"):
            self._storage.remove_session()
            self._storage.engine.dispose()

    def told(self) -> list[Told]:
        """The trials that have ended, in the order in which they were asked for."""
        with quiet():
            trials = self._study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished() and _counts(trial)]
        return [_told(trial, self._space) for trial in ended]

    def enqueue(self, points: Sequence[Point]) -> None:
        """Have these evaluated first, where the study does not know them yet."""
        with quiet():
            for point in points:
                fitted = self._space.fitted(point)
                self._study.enqueue_trial(fitted, skip_if_exists=True)

    def ask(self, several: bool = False) -> Asked:
        """The next recipe: what is enqueued, else what the sampler proposes."""
        index = sum(1 for _ in self.told()) + len(self._open)
        with quiet():
            if self._sampler == "grid":
                self._enqueue_next()
            seed = seed_of(self._seed, index)
            self._study.sampler = sampler_of(self._sampler, seed, several=several)
            trial = self._study.ask(self._distributions)
            trial.set_user_attr(OWNER, owner())
        self._open[trial.number] = trial
        values = {name: _as_value(self._space, name, v) for name, v in trial.params.items()}
        return Asked(trial.number, values)

    def tell(
        self,
        asked: Asked,
        found: Found,
        values: tuple[float, ...] | None,
        violated: Mapping[str, float],
        estimate: tuple[float, ...] | None = None,
    ) -> None:
        """Keep what came of a trial.

        Args:
            asked: The trial.
            found: All of it.
            values: The objectives; None where it was stopped.
            violated: Limit → by what share it exceeds that.
            estimate: What is known of the objectives of one that was stopped. It is what samplers
                learn from that pass over other stopped trials: where three of four are stopped,
                NSGA-II would hardly come to its second generation.
        """
        from optuna.trial import TrialState  # noqa: PLC0415 - as above

        trial = self._open.pop(asked.number)
        with quiet():
            trial.set_user_attr(FOUND, found.model_dump_json())
            for name, share in violated.items():
                trial.set_constraint(name, share)
            # CMA-ES knows no constraints: what exceeds one must not be what it goes by.
            over = self._sampler == "cmaes" and any(share > 0 for share in violated.values())
            if values is None and self._sampler in LEARN_FROM_ESTIMATES:
                values = estimate
            if values is None or over:
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, list(values))

    def fail(self, asked: Asked, reason: str) -> None:
        """Keep that a recipe cannot be made; it counts as a trial."""
        from optuna.trial import TrialState  # noqa: PLC0415 - as above

        trial = self._open.pop(asked.number)
        with quiet():
            trial.set_user_attr("failed", reason)
            self._study.tell(trial, state=TrialState.FAIL)

    def note(self, name: str, value: Any) -> None:
        """Keep something that all trials share."""
        self._study.set_user_attr(name, value)

    def noted(self, name: str) -> Any:
        """What was kept under a name; None where nothing was."""
        return self._study.user_attrs.get(name)

    def importances(self, target: int) -> tuple[dict[str, float], str]:
        """Variable → its share in the variance of an objective, and what estimated that.

        fANOVA (Hutter et al. 2014) where scikit-learn is installed, else PED-ANOVA (Watanabe et
        al. 2023), which few trials mislead. Empty where there is too little to tell.
        """
        from optuna import importance  # noqa: PLC0415 - as above

        chosen: tuple[Any, str]
        try:
            import sklearn  # noqa: F401, PLC0415 - whether it is there

            chosen = importance.FanovaImportanceEvaluator(seed=self._seed), "fANOVA"
        except ImportError:
            chosen = importance.PedAnovaImportanceEvaluator(), "PED-ANOVA"
        with quiet():
            try:
                found = importance.get_param_importances(
                    self._study, evaluator=chosen[0], target=lambda trial: trial.values[target]
                )
            except (ValueError, RuntimeError):
                return {}, chosen[1]
        return {name: float(share) for name, share in found.items()}, chosen[1]

    def is_exhausted(self) -> bool:
        """Whether every point of a grid was asked for; other samplers never end."""
        with quiet():
            return self._sampler == "grid" and not self._waits() and self._unseen() is None

    def _waits(self) -> bool:
        trials = self._study.get_trials(deepcopy=False)
        return any(trial.state.name == "WAITING" for trial in trials)

    def _unseen(self) -> dict[str, Value] | None:
        """The next point of the grid that no trial has, in an order drawn by the seed."""
        grid = self._space.grid()
        random.Random(self._seed).shuffle(grid)
        seen = [{**trial.params} for trial in self._study.get_trials(deepcopy=False)]
        return next((one for one in grid if one not in seen), None)

    def _enqueue_next(self) -> None:
        point = None if self._waits() else self._unseen()
        if point is not None:
            self._study.enqueue_trial(point)

    def _take_up(self) -> int:
        """Enqueue anew what processes that are gone were at; how many trials that is."""
        from optuna.trial import TrialState  # noqa: PLC0415 - as above

        count = 0
        with quiet():
            trials = self._study.get_trials(deepcopy=False)
            longest = max((_seconds(one) for one in trials), default=0.0)
            for trial in trials:
                if trial.state != TrialState.RUNNING or not is_lost(trial, longest):
                    continue
                self._study.tell(trial.number, state=TrialState.FAIL)
                if set(trial.params) == set(self._space.variables):
                    retried = {RETRY: trial.number}
                    self._study.enqueue_trial(trial.params, user_attrs=retried)
                count += 1
        return count


def open_study(
    folder: Path,
    space: Space,
    identity: Mapping[str, str],
    *,
    objectives: int,
    storage: str | None,
    name: str,
    sampler: str,
    seed: int,
) -> Study:
    """The study of a folder or of a database, made where there is none.

    Args:
        folder: Holds the journal, unless `storage` names a database.
        space: What may be asked for.
        identity: What a study is of: name → value, all texts.
        objectives: How many there are.
        storage: URL of a database that several processes and machines share; None for the journal.
        name: The study's, in that storage.
        sampler: The sampler's name.
        seed: Of the search.

    Raises:
        UsageError: The storage cannot be opened, or its study is of something else.
    """
    import optuna  # noqa: PLC0415 - only a search loads it

    with quiet():
        try:
            lies = opened(folder, storage)
            known = name in optuna.study.get_all_study_names(lies)
            minimized = optuna.study.StudyDirection.MINIMIZE
            study = (
                optuna.load_study(study_name=name, storage=lies)
                if known
                else optuna.create_study(
                    study_name=name, storage=lies, directions=[minimized] * objectives
                )
            )
        except Exception as error:  # of any database driver
            where = hidden(storage) if storage else str(folder / JOURNAL)
            raise UsageError(
                f"the study's storage {where} cannot be opened: {first_line(error)}",
                hint="Check --storage (its driver, too): postgresql+psycopg://USER@HOST/DATABASE, "
                "mysql+pymysql://…, or sqlite:///FILE."
                if storage
                else "Choose another folder with -o, or begin anew with --force.",
            ) from error
        if known:
            _require_same(study.user_attrs.get(IDENTITY, {}), identity, name, storage)
        else:
            study.set_user_attr(IDENTITY, dict(identity))
    where = hidden(storage) if storage else JOURNAL
    return Study(study, space, sampler=sampler, seed=seed, where=where, storage=lies)


def _require_same(
    found: Mapping[str, str], wanted: Mapping[str, str], name: str, storage: str | None
) -> None:
    """Refuse a study of something else.

    Raises:
        UsageError: It differs.
    """
    for key, value in wanted.items():
        if found.get(key) != value:
            where = f"{name!r} in {hidden(storage)}" if storage else "of the output folder"
            hint = (
                "Name another with --study." if storage else "Choose another -o, or pass --force."
            )
            raise UsageError(
                f"the study {where} is of another {key}: {_short(found.get(key))} there, "
                f"{_short(value)} here",
                hint=f"Search as before to go on with it. {hint}",
            )


def _short(text: str | None) -> str:
    told = "none" if text is None else text
    return told if len(told) <= 60 else f"{told[:57]}…"


def _distributions(space: Space) -> dict[str, Any]:
    from optuna import distributions  # noqa: PLC0415 - as above

    found: dict[str, Any] = {}
    for name, variable in space.variables.items():
        if isinstance(variable, Choice):
            found[name] = distributions.CategoricalDistribution(variable.values)
        elif variable.whole:
            low, high, step = int(variable.low), int(variable.high), int(variable.step)
            found[name] = distributions.IntDistribution(low, high, step=step)
        else:
            top = float(variable.all[-1])
            found[name] = distributions.FloatDistribution(variable.low, top, step=variable.step)
    return found


def _as_value(space: Space, name: str, value: Any) -> Value:
    """What the storage gives back, on the steps of the variable again."""
    variable = space.variables[name]
    if isinstance(variable, Choice):
        return str(value)
    return min(variable.all, key=lambda one: abs(float(one) - float(value)))


def _told(trial: FrozenTrial, space: Space) -> Told:
    kept = trial.user_attrs.get(FOUND)
    constraints = trial.system_attrs.items()
    violated = {
        key.partition(":")[2]: float(value)
        for key, value in constraints
        if key.startswith("constraints:") and value > 0
    }
    found = None if kept is None else Found.model_validate_json(kept)
    is_whole = trial.state.name == "COMPLETE" and (found is None or found.stopped is None)
    values = trial.values if is_whole else None
    return Told(
        trial.number,
        {name: _as_value(space, name, value) for name, value in trial.params.items()},
        found,
        None if values is None else tuple(values),
        violated,
        trial.user_attrs.get("failed"),
    )


def _counts(trial: FrozenTrial) -> bool:
    """Whether it came to an end of its own: a killed one was taken up again by another."""
    return trial.state.name != "FAIL" or "failed" in trial.user_attrs


def _seconds(trial: FrozenTrial) -> float:
    return 0.0 if trial.duration is None else trial.duration.total_seconds()
