"""What a run ends with: the artifact is built and measured, the output folder written."""

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from calibration.encoders.model_folder import model_folder
from compressor.checkpoint.prepared import Prepared
from compressor.commands.account import GRAPH, Finished, account, write_account
from compressor.commands.final_measurements import Measurements, measured
from compressor.commands.stating import metadata_of, stated
from compressor.plan.plan import Plan
from compressor.recipe.recipe import Recipe
from compressor.results.graph_report import BudgetResult
from compressor.results.report import Report
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.measure import Pair, configurations
from compressor.search.quality_budget import QualityBudget
from compressor.search.session import Session
from compressor.system.output_folder import written_aside
from compressor.system.scratch import scratch
from compressor.system.stopwatch import Stopwatch
from exporters.base import Artifact, Samples


def finish(  # noqa: PLR0913 - what a run ends with, each of another kind
    session: Session,
    outcome: Outcome,
    data: DataSplit,
    acceptance: Acceptance,
    replayed: Plan | None,
    directory: Path,
    *,
    model: object,
    watch: Stopwatch,
    command: str | None,
) -> tuple[Report, Measurements]:
    """Build what was decided, measure it, and write the output folder.

    Args:
        session: The target, and how to measure.
        outcome: What ships.
        data: Which samples served which purpose.
        acceptance: The quality budget, or none.
        replayed: The plan that was replayed; None where the outcome was decided now.
        directory: The output folder.
        model: As it was given.
        watch: Since when the run takes time.
        command: The command line, for the report.
    """
    with (
        scratch() as aside,
        written_aside(directory) as folder,
    ):
        budget = acceptance if isinstance(acceptance, QualityBudget) else None
        pair = build_pair(outcome, session, folder, Path(aside))
        if outcome.plan.exits is not None:
            pair = replace(pair, varied=data.quality)
        found = measured(outcome, pair, data, budget)
        # A replayed plan stays what it is: its ranges are of the data that it was made from.
        made = replayed or _plan(outcome, data, pair, found.budget, model)
        pair = pair.moved(stated(pair.result, made.metadata.get(GRAPH, {})))
        run = Finished(outcome, pair, found, data, budget, made)
        report = account({GRAPH: run}, directory, seconds=watch.seconds, command=command)
        beside = model_folder(model)
        return write_account(folder, made, report, session.recipe, beside=beside), found


def _plan(
    outcome: Outcome, data: DataSplit, pair: Pair, budget: BudgetResult | None, model: object
) -> Plan:
    metadata = metadata_of(outcome, pair, budget, model_folder(model), model)
    return Plan(
        target=pair.target.name,
        seed=pair.recipe.seed,
        calibration=data.fingerprint,
        graphs={GRAPH: outcome.plan},
        metadata={GRAPH: metadata},
    )


def build_pair(outcome: Outcome, session: Session, folder: Path, scratch: Path) -> Pair:
    """Build what ships, and original and baseline beside it, each model once.

    Args:
        outcome: What ships.
        session: The target, and what a build may know.
        folder: Where the artifact goes.
        scratch: Where the others go.
    """
    prepared, target = session.prepared, session.target
    artifact = target.build(
        prepared.as_shipped(outcome.shipped),
        folder,
        samples=_samples(prepared, session.recipe),
        progress=session.progress,
    )
    built: list[tuple[ir.Model, Artifact]] = [(outcome.shipped, artifact)]

    def build(model: ir.Model, name: str) -> Artifact:
        for known, made in built:
            if known is model:
                return made
        folder = scratch / name
        folder.mkdir()
        made = session.target.draft(session.prepared.as_shipped(model), folder)
        built.append((model, made))
        return made

    def drawn(model: ir.Model, name: str) -> Artifact:
        folder = scratch / name
        folder.mkdir()
        return session.target.draft(model, folder)

    original = build(session.prepared.model, "original")
    # A float result is compared with what was captured, or it would be compared with itself.
    baseline = (
        original if outcome.shipped is outcome.baseline else build(outcome.baseline, "baseline")
    )
    return Pair(
        original,
        baseline,
        artifact,
        session.target,
        session.prepared,
        session.recipe,
        session.progress,
        drawn=(
            drawn(session.prepared.model, "original on inputs"),
            drawn(outcome.shipped, "on inputs"),
        )
        if session.prepared.noises
        else None,
    )


def _samples(prepared: Prepared, recipe: Recipe) -> Samples:
    """What the build may know: batches reach from one sample to the largest that was named."""
    fixed, deciding = prepared.fixed_batch, recipe.measure.batch
    configs = configurations(recipe, prepared)
    first = prepared.timed(configs[0], recipe.seed)
    others = {config.phase: config for config in configs if config.phase != configs[0].phase}
    return Samples(
        feeds=first,
        also=tuple(prepared.timed(config, recipe.seed) for config in others.values()),
        batches=(1, fixed or deciding, fixed or max(deciding, recipe.quantize.batch)),
        are_real=prepared.feeds_are_real,
        calls=prepared.calls,
    )


def interruption_words(directory: Path, budget: BudgetResult) -> str:
    """What became of a run that was interrupted when there was something to write."""
    if budget.interrupted:
        return f"interrupted: the best so far was written to {directory}, not confirmed"
    verdict = "confirmed" if budget.met else "which the budget refused"
    return f"interrupted: the result was written to {directory}, {verdict}; not all was measured"
