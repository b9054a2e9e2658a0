"""Placement by measured time: what is slower as integer than as float stays float."""

import time
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.scheme import FloatArray
from compressor.bench import Bench
from compressor.mixing import FLOAT, Mix, mixed
from compressor.plan import GraphPlan
from compressor.quantization.mixed import Costs, solve
from compressor.realize import planned_policy, realize
from compressor.records import Decision, StageRecord
from compressor.region_table import region_results
from compressor.region_times import RegionTimes, measured_times
from compressor.report.format import ratio, ratio_interval
from compressor.report.schema_regions import RegionResult

WORTH = 1.03
"""Predicted gain from which leaving regions in float is tried."""
RACE = 0.6
"""Seconds for the race that decides."""


@dataclass(frozen=True)
class Placed:
    """What is integer by measured time.

    Attributes:
        plan: Without what is slower as integer.
        mix: The regions of everything that could be integer.
        times: What they take; None where speed does not matter (--keep-slower) or cannot
            be measured.
        float_reasons: Node → why it stays float, for those that left.
        records: The stage, if anything was measured.
    """

    plan: GraphPlan
    mix: Mix
    times: RegionTimes | None = None
    float_reasons: dict[str, str] = field(default_factory=dict)
    records: tuple[StageRecord, ...] = ()

    def results(self, shipped: GraphPlan, damage: FloatArray | None) -> tuple[RegionResult, ...]:
        """For the report; without times and damages there is nothing to tell."""
        if self.times is None and damage is None:
            return ()
        chosen = self.mix.chosen(shipped)
        return region_results(self.mix, chosen, self.times, damage)


def placed_by_time(bench: Bench, model: ir.Model, plan: GraphPlan) -> Placed:
    """Leave in float what gains by it: predicted from the regions' times, decided by a race.

    Args:
        bench: The deciding configuration.
        model: The float graph.
        plan: With everything integer that can be.
    """
    started = time.perf_counter()
    mix = mixed(model, plan, planned_policy(plan, bench.target))
    unmeasurable = bench.target.unmeasurable() is not None
    if unmeasurable or bench.recipe.quantize.keep_slower or len(mix.regions) < 2:
        return Placed(plan, mix)
    times = measured_times(bench, model, mix)
    whole = mix.chosen(plan)
    chosen = _fastest(times.costs, whole)
    gain = times.predicted(whole) / times.predicted(chosen)
    parameters: dict[str, object] = {"regions": len(mix.regions), "edges": len(mix.edges)}
    decision = Decision(
        subject="placement", verdict="whole", reason="no region gains much by staying float"
    )
    reasons: dict[str, str] = {}
    if gain >= WORTH and any(chosen):
        smaller = mix.plan(chosen)
        pair = [realize(model, one, bench.target) for one in (plan, smaller)]
        with bench.progress.stage("race placements"):
            race = bench.race(*pair, seconds=min(RACE, bench.recipe.measure.seconds))
        assert race is not None, "it can be measured"
        assert race is not None, "a target whose kernels can be profiled can be timed"
        kept = race.ratio > 1
        words = (
            f"with {len(mix.floats(chosen))} weighted nodes in float it ran at "
            f"{ratio(race.ratio)} the speed of all in INT8 ({ratio_interval(race.interval)}), "
            f"{ratio(gain)} predicted"
        )
        verdict = "partly float" if kept else "whole"
        decision = Decision(subject="placement", verdict=verdict, reason=words)
        if kept:
            plan = smaller
            reasons = dict.fromkeys(
                mix.floats(chosen), "as integer it measured slower than as float, with Q/DQ"
            )
    record = StageRecord(
        name="place by measured time",
        seconds=time.perf_counter() - started,
        parameters=parameters,
        decisions=(decision,),
    )
    return Placed(plan, mix, times, reasons, (record,))


def _fastest(costs: Costs, whole: tuple[int, ...]) -> tuple[int, ...]:
    """The fastest choice between float and what each region is in the whole."""
    time = np.full_like(costs.time, np.inf)
    for region, choice in enumerate(whole):
        time[region, [FLOAT, choice]] = costs.time[region, [FLOAT, choice]]
    return solve(Costs(time, costs.edges, costs.pair)) or whole
