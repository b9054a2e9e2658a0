"""What costs an INT8 graph nothing and may bring its outputs closer, kept where it does.

Each is made from half of a few calibration samples and judged on the other half, by the signal to
noise at the outputs.
"""

import time
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.plan.plan import GraphPlan
from compressor.quantization.replay import decibels, score
from compressor.results.records import Decision, StageRecord
from compressor.search.precision.adaptive_rounding import with_rounding
from compressor.search.precision.bias_correction import corrected
from compressor.search.precision.sensitivity import output_energies
from compressor.search.session import Bench

SAMPLES = 64
"""That make what is tried, at most; as many others judge."""
GAIN = 0.05
"""Signal to noise at the outputs, in dB, that must be gained."""

Way = Callable[[Bench, ir.Model, GraphPlan, CalibrationSet], GraphPlan]
WAYS: tuple[tuple[str, str, str, Way], ...] = (
    ("round weights", "weights", "rounded together", with_rounding),
    ("correct biases", "biases", "corrected", corrected),
)
"""Stage, subject, verdict, and what makes another plan of a plan."""


def improved(
    bench: Bench, model: ir.Model, plan: GraphPlan, data: CalibrationSet
) -> tuple[GraphPlan, tuple[StageRecord, ...]]:
    """The plan with whatever helped, and what became of each way.

    Args:
        bench: The target, and how to run.
        model: The float graph.
        plan: As it is.
        data: Calibration samples; one alone improves nothing.
    """
    if not plan.quantized or len(data) < 2:
        return plan, ()
    used, held = (half.take(SAMPLES) for half in data.split(0.5, bench.recipe.seed))
    before: float | None = None
    records: list[StageRecord] = []
    for stage, subject, verdict, way in WAYS:
        started = time.perf_counter()
        changed = way(bench, model, plan, used)
        if changed is plan:
            continue
        if before is None:
            before = _at_outputs(bench, model, plan, held)
        after = _at_outputs(bench, model, changed, held)
        kept = after - before >= GAIN
        decision = Decision(
            subject=subject,
            verdict=verdict if kept else "left alone",
            reason=f"{before:.2f} dB of signal to noise at the outputs, {after:.2f} with {subject} "
            f"{verdict}, on {len(held)} other samples",
        )
        records.append(
            StageRecord(
                name=stage,
                seconds=time.perf_counter() - started,
                parameters={"samples": len(used)},
                changed={"layers": int(kept) * _layers(changed, plan)},
                decisions=(decision,),
            )
        )
        if kept:
            plan, before = changed, after
    return plan, tuple(records)


def _layers(changed: GraphPlan, plan: GraphPlan) -> int:
    """Layers in which two plans differ: one of both ways adds to a plan."""
    return sum(
        len(new)
        for new, old in ((changed.rounded, plan.rounded), (changed.bias, plan.bias))
        if new is not old
    )


def _at_outputs(bench: Bench, model: ir.Model, plan: GraphPlan, held: CalibrationSet) -> float:
    with bench.target.open(model, threads=0, timed=False) as original:
        energies = output_energies(bench, model, original, plan, held)
    if not np.isfinite(energies).all():
        return -np.inf
    return score([decibels(*energies.T)])
