"""`compress` of one model and its data: load, search, measure, write."""

from functools import partial
from pathlib import Path

from calibration.stats import CalibrationStats
from compressor.checkpoint import require_model
from compressor.checkpoint.prepare import prepare
from compressor.commands.account import GRAPH
from compressor.commands.finishing import finish, interruption_words
from compressor.commands.request import Request
from compressor.errors import RecipeError
from compressor.layerwise.factor import own_threads
from compressor.plan.plan import Plan
from compressor.recipe.policy import as_implied
from compressor.recipe.requirements.data import require_data
from compressor.recipe.targets import available_target
from compressor.results.report import Report
from compressor.search.data_split import examined, looked_at, split_data
from compressor.search.kept_decisions import decided_once
from compressor.search.quality_budget import divided_for_budget
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.search.strategy import decide
from compressor.search.training import with_training_samples
from exporters.base import Target


def compress_single(model: object, data: tuple[object, object], request: Request) -> Report:
    """Load, search, measure, write.

    Args:
        model: As it was given.
        data: To calibrate and to judge.
        request: What is asked for.

    Raises:
        CompressorError: As for `compress`.
        KeyboardInterrupt: As for `compress`.
    """
    target = available_target(request.recipe)
    recipe, progress = as_implied(request.recipe, target), request.progress
    replayed = _replayed(request.plan, target)
    directory = request.prepared_folder(model, data, recipe, target)
    calibration, evaluation = data
    require_model(model, recipe)
    stats = None if recipe.data.stats is None else CalibrationStats.load(recipe.data.stats)
    prepared = prepare(
        model,
        target=target,
        recipe=recipe,
        calibration=calibration,
        evaluation=evaluation,
        require=None if replayed else partial(require_data, recipe),
        time_source=True,
        progress=progress,
    )
    target.require_buildable(prepared.model)
    samples = examined(prepared, split_data(prepared, recipe.seed, stats), progress)
    samples = with_training_samples(prepared, samples, recipe) if replayed is None else samples
    prepared = looked_at(prepared, samples, recipe, target, progress)
    session = Session(prepared, recipe, target, progress)
    samples, acceptance = divided_for_budget(session, samples)
    if replayed is None:
        with own_threads():
            outcome = decided_once(
                session,
                samples,
                acceptance,
                partial(decide, session, samples, acceptance, stats),
            )
    else:
        outcome = replay(session, replayed.graphs[GRAPH])
    report, found = finish(
        session,
        outcome,
        samples,
        acceptance,
        replayed,
        directory,
        model=model,
        watch=request.watch,
        command=request.command,
    )
    if found.interrupted:
        reached = report.graphs[GRAPH].budget
        assert reached is not None, "without one nothing is written"
        raise KeyboardInterrupt(interruption_words(directory, reached))
    return report


def _replayed(plan: Plan | str | Path | None, target: Target) -> Plan | None:
    found = Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan
    if found is not None and found.target != target.name:
        raise RecipeError(f"the plan is for target {found.target!r}, not {target.name!r}")
    if found is not None and GRAPH not in found.graphs:
        raise RecipeError(
            f"the plan has no graph {GRAPH!r}, but {', '.join(found.graphs) or 'none'}",
            hint="Pass the plan.json that an earlier run wrote into its output folder.",
        )
    return found
