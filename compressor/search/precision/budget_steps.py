"""The steps of the search within a budget, from the cheapest to the costliest."""

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy
from compressor.quantization.alternatives import Alternatives, Proposal, alternatives
from compressor.quantization.auto import drawn
from compressor.quantization.replay import decibels, score
from compressor.results.records import Decision
from compressor.search.precision.adaptive_rounding import with_rounding
from compressor.search.precision.bias_correction import corrected
from compressor.search.precision.budget_loop import Step, Stepping
from compressor.search.precision.mixed_precision import mixed_precision
from compressor.search.precision.regions import DYNAMIC
from compressor.search.precision.sensitivity import SAMPLE, output_energies
from compressor.search.session import Bench
from exporters.base import Runner

WORST = 8
"""Tensors, or groups that share a range, for which other ranges are tried."""
PROPOSALS = 2
"""Ranges that are tried for each."""
GAIN = 0.02
"""Signal to noise at the outputs, in dB, that another range must gain to be kept."""
MEANS = 128
"""Samples that round weights and correct biases, at most; 512 gain ResNet-20 0.1 dB more."""

Way = Callable[[Bench, ir.Model, GraphPlan, CalibrationSet, Callable[[], bool]], GraphPlan]


def as_is(search: Stepping) -> bool:
    """INT8 wherever it pays."""
    return search.change(search.named, search.whole)


def ranges_at_run_time(search: Stepping) -> bool:
    """Every product that can finds its ranges at run time."""
    mix = search.mix
    if mix is None or search.out_of_time():
        return False
    now = mix.chosen(search.whole)
    chosen = tuple(
        DYNAMIC if can else one for can, one in zip(mix.possible[:, DYNAMIC], now, strict=True)
    )
    if chosen == now:
        return False
    return search.change(
        f"{search.named}, ranges found at run time", mix.plan(chosen, search.whole)
    )


def other_ranges(search: Stepping) -> bool:
    """The next best ranges of the worst tensors, as far as the outputs gain by them.

    Not where all ranges could be found at run time: that was tried, and gives each input its own.
    Tensors are ranked by the error at their consumers, on another sample than calibration used.
    A range is judged jointly, at the outputs of the graph, with those that were kept before it.
    """
    worst = _worst(search)
    plan, kept = search.whole, 0
    tried = sum(len(group.proposals[:PROPOSALS]) for group in worst)
    with (
        search.bench.progress.stage("compare other ranges", total=tried) as advance,
        search.bench.target.open(search.baseline, threads=0, timed=False) as original,
    ):
        best = _without_outliers(_at_outputs(search, original, plan)) if worst else math.inf
        for group in worst:
            found: tuple[float, Proposal, GraphPlan] | None = None
            for proposal in group.proposals[:PROPOSALS]:
                if search.out_of_time():
                    return False
                changed = plan.model_copy(update={"ranges": plan.ranges | dict(proposal.ranges)})
                ratio = _without_outliers(_at_outputs(search, original, changed))
                if ratio > (best + GAIN if found is None else found[0]):
                    found = ratio, proposal, changed
                advance(1)
            if found is not None:
                search.findings.append(_taken(group, found[1], best, found[0]))
                best, _, plan = found
                kept += len(group.values)
    if not kept:
        return False
    return search.change(f"{search.named}, {kept} other range{'s' if kept > 1 else ''}", plan)


def rounded_weights(search: Stepping) -> bool:
    """Weights whose integers make up for each other's errors."""
    return _made(search, "weights rounded together", with_rounding)


def corrected_biases(search: Stepping) -> bool:
    """Biases that give each channel of an integer layer the mean that it has in float."""
    return _made(search, "biases corrected", corrected)


def all_float(search: Stepping) -> bool:
    """Nothing is left to quantize: float ships, which keeps any budget."""
    del search
    return True


STEPS: tuple[Step, ...] = (
    as_is,
    ranges_at_run_time,
    other_ranges,
    rounded_weights,
    corrected_biases,
    mixed_precision,
    all_float,
)


def _made(search: Stepping, words: str, way: Way) -> bool:
    """Try a plan that is made of the whole one and samples of the search."""
    if search.out_of_time():
        return False
    plan, bench = search.whole, search.bench
    data = drawn(search.data, bench.recipe.seed, MEANS)
    changed = way(bench, search.baseline, plan, data, search.out_of_time)
    return changed is not plan and search.change(f"{search.named}, {words}", changed)


def _worst(search: Stepping) -> list[Alternatives]:
    """The tensors that cost most at their consumers, of those for which there is another range."""
    bench, plan = search.bench, search.whole
    if search.stats is None or not plan.integer or search.out_of_time():
        return []
    if search.mix is not None and bool(search.mix.possible[:, DYNAMIC].all()):
        return []
    with bench.progress.stage("rank ranges"):
        found = alternatives(
            search.baseline,
            plan.integer,
            plan.ranges,
            search.stats,
            search.data,
            planned_policy(plan, bench.target),
            seed=bench.recipe.seed + 1,
            memory=bench.recipe.quantize.memory,
        )
    return [group for group in found if group.proposals][:WORST]


def _taken(group: Alternatives, proposal: Proposal, before: float, after: float) -> Decision:
    return Decision(
        subject=", ".join(group.values),
        verdict=proposal.method,
        reason=f"another range: {after:.2f} dB of signal to noise at the outputs, {before:.2f} "
        f"before; {proposal.score:.1f} dB at its consumers, {group.score:.1f} before",
    )


def _at_outputs(search: Stepping, original: Runner, plan: GraphPlan) -> FloatArray:
    """Energy of the original's outputs and of a plan's error on the few samples that rank."""
    return output_energies(search.bench, search.baseline, original, plan, search.data.take(SAMPLE))


def _without_outliers(energies: FloatArray) -> float:
    """SQNR in dB by which ranges are chosen: a sample that should be clipped does not rule it."""
    finite = energies[np.isfinite(energies).all(axis=1)]
    return score([decibels(*finite.T)]) if len(finite) == len(energies) else -math.inf
