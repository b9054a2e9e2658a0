"""One search of a prepared model: trials, the front, and what they are held to."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compressor.checkpoint.prepare import prepare
from compressor.commands.search_asked import Asked, asked_of
from compressor.commands.search_folder import STUDY, Notes, seal
from compressor.commands.search_result import ResultOf, front_report, write_front
from compressor.commands.search_space import require_measurable, require_timed_alone, space_of
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics.base import BASELINE
from compressor.graph.fingerprint import fingerprint
from compressor.layerwise.factor import own_threads
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.data import require_two
from compressor.recipe.targets import available_target
from compressor.results.front import Found, SearchReport
from compressor.search.acceptance import Acceptance, GraphJudge, NoBudget
from compressor.search.data_split import DataSplit, examined, looked_at, split_data
from compressor.search.quality_budget import QualityBudget, divided_for_budget
from compressor.search.recipes.evaluating import Evaluator, Yardsticks
from compressor.search.recipes.folds import parts_of
from compressor.search.recipes.front import Values
from compressor.search.recipes.making import Maker
from compressor.search.recipes.running import Search, found_and_planned, starting_points
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.study import Study, open_study
from compressor.search.recipes.variables import Space, Value
from compressor.search.session import Session
from compressor.system.hardware import processor
from compressor.system.progress import SILENT, Progress
from compressor.system.stopwatch import Stopwatch
from compressor.system.workers import Workers, require_sendable


@dataclass(frozen=True)
class SearchSpec:
    """What another process makes the same search of.

    Attributes:
        model: As it was given.
        calibration: Likewise.
        evaluation: Likewise.
        recipe: What is asked for.
        folder: The study's.
    """

    model: object
    calibration: object
    evaluation: object
    recipe: Recipe
    folder: Path

    def require_readable(self) -> None:
        """Refuse what other processes cannot read.

        Raises:
            UsageError: The model is no file, or the data is of this process alone.
        """
        if not isinstance(self.model, str | Path):
            raise UsageError(
                "workers read the model from a file, and a live one is given",
                hint="Save it and pass its path, or leave --workers out.",
            )
        require_sendable(calibration=self.calibration, evaluation=self.evaluation)


def job_of(spec: SearchSpec, asked: "Asked", progress: Progress) -> "Job":
    """The search of a spec, in this process.

    Raises:
        CompressorError: As for `compress`.
    """
    recipe, backend = spec.recipe, available_target(spec.recipe)
    prepared = prepare(
        spec.model,
        target=backend,
        recipe=recipe,
        calibration=spec.calibration,
        evaluation=spec.evaluation,
        progress=progress,
    )
    data = examined(prepared, split_data(prepared, recipe.seed), progress)
    prepared = looked_at(prepared, data, recipe, backend, progress)
    session = Session(prepared, recipe, backend, progress)
    return Job(session, *_divided(session, data), asked, spec.folder)


def _divided(session: Session, data: DataSplit) -> tuple[DataSplit, Acceptance]:
    """One half of what judges to search on, the other to confirm; with a budget or without."""
    if data.quality is None:
        raise DataError(
            f"a search needs samples to judge on: {data.quality_reason}",
            hint="Pass --eval with labels, or --calib: a fifth of it is held out then.",
        )
    if session.recipe.budget.allowed is not None:
        return divided_for_budget(session, data)
    prepared = session.prepared
    own = None if prepared.evaluation is not None else prepared.calibration
    require_two(len(data.quality), None if own is None else len(own), "a search")
    search_half, confirm = data.quality.split(0.5, session.recipe.seed)
    divided = replace(data, quality=confirm, search=search_half)
    return divided, NoBudget(session, confirm, data.words)


@dataclass(frozen=True)
class Job:
    """One search of a prepared model."""

    session: Session
    data: DataSplit
    acceptance: Acceptance
    asked: Asked
    folder: Path

    def run(
        self, watch: Stopwatch, command: str | None, spec: SearchSpec, workers: Workers | None
    ) -> SearchReport:
        """Search, race the front, and write both.

        Raises:
            KeyboardInterrupt: After what was found was written.
        """
        shared = self.shared()
        require_measurable(shared, self.asked.limits)
        space = space_of(shared)
        evaluator = self.evaluator(shared)
        study = self._study(space, evaluator.held)
        if self.session.recipe.search.warm_start:
            study.enqueue(starting_points(shared, list(space.variables)))
        running = Search(study, evaluator, self.folder, self.asked.trials, self.asked.seconds)
        interrupted = False
        with ExitStack() as stack:
            if workers is not None:
                stack.enter_context(closing(workers))
                held = {*self.asked.objectives, *(limit.objective for limit in self.asked.limits)}
                require_timed_alone(space, held)
                shared.measure(space.variables)
                running.workers = workers
                running.remote = lambda: Remotely(spec, shared.blocks, self.notes().all)
            try:
                running.run()
            except KeyboardInterrupt:
                interrupted = True
        result = ResultOf(self.session, evaluator, study, space, self.folder)
        notices = self._notices(study)
        report = front_report(result, watch.seconds, command, notices, raced=not interrupted)
        study.close()
        write_front(self.folder, report)
        seal(self.folder)
        if interrupted:
            raise KeyboardInterrupt(
                f"interrupted: {len(report.trials)} trials are kept in {self.folder}; the same "
                "command goes on with them"
            )
        return report

    def shared(self, blocks: int = 0, notes: "Notes | None" = None) -> Shared:
        """What trials share; with what another process has found out, in a worker."""
        samples = self.data.search
        assert samples is not None, "the data was divided"
        noted = self.notes() if notes is None else notes
        found = self.session, self.data.calibration, samples, noted.of
        return Shared(*found, self.asked.objectives, blocks)

    def notes(self) -> "Notes":
        """What a clock decided, in the folder."""
        return Notes(self.folder / STUDY)

    def evaluator(self, shared: Shared) -> Evaluator:
        """What measures trials."""
        how = self.asked.validation
        parts = parts_of(shared.judging, how, self.session.recipe.seed)
        judge = GraphJudge(self.session)
        return Evaluator(Maker(shared), judge, self.yardsticks(), shared.judging, parts, how)

    def yardsticks(self) -> Yardsticks:
        """What trials are held to."""
        session, samples = self.session, self.data.search
        yardstick = session.prepared.yardstick
        if yardstick is None or not yardstick.metrics or samples is None:
            reason = self.data.quality_reason if yardstick is None else yardstick.reason
            raise DataError(f"quality cannot be measured: {reason}", hint="Pass --eval DATA.")
        metric, judge = yardstick.metrics[0], GraphJudge(session)
        with session.progress.stage("measure the original"), judge.original() as original:
            scores = yardstick.scores(metric, {BASELINE: original}, samples, judge.batch)
        baseline = float(metric.aggregate(scores.units[BASELINE]))
        budget = session.recipe.budget.allowed
        bound = isinstance(self.acceptance, QualityBudget) and self.acceptance.provable
        return Yardsticks(
            metric,
            baseline,
            self.asked.objectives,
            {limit: limit.at_most(baseline, metric.name) for limit in self.asked.limits},
            None if budget is None else budget.allowed(baseline, metric.name),
            bound and session.recipe.budget.accept == "bound",
        )

    def _study(self, space: Space, yardsticks: Yardsticks) -> Study:
        """The study of this folder, or of the database."""
        session, options = self.session, self.session.recipe.search
        samples, calibration = self.data.search, self.data.calibration
        assert samples is not None and calibration is not None, "both were required"
        identity = {
            "model": fingerprint(session.prepared.model),
            "target": session.target.name,
            "set of objectives": ", ".join(self.asked.objectives),
            "metric": yardsticks.metric.name,
            "budget": str(session.recipe.budget.max_drop),
            "set of limits": ", ".join(map(str, self.asked.limits)) or "none",
            "validation": str(self.asked.validation),
            "seed": str(session.recipe.seed),
            "space": "; ".join(map(str, space.variables.values())),
            "set of calibration samples": calibration.fingerprint(),
            "set of evaluation samples": samples.fingerprint(),
        }
        return open_study(
            self.folder,
            space,
            identity,
            objectives=len(self.asked.objectives),
            storage=options.storage,
            name=options.study,
            sampler=options.sampler,
            seed=session.recipe.seed,
        )

    def _notices(self, study: Study) -> tuple[str, ...]:
        said = list(self.data.notices)
        seen = {one.found.machine for one in study.told() if one.found is not None}
        processors = sorted({machine.partition(", ")[2] for machine in seen if machine})
        if len(processors) > 1:
            said.append(
                f"trials ran on {' and '.join(processors)}: latency is of {processor()} alone, and "
                "sums of 8-bit products may differ between them"
            )
        if study.taken_up:
            said.append(
                f"{study.taken_up} trials of processes that were killed were taken up again"
            )
        return tuple(said)


@dataclass(frozen=True)
class Remotely:
    """Evaluates trials in a process that has the search of a spec, made once.

    Attributes:
        spec: What the search is of.
        blocks: Whole blocks that may go, at most.
        notes: What was measured and decided before: nothing is timed while others are at work.
    """

    spec: SearchSpec
    blocks: int
    notes: Mapping[str, Any]

    def __call__(self, number: int, point: Mapping[str, Value], front: list[Values]) -> Found:
        """What is found of a point.

        Raises:
            UnmakeableError: It gives no graph.
        """
        key = str(self.spec.folder)
        if key not in _MADE:
            job = job_of(self.spec, asked_of(self.spec.recipe), SILENT)
            notes = Notes(None, self.notes)
            _MADE[key] = job.evaluator(job.shared(self.blocks, notes)), notes
        evaluator, known = _MADE[key]
        known.learn(self.notes)
        outline, digest = evaluator.outlined(point)
        with own_threads():
            return found_and_planned(evaluator, self.spec.folder, number, outline, digest, front)


_MADE: dict[str, tuple[Evaluator, Notes]] = {}
"""Folder → what evaluates its trials, in a worker, and what that knows of other processes."""
