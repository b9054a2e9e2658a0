"""The trials of a search, kept in Optuna's storage.

Optuna is imported here and in `samplers` only, and only when a search runs. Its study holds what
was asked (`params`), what came of it (`values`, constraints, and `Found` as a user attribute) and
what study it is (`identity`), so that another process, or a later one, goes on with it.
"""

from __future__ import annotations

import os
import random
import socket
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from compressor.errors import OutputError, UsageError
from compressor.results.front import Found
from compressor.search.recipes.samplers import sampler_of, seed_of
from compressor.search.recipes.variables import Choice, Point, Space, Value
from compressor.system.hardware import processor

if TYPE_CHECKING:
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

JOURNAL = "study.journal"
LOCK = "search.pid"
FOUND, OWNER, RETRY, IDENTITY = "found", "owner", "retry_of", "identity"
LOST = timedelta(hours=1)
"""A trial of another machine that has run so long, and ten times the longest, counts as killed."""


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
            trial.set_user_attr(OWNER, _owner())
        self._open[trial.number] = trial
        values = {name: _as_value(self._space, name, v) for name, v in trial.params.items()}
        return Asked(trial.number, values)

    def tell(
        self,
        asked: Asked,
        found: Found,
        values: tuple[float, ...] | None,
        violated: Mapping[str, float],
    ) -> None:
        """Keep what came of a trial."""
        from optuna.trial import TrialState  # noqa: PLC0415 - as above

        trial = self._open.pop(asked.number)
        with quiet():
            trial.set_user_attr(FOUND, found.model_dump_json())
            for name, share in violated.items():
                trial.set_constraint(name, share)
            # CMA-ES knows no constraints: what exceeds one must not be what it goes by.
            over = self._sampler == "cmaes" and any(share > 0 for share in violated.values())
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
                if trial.state != TrialState.RUNNING or not _is_lost(trial, longest):
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
            opened = _storage(folder, storage)
            known = name in optuna.study.get_all_study_names(opened)
            minimized = optuna.study.StudyDirection.MINIMIZE
            study = (
                optuna.load_study(study_name=name, storage=opened)
                if known
                else optuna.create_study(
                    study_name=name, storage=opened, directions=[minimized] * objectives
                )
            )
        except Exception as error:  # of any database driver
            where = _hidden(storage) if storage else str(folder / JOURNAL)
            raise UsageError(
                f"the study's storage {where} cannot be opened: {_first_line(error)}",
                hint="Check --storage (its driver, too): postgresql+psycopg://USER@HOST/DATABASE, "
                "mysql+pymysql://…, or sqlite:///FILE."
                if storage
                else "Choose another folder with -o, or begin anew with --force.",
            ) from error
        if known:
            _require_same(study.user_attrs.get(IDENTITY, {}), identity, name, storage)
        else:
            study.set_user_attr(IDENTITY, dict(identity))
    where = _hidden(storage) if storage else JOURNAL
    return Study(study, space, sampler=sampler, seed=seed, where=where, storage=opened)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is searched by this process alone; others join by a database.

    Raises:
        OutputError: Another process that lives is at it.
    """
    lock = folder / LOCK
    try:
        other = int(lock.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        other = None
    if other is not None and other != os.getpid() and _is_search(other):
        raise OutputError(
            f"{folder} is being searched by process {other}",
            hint="Wait for it, or let both join one study: --storage URL, each with an -o of its "
            "own.",
        )
    lock.write_text(str(os.getpid()), encoding="utf-8")
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna logs every trial, and warns of what is experimental in it."""
    import optuna  # noqa: PLC0415 - as above

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _storage(folder: Path, url: str | None) -> Any:
    from optuna import storages  # noqa: PLC0415 - as above
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - as above

    if url is not None:
        return storages.RDBStorage(url)
    path = folder / JOURNAL
    _mend(path)
    return storages.JournalStorage(JournalFileBackend(str(path)))


def _mend(path: Path) -> None:
    """Drop the line that a killed process did not finish: behind it nothing could be read."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def _require_same(
    found: Mapping[str, str], wanted: Mapping[str, str], name: str, storage: str | None
) -> None:
    """Refuse a study of something else.

    Raises:
        UsageError: It differs.
    """
    for key, value in wanted.items():
        if found.get(key) != value:
            where = f"{name!r} in {_hidden(storage)}" if storage else "of the output folder"
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


def _hidden(url: str | None) -> str:
    """A URL without its password."""
    try:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - with Optuna

        return make_url(url or "").render_as_string(hide_password=True)
    except Exception:  # no URL at all: told as it is
        return str(url)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]


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
    values = trial.values if trial.state.name == "COMPLETE" else None
    return Told(
        trial.number,
        {name: _as_value(space, name, value) for name, value in trial.params.items()},
        None if kept is None else Found.model_validate_json(kept),
        None if values is None else tuple(values),
        violated,
        trial.user_attrs.get("failed"),
    )


def _counts(trial: FrozenTrial) -> bool:
    """Whether it came to an end of its own: a killed one was taken up again by another."""
    return trial.state.name != "FAIL" or "failed" in trial.user_attrs


def _seconds(trial: FrozenTrial) -> float:
    return 0.0 if trial.duration is None else trial.duration.total_seconds()


def _owner() -> dict[str, Any]:
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "since": process.create_time()}


def _is_lost(trial: FrozenTrial, longest: float) -> bool:
    """Whether the process that was at a trial is gone."""
    owner = trial.user_attrs.get(OWNER)
    if owner is not None and owner["host"] == socket.gethostname():
        if owner["pid"] == os.getpid():
            return True  # of an earlier call, which an error ended
        try:
            other = psutil.Process(owner["pid"])
            return bool(abs(other.create_time() - owner["since"]) > 1.0)
        except psutil.NoSuchProcess:
            return True
    began = trial.datetime_start
    if owner is None and began is None:
        return True
    most = max(LOST, timedelta(seconds=10 * longest))
    return began is not None and datetime.now() - began > most


def _is_search(pid: int) -> bool:
    """Whether a process runs, and is Python: numbers are used again."""
    try:
        return "python" in psutil.Process(pid).name() or "compress" in psutil.Process(pid).name()
    except psutil.Error:
        return False


def machine_words() -> str:
    """This host and its processor."""
    return f"{socket.gethostname()}, {processor()}"
