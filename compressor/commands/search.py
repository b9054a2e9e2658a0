"""`compress search`: the front between speed, size and quality of one model on one target."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from compressor.checkpoint import require_model
from compressor.checkpoint.prepare import prepare
from compressor.commands.account import GRAPH
from compressor.commands.compress import available_target, finish
from compressor.commands.search_result import ResultOf, front_report, write_front
from compressor.errors import BudgetError, DataError, GoalError, OutputError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE
from compressor.graph.fingerprint import fingerprint
from compressor.layerwise.factor import own_threads
from compressor.plan.plan import Plan
from compressor.recipe.paths import read_by
from compressor.recipe.policy import as_implied
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements import (
    require_same_cache,
    require_same_form,
    require_sense,
    require_two,
)
from compressor.results.format import loss_words, quality_difference
from compressor.results.front import Found, Picked, SearchReport, SearchTrial
from compressor.results.precision import STORED
from compressor.search.acceptance import Acceptance, GraphJudge, NoBudget
from compressor.search.data_split import DataSplit, examined, looked_at, split_data
from compressor.search.quality_budget import QualityBudget, divided_for_budget
from compressor.search.recipes.defaults import WIDEST, default_variables, known_variables
from compressor.search.recipes.evaluating import Evaluator, Yardsticks
from compressor.search.recipes.folds import Validation, parse_validation, parts_of
from compressor.search.recipes.front import Values, knee
from compressor.search.recipes.limits import Limit, parse_limits, parse_pick
from compressor.search.recipes.making import Maker
from compressor.search.recipes.running import Search, found_and_planned, starting_points
from compressor.search.recipes.samplers import require_sampler
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.study import Study, held, open_study
from compressor.search.recipes.variables import (
    Choice,
    Number,
    Space,
    Value,
    meant,
    narrowed,
)
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.system.hardware import processor
from compressor.system.output_folder import is_ours, manifest_of, replace_file, write_manifest
from compressor.system.output_folder import prepare as prepare_output
from compressor.system.progress import SILENT, Progress
from compressor.system.stopwatch import Stopwatch
from compressor.system.workers import Workers, workers_of

TRIALS = 60
"""Recipes that are tried where neither trials nor time are given."""
CACHE, PICKED, STUDY = "cache", "picked", "study.json"
MOST_POINTS = 20_000
"""Points above which a space is not laid out as a grid."""


def search(  # noqa: PLR0913 - as `compress`: all but the model is optional and named
    model: object,
    *,
    target: str | None = None,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | None = None,
    output: str | Path | None = None,
    workers: int | str = 1,
    force: bool = False,
    progress: Progress = SILENT,
    command: str | None = None,
) -> SearchReport:
    """Search recipes for the front between latency, quality, size and memory.

    Args:
        model: A path or a live module, as for `compress`.
        target: The runtime's name; the recipe's by default.
        calibration: Data that ranges, scores and repairs are of, as for `compress`.
        evaluation: Data that judges: half of it searches, the other half confirms what is picked.
        recipe: What is asked for; its section `search` says what is varied and minimized.
        output: The folder of the study and its result; default: the checkpoint's name with
            "-TARGET-search" beside it. A search that was broken off goes on there.
        workers: Processes here that evaluate trials at the same time, or the address of a Ray
            cluster, `auto` for the one that runs here; its nodes see the same files.
        force: Begin anew where the folder holds anything else.
        progress: Where progress is shown.
        command: The command line, for the report.

    Returns:
        The front, which was also written as `front.json`, `front.html` and `front.md`. What
        `search.pick` asked for lies in `picked`, as `compress` writes it.

    Raises:
        UsageError: Optuna is missing, or the study in the storage is of something else.
        RecipeError: A variable, limit or validation is not understood, or nothing varies.
        GoalError: Nothing on the front is what `search.pick` asks for; the front is written.
        BudgetError: The samples that no trial has seen do not confirm what was picked, which is
            written all the same.
        CompressorError: As for `compress`.
        KeyboardInterrupt: What was found so far is written, and the same call goes on with it.
    """
    watch = Stopwatch()
    recipe = recipe or Recipe()
    recipe = recipe if target is None else recipe.model_copy(update={"target": target})
    backend = available_target(recipe)
    recipe = as_implied(recipe, backend)
    asked = asked_of(recipe)
    require_sense(recipe, backend, find_metric)
    folder = _folder(model, recipe, output)
    _prepare_folder(folder, force, read_by(recipe, model, calibration, evaluation))
    require_model(model, recipe)
    with held(folder):
        spec = SearchSpec(model, calibration, evaluation, _with_cache(recipe, folder), folder)
        several = workers_of(str(workers))
        if several is not None:
            spec.require_path()
        job = job_of(spec, asked, progress)
        with own_threads():
            report = job.run(watch, command, spec, several)
            if asked.pick is not None:
                report = job.picked(report, model, watch, command)
    return report


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

    def require_path(self) -> None:
        """Refuse what other processes cannot read.

        Raises:
            UsageError: The model is no file.
        """
        if not isinstance(self.model, str | Path):
            raise UsageError(
                "workers read the model from a file, and a live one is given",
                hint="Save it and pass its path, or leave --workers out.",
            )


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
            _MADE[key] = job.evaluator(job.shared(self.blocks, self.notes))
        evaluator = _MADE[key]
        outline, digest = evaluator.outlined(point)
        with own_threads():
            return found_and_planned(evaluator, self.spec.folder, number, outline, digest, front)


_MADE: dict[str, Evaluator] = {}
"""Folder → what evaluates its trials, in a worker."""


@dataclass(frozen=True)
class Asked:
    """What was asked for, understood."""

    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    validation: Validation
    pick: tuple[Limit, ...] | None
    trials: int | None
    seconds: float | None


def asked_of(recipe: Recipe) -> Asked:
    """What the recipe asks for; all that can be refused before any work is refused here."""
    options = recipe.search
    if recipe.pipeline.loop is not None or recipe.graphs:
        raise UsageError(
            "a search is of one model, and a pipeline of several graphs is given",
            hint="Search the graph that takes longest by itself: compress search MODEL.",
        )
    if recipe.prune.goal is not None:
        raise UsageError(
            f"{recipe.prune.goal.flag} is a goal of one run: a search tries several",
            hint='Limit the front, as --limit "latency<=2ms", or narrow `prune` in [search.space].',
        )
    require_same_form(recipe, "compress search")
    require_same_cache(recipe, "compress search")
    require_sampler(options.sampler, len(options.objectives))
    meant(WIDEST, options.space)
    limits = tuple(one for text in options.limits for one in parse_limits(text, "--limit"))
    picked = None if options.pick is None else parse_pick(options.pick)
    for limit in picked or ():
        if limit.objective not in options.objectives:
            raise no_objective(limit, options.objectives)
    return Asked(
        options.objectives,
        limits,
        parse_validation(options.validation),
        picked,
        options.trials or (None if recipe.budget.seconds is not None else TRIALS),
        recipe.budget.seconds,
    )


def no_objective(limit: Limit, objectives: Sequence[str]) -> UsageError:
    """Why a limit picks nothing: front points have no values of other objectives."""
    asked = ",".join((*objectives, limit.objective))
    return UsageError(
        f"--pick {limit}: {limit.objective} is no objective of this search",
        hint=f"Search with --objectives {asked}.",
    )


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
        self._require_measurable(shared)
        space = self.space(shared)
        evaluator = self.evaluator(shared)
        study = self._study(space, evaluator.held)
        if self.session.recipe.search.warm_start:
            study.enqueue(starting_points(shared, list(space.variables)))
        running = Search(study, evaluator, self.folder, self.asked.trials, self.asked.seconds)
        interrupted = False
        with ExitStack() as stack:
            if workers is not None:
                stack.enter_context(closing(workers))
                self._require_timed_alone(space)
                shared.measure(space.variables)
                running.workers = workers
                running.remote = Remotely(spec, shared.blocks, self.notes().all)
            try:
                running.run()
            except KeyboardInterrupt:
                interrupted = True
        result = ResultOf(self.session, evaluator, study, space, self.folder)
        notices = self._notices(study)
        report = front_report(result, watch.seconds, command, notices, raced=not interrupted)
        study.close()
        write_front(self.folder, report)
        self._seal()
        if interrupted:
            raise KeyboardInterrupt(
                f"interrupted: {len(report.trials)} trials are kept in {self.folder}; the same "
                "command goes on with them"
            )
        return report

    def shared(self, blocks: int = 0, notes: Mapping[str, Any] | None = None) -> Shared:
        """What trials share; with what another process has found out, in a worker."""
        samples = self.data.search
        assert samples is not None, "the data was divided"
        noted = self.notes().of if notes is None else _Notes(None, notes).of
        found = self.session, self.data.calibration, samples, noted
        return Shared(*found, self.asked.objectives, blocks)

    def notes(self) -> "_Notes":
        """What a clock decided, in the folder."""
        return _Notes(self.folder / STUDY)

    def evaluator(self, shared: Shared) -> Evaluator:
        """What measures trials."""
        how = self.asked.validation
        parts = parts_of(shared.judging, how, self.session.recipe.seed)
        judge = GraphJudge(self.session)
        return Evaluator(Maker(shared), judge, self._yardsticks(), shared.judging, parts, how)

    def _require_timed_alone(self, space: Space) -> None:
        """Refuse to time anything while other workers use the machine.

        Raises:
            UsageError: Stored weights are profiled when they are made.
        """
        precision = space.variables.get("precision")
        values = precision.values if isinstance(precision, Choice) else ()
        stored = [one for one in values if one in STORED]
        if stored and "latency" in self.asked.objectives:
            raise UsageError(
                f"precision {stored[0]} is timed when it is made, which takes the machine alone",
                hint="Leave --workers out, latency out of --objectives, or stored weights out of "
                "`precision` in [search.space].",
            )

    def _require_measurable(self, shared: Shared) -> None:
        timed = {"latency"} & {
            *self.asked.objectives,
            *(one.objective for one in self.asked.limits),
        }
        reason = self.session.target.why_not_measurable()
        if timed and reason is not None:
            raise UsageError(
                f"latency cannot be minimized for target {self.session.target.name!r}: {reason}",
                hint="Pass --objectives quality,size.",
            )
        if shared.calibration is None:
            raise DataError("a search needs calibration data", hint="Pass --calib DATA.")

    def space(self, shared: Shared) -> Space:
        """What is varied."""
        known = known_variables(shared)
        space = narrowed(default_variables(shared, known), known, self.session.recipe.search.space)
        self._require_regions(shared, space)
        laid = prod(len(variable.levels()) for variable in space.variables.values())
        if self.session.recipe.search.sampler == "grid" and laid > MOST_POINTS:
            raise UsageError(
                f"a grid over {', '.join(space.variables)} has {laid:,} points, more than "
                f"{MOST_POINTS:,}",
                hint="Narrow [search.space], or choose --sampler tpe.",
            )
        blocks = space.variables.get("blocks")
        shared.blocks = int(blocks.high) if isinstance(blocks, Number) else 0
        return space

    def _require_regions(self, shared: Shared, space: Space) -> None:
        named = [name.partition(":")[2] for name in space.variables if ":" in name]
        if not named:
            return
        regions = shared.regions.mix.regions if shared.can_be_integer else ()
        there = [node for region in regions for node in region.weighted]
        for name in named:
            if name not in there:
                raise UsageError(
                    f"[search.space] region:{name}: no region of this graph has a node {name!r}",
                    hint="`compress sensitivity MODEL` lists the regions.",
                )

    def _yardsticks(self) -> Yardsticks:
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

    def _seal(self) -> None:
        write_manifest(self.folder, {"kind": "search"})

    # What is picked.

    def picked(
        self, report: SearchReport, model: object, watch: Stopwatch, command: str | None
    ) -> SearchReport:
        """Ship a point of the front, judged on samples that no trial has seen.

        Raises:
            GoalError: None is what was asked for.
            BudgetError: The budget is not confirmed.
        """
        asked, text = self.asked.pick, self.session.recipe.search.pick
        assert asked is not None and text is not None, "something is picked"
        trial = pick(report, asked, self._yardsticks())
        assert trial.plan is not None, "the front has plans"
        plan = Plan.load(self.folder / trial.plan)
        outcome = replay(self.session, plan.graphs[GRAPH])
        outcome = outcome.then(reason=f"trial {trial.number} of a search, picked by {text!r}")
        made, _ = finish(
            self.session,
            outcome,
            self.data,
            self.acceptance,
            plan,
            self.folder / PICKED,
            model=model,
            watch=watch,
            command=command,
        )
        budget = made.graphs[GRAPH].budget
        quality = made.graphs[GRAPH].quality
        told = f"{self.data.words}, not searched on"
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
        write_front(self.folder, report)
        self._seal()
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


def _notes_of(path: Path) -> dict[str, Any]:
    """What an earlier search noted.

    Raises:
        OutputError: The file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        raise OutputError(
            f"{path} is damaged, so that the search cannot go on",
            hint="Begin anew with --force, or choose another folder with -o.",
        )
    return found


class _Notes:
    """Decisions that a clock made, kept in the folder: a search that goes on has the same."""

    def __init__(self, path: Path | None, known: Mapping[str, Any] | None = None) -> None:
        self._path = path
        self._known = dict(known or {})
        if path is not None and path.exists():
            self._known = _notes_of(path)

    @property
    def all(self) -> Mapping[str, Any]:
        """Name → what was found."""
        return dict(self._known)

    def of(self, name: str, find: Callable[[], Any]) -> Any:
        """What is known under a name, or is found now."""
        if name not in self._known:
            self._known[name] = find()
            if self._path is not None:
                replace_file(self._path, json.dumps(self._known, indent=1))
        return self._known[name]


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


def _folder(model: object, recipe: Recipe, output: str | Path | None) -> Path:
    chosen = output or recipe.output
    if chosen is not None:
        return Path(chosen)
    if isinstance(model, str | Path):
        path = Path(model)
        path = path if path.name not in ("", "..") else path.resolve()
        return path.with_name(f"{path.stem}-{recipe.target}-search")
    return Path(f"{type(model).__name__.lower()}-{recipe.target}-search")


def _prepare_folder(folder: Path, force: bool, inputs: Any) -> None:
    """A search's own folder is gone on with, another is left alone unless it may be replaced.

    Raises:
        OutputError: Something else lies there, or it cannot be written.
    """
    if force and folder.exists():
        prepare_output(folder, force=True, inputs=inputs)
        shutil.rmtree(folder)
    if not _is_search(folder):
        if folder.exists() and any(folder.iterdir()) and is_ours(folder):
            raise OutputError(
                f"{folder} holds a result of compress, and no search",
                hint="Choose another folder with -o, or replace all of it with --force.",
            )
        prepare_output(folder, force=False, inputs=inputs)
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder, {"kind": "search"})


def _is_search(folder: Path) -> bool:
    document = manifest_of(folder)
    return document is not None and document.get("kind") == "search"


def _with_cache(recipe: Recipe, folder: Path) -> Recipe:
    """Calibration statistics are kept in the study's folder, unless one is named."""
    if recipe.data.cache is not None:
        return recipe
    data = recipe.data.model_copy(update={"cache": folder / CACHE})
    return recipe.model_copy(update={"data": data})
