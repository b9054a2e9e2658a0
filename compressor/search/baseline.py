"""Where a search starts: at the faster float graph."""

from typing import Literal

import onnx_ir as ir

from calibration.stats import CalibrationStats
from compressor.folding import fold
from compressor.graph.fingerprint import fingerprint
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import baseline_graph
from compressor.results.format import ratio, ratio_interval
from compressor.results.precision import WORDS
from compressor.results.records import StageRecord
from compressor.search.candidate import Candidate, Outcome
from compressor.search.session import Session


def undecided(session: Session, stats: CalibrationStats | None = None) -> Outcome:
    """Fold and choose the faster float graph as the baseline; that is what ships so far.

    Args:
        session: The captured graph and how to measure.
        stats: Statistics collected earlier, which say what graph they are of.

    Raises:
        DataError: The statistics are of another graph.
    """
    captured = session.prepared.model
    plain, folding = folded(session)
    if stats is None:
        kind, choice = _faster_float(session, captured, plain)
    else:
        kind, choice = _observed_float(session, captured, plain, stats), ()
    quantize = session.recipe.quantize
    plan = GraphPlan(
        graph=fingerprint(captured),
        baseline=kind,
        ship="float",
        cpu=quantize.cpu,
        activation=quantize.activation,
        symmetric=quantize.symmetric,
        granularity=quantize.granularity,
    )
    return started(baseline_graph(captured, plain, plan), plan, (folding, *choice))


def started(baseline: ir.Model, plan: GraphPlan, records: tuple[StageRecord, ...]) -> Outcome:
    """The float graph, of which nothing is decided yet.

    Args:
        baseline: The graph.
        plan: What makes it.
        records: The stages so far.
    """
    candidate = Candidate(WORDS["float"], plan, records=records)
    return Outcome(candidate, baseline, plain=baseline, graph=baseline, shipped=baseline)


def folded(session: Session) -> tuple[ir.Model, StageRecord]:
    """The captured graph, folded, and what that did."""
    with session.progress.stage("fold"):
        prepared = session.prepared
        batch = prepared.fixed_batch or 2
        return fold(prepared.model, feeds=prepared.feeds(batch, session.recipe.seed))


def _faster_float(
    session: Session, captured: ir.Model, folded: ir.Model
) -> tuple[Literal["captured", "folded"], tuple[StageRecord, ...]]:
    """Keep folding unless it measures slower, which a runtime's own fusions can cause."""
    if folded is captured:
        return "captured", ()
    with session.stage("choose the baseline") as stage:
        with session.progress.stage("choose the baseline"):
            race = session.race(captured, folded, seconds=session.recipe.measure.seconds / 2)
        if race is None:
            return "folded", ()
        kind: Literal["captured", "folded"] = "captured" if race.verdict == "slower" else "folded"
        told = f"folded runs at {ratio(race.speed)} the speed of captured"
        stage.decide("float graph", kind, f"{told} ({ratio_interval(race.ends)})")
        stage.timed(race)
    return kind, (stage.record,)


def _observed_float(
    session: Session, captured: ir.Model, folded: ir.Model, stats: CalibrationStats
) -> Literal["captured", "folded"]:
    """The float graph that the statistics are of."""
    if stats.origin.graph == fingerprint(captured):
        return "captured"
    stats.require(fingerprint(folded), (), str(session.recipe.data.stats))
    return "folded"
