"""Other ranges for the tensors that lose most, as far as the outputs gain by them."""

import math

import numpy as np

from calibration.scheme import FloatArray
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy
from compressor.quantization.alternatives import Alternatives, Proposal, alternatives
from compressor.quantization.replay import decibels, score
from compressor.results.records import Decision
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.regions import DYNAMIC
from compressor.search.precision.sensitivity import SAMPLE, output_energies
from exporters.base import Runner

WORST = 8
"""Tensors, or groups that share a range, for which other ranges are tried."""
PROPOSALS = 2
"""Ranges that are tried for each."""
GAIN = 0.02
"""Signal to noise at the outputs, in dB, that another range must gain to be kept."""


def other_ranges(search: PtqSearch) -> None:
    """The next best ranges of the worst tensors, as far as the outputs gain by them.

    Not where all ranges could be found at run time: that was tried, and gives each input its own.
    Tensors are ranked by the error at their consumers, on another sample than calibration used.
    A range is judged jointly, at the outputs of the graph, with those that were kept before it.
    """
    worst = _worst(search)
    plan, kept = search.plan, 0
    tried = sum(len(group.proposals[:PROPOSALS]) for group in worst)
    with (
        search.session.progress.stage("compare other ranges", total=tried) as advance,
        search.session.target.open(search.graph, threads=0, timed=False) as original,
    ):
        best = _without_outliers(_at_outputs(search, original, plan)) if worst else math.inf
        for group in worst:
            found: tuple[float, Proposal, GraphPlan] | None = None
            for proposal in group.proposals[:PROPOSALS]:
                if search.out_of_time():
                    return
                changed = plan.model_copy(update={"ranges": plan.ranges | dict(proposal.ranges)})
                ratio = _without_outliers(_at_outputs(search, original, changed))
                if ratio > (best + GAIN if found is None else found[0]):
                    found = ratio, proposal, changed
                advance(1)
            if found is not None:
                search.findings.append(_taken(group, found[1], best, found[0]))
                best, _, plan = found
                kept += len(group.values)
    if kept:
        search.change(f"{search.named}, {kept} other range{'s' if kept > 1 else ''}", plan)


def _worst(search: PtqSearch) -> list[Alternatives]:
    """The tensors that cost most at their consumers, of those for which there is another range."""
    session, plan, placed = search.session, search.plan, search.placed
    stats = None if search.calibration is None else search.calibration.stats
    if stats is None or not plan.integer or search.out_of_time():
        return []
    if placed is not None and bool(placed.mix.possible[:, DYNAMIC].all()):
        return []
    with session.progress.stage("rank ranges"):
        found = alternatives(
            search.graph,
            plan.integer,
            plan.ranges,
            stats,
            search.samples,
            planned_policy(plan, session.target),
            seed=session.recipe.seed + 1,
            memory=session.recipe.quantize.memory,
        )
    return [group for group in found if group.proposals][:WORST]


def _taken(group: Alternatives, proposal: Proposal, before: float, after: float) -> Decision:
    return Decision(
        subject=", ".join(group.values),
        verdict=proposal.method,
        reason=f"another range: {after:.2f} dB of signal to noise at the outputs, {before:.2f} "
        f"before; {proposal.score:.1f} dB at its consumers, {group.score:.1f} before",
    )


def _at_outputs(search: PtqSearch, original: Runner, plan: GraphPlan) -> FloatArray:
    """Energy of the original's outputs and of a plan's error on the few samples that rank."""
    few = search.samples.take(SAMPLE)
    return output_energies(search.session, search.graph, original, plan, few)


def _without_outliers(energies: FloatArray) -> float:
    """SQNR in dB by which ranges are chosen: a sample that should be clipped does not rule it."""
    finite = energies[np.isfinite(energies).all(axis=1)]
    return score([decibels(*finite.T)]) if len(finite) == len(energies) else -math.inf
