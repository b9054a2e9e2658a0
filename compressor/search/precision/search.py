"""Quantizes the float graph that was decided on, and keeps what measures better.

Plans are proposed here and by the steps of the search; `realize` carries them out.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from calibration.stats import CalibrationStats
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import policy_of
from compressor.quantization.dynamic import choose_dynamic
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from compressor.results import format as fmt
from compressor.results.precision import EIGHT_BITS, WORDS
from compressor.results.records import StageRecord
from compressor.search.acceptance import Judging
from compressor.search.candidate import Decided
from compressor.search.precision.budget_loop import Stepping
from compressor.search.precision.budget_steps import STEPS
from compressor.search.precision.free_improvements import improved
from compressor.search.precision.graph_refinements import (
    EQUALIZING,
    SMOOTHING,
    Ways,
    with_norms_apart,
    with_small_tables,
    with_spread_moved,
)
from compressor.search.precision.half import with_half
from compressor.search.precision.latency_placement import Placed, placed_by_time
from compressor.search.precision.race import within_budget, without_budget
from compressor.search.precision.refused_nodes import or_undone, runnable
from compressor.search.precision.weight_only import STORED, with_stored_weights
from compressor.search.session import Bench
from compressor.system.sparing import spared, unfinished
from exporters.base import QuantPolicy


def with_precision(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None = None,
    judging: Judging | None = None,
) -> Decided:
    """Quantize the float graph that was decided on, and keep that if it pays.

    Args:
        bench: How to measure.
        start: From `undecided`, pruned or not.
        data: Calibration samples.
        stats: What was collected from such samples earlier. Without either the graph stays float,
            unless ranges are found at run time.
        judging: The quality budget; None accepts any quality.

    Raises:
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """
    return or_undone(
        bench,
        "quantization",
        lambda: _with_precision(bench, start, data, stats, judging),
        lambda record: replace(
            start,
            reason=f"float ships: {record.notices[0]}",
            records=(*start.records, record),
        ),
    )


def _with_precision(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    judging: Judging | None,
) -> Decided:
    """The same, where the runtime takes what is made; see `with_precision`."""
    mode = bench.recipe.quantize.mode
    start = with_half(bench, start, data)
    if mode == "none":
        return replace(start, reason="quantization was switched off (--quantize none)")
    if not bench.target.quantizes:
        return replace(start, reason="nothing was quantized: --precision asks for float")
    if mode in STORED:
        return with_stored_weights(bench, start, data, judging)
    if mode == "int8-dynamic":
        if data is not None:
            start = _spread_moved(bench, start, data, (SMOOTHING,))
        found = _quantize_dynamically(bench, start, data, judging)
    elif data is None and stats is None:
        words = WORDS[policy_of(bench.target, bench.recipe.quantize).precision]
        reason = f"nothing was quantized: {words} needs calibration data (--calib DATA)"
        return replace(start, reason=reason)
    else:
        if stats is None and data is not None:
            start = _spread_moved(bench, start, data)
        found = _quantize(bench, start, data, stats, judging)
    if found.plan.ship not in EIGHT_BITS:
        update = {"smooth": {}, "plain_norms": False}
        return replace(found, plan=found.plan.model_copy(update=update))
    return found


def _quantize(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    judging: Judging | None,
) -> Decided:
    """Calibrate, then search within the budget, or without one race all of it."""
    policy = policy_of(bench.target, bench.recipe.quantize)
    chosen = _calibrated(bench, start, data, stats, policy, alternatives=judging is not None)
    decided = replace(
        start,
        float_reasons=dict(chosen.float_reasons),
        records=(*start.records, chosen.record),
    )
    if not (chosen.integer or chosen.dynamic):
        kernels = "integer" if policy.precision == "int8" else WORDS[policy.precision]
        return replace(decided, reason=_nothing(f"{kernels} kernels", chosen))
    plan = start.plan.model_copy(
        update={
            "ship": policy.precision,
            "weight_bits": policy.weight.bits,
            "integer": chosen.integer,
            "dynamic": chosen.dynamic,
            "ranges": dict(chosen.ranges),
        }
    )
    return _decided(bench, decided, plan, data, judging, chosen)


def _quantize_dynamically(
    bench: Bench, start: Decided, data: CalibrationSet | None, judging: Judging | None
) -> Decided:
    """All that can run with ranges found at run time, which takes no calibration."""
    policy = policy_of(bench.target, bench.recipe.quantize)
    chosen = choose_dynamic(start.graph, policy)
    decided = replace(
        start,
        float_reasons=dict(chosen.float_reasons),
        records=(*start.records, chosen.record),
    )
    if not chosen.dynamic:
        return replace(decided, reason=_nothing("dynamic INT8", chosen))
    update = {"ship": "int8", "weight_bits": policy.weight.bits, "dynamic": chosen.dynamic}
    return _decided(bench, decided, start.plan.model_copy(update=update), data, judging, chosen)


def _nothing(gain: str, chosen: StaticChoice) -> str:
    """That nothing became integer, and why most that could have did not."""
    told = f"no part of this graph gains from {gain}"
    layers = len(chosen.float_reasons)
    if layers == 0:
        return told
    reason, count = Counter(chosen.float_reasons.values()).most_common(1)[0]
    return f"{told}; {count} of {fmt.plural(layers, 'layer')}: {reason}"


def _decided(
    bench: Bench,
    decided: Decided,
    plan: GraphPlan,
    data: CalibrationSet | None,
    judging: Judging | None,
    chosen: StaticChoice,
) -> Decided:
    """What becomes of a plan: searched within the budget, or raced where there is none."""
    if data is None and judging is not None:
        data = judging.search
    runs = runnable(bench, decided.graph, plan)
    plan = runs.plan
    decided = replace(
        decided,
        float_reasons=decided.float_reasons | dict(runs.float_reasons),
        records=(*decided.records, *runs.records),
    )
    if not plan.quantized:
        return replace(decided, reason=f"float ships: {runs.records[0].notices[0]}")
    plan, records = with_norms_apart(bench, decided.graph, plan)
    placed = placed_by_time(bench, decided.graph, plan, data)
    plan = placed.plan
    decided = replace(
        decided,
        float_reasons=decided.float_reasons | placed.float_reasons,
        records=(*decided.records, *records, *placed.records),
    )
    if judging is None:
        if data is not None:
            plan, records = _improved(bench, decided.graph, plan, data)
            decided = replace(decided, records=(*decided.records, *records))
        found = without_budget(bench, decided, plan, chosen)
        found = with_small_tables(bench, found, None)
        return _with_regions(found, placed, None)
    assert data is not None, "judging has samples"
    search = Stepping(
        bench,
        judging,
        decided.graph,
        plan,
        data,
        chosen.stats,
        mix=placed.mix,
        times=placed.times,
        named=WORDS[plan.ship],
    )
    found = within_budget(search, decided, search.run(STEPS), chosen)
    found = with_small_tables(bench, found, judging)
    return _with_regions(found, placed, search.damage)


def _with_regions(found: Decided, placed: Placed, damage: FloatArray | None) -> Decided:
    """What each region costs, for the report; a notice where that cannot be told."""

    def missing(reason: str) -> Decided:
        record = StageRecord(
            name="tell regions", seconds=0.0, notices=(unfinished("tell regions", reason),)
        )
        return replace(found, records=(*found.records, record))

    return spared(lambda: replace(found, regions=placed.results(found.plan, damage)), missing)


def _improved(
    bench: Bench, graph: ir.Model, plan: GraphPlan, data: CalibrationSet
) -> tuple[GraphPlan, tuple[StageRecord, ...]]:
    return or_undone(
        bench,
        "rounding and bias correction",
        lambda: improved(bench, graph, plan, data),
        lambda record: (plan, (record,)),
    )


def _spread_moved(
    bench: Bench, start: Decided, data: CalibrationSet, ways: Ways = (EQUALIZING, SMOOTHING)
) -> Decided:
    return or_undone(
        bench,
        "moving the spread of channels",
        lambda: with_spread_moved(bench, start, data, ways),
        lambda record: replace(start, records=(*start.records, record)),
    )


def _calibrated(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    policy: QuantPolicy,
    *,
    alternatives: bool,
) -> StaticChoice:
    """What could run as integer and the ranges there."""
    options = bench.recipe.quantize
    path = bench.recipe.data.stats or Path("the statistics")
    how = CalibrationOptions(
        method=options.ranges,
        batch=options.batch,
        memory=options.memory,
        cache=bench.recipe.data.cache,
        stats=None if stats is None else (stats, path),
        seed=bench.recipe.seed,
        alternatives=alternatives,
        notices=bench.target.cautions(policy),
    )
    total = None if data is None or stats is not None else len(data)
    with bench.progress.stage("calibrate", total=total) as advance:
        return calibrate(start.graph, data, policy, how, advance=advance)
