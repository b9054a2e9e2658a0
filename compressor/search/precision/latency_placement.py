"""Placement by measured time: what is slower as integer than as float stays float.

Ranges of products that are found at run time need no calibration data to be like what comes later,
and cost a pass over the activations. So of placements that should run about equally fast, the one
whose outputs are closest to the original's is taken.
"""

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy, realize
from compressor.quantization.mixed import Costs, solve
from compressor.recipe.policy import as_asked
from compressor.results.format import ratio, ratio_interval
from compressor.results.records import Decision, StageRecord
from compressor.results.regions import RegionResult
from compressor.search.precision.region_latency import RegionTimes, measured_times
from compressor.search.precision.region_table import region_results
from compressor.search.precision.regions import DYNAMIC, FLOAT, STATIC, Mix, mixed
from compressor.search.precision.sensitivity import SAMPLE, noise, output_energies
from compressor.search.session import Session

WORTH = 1.03
"""Predicted gain from which another placement is tried; below it two count as equally fast."""
QUIETER = 1.0
"""dB at the outputs that another of the same speed must gain."""
SILENCE = 1e-12
"""Noise below which outputs count as equal."""
RACE = 0.6
"""Seconds for the race that decides."""

Choices = tuple[int, ...]


@dataclass(frozen=True)
class Placed:
    """What is integer by measured time.

    Attributes:
        plan: What is integer, and of what kind.
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


def placed_by_time(
    session: Session,
    model: ir.Model,
    plan: GraphPlan,
    data: CalibrationSet | None = None,
    *,
    pays: bool = False,
) -> Placed:
    """The fastest placement, predicted from the regions' times and decided by a race.

    Args:
        session: The deciding configuration.
        model: The float graph.
        plan: With everything integer that can be.
        data: Samples on which placements of about the same speed are compared; without any the
            plan is kept unless another should be faster.
        pays: Whether that is known, so that nothing is timed: of a graph that lacks some blocks of
            one whose regions all paid.
    """
    policy = as_asked(planned_policy(plan, session.target), session.recipe.quantize)
    mix = mixed(model, plan, policy, leave=session.recipe.quantize.leave)
    unmeasurable = session.target.why_not_measurable() is not None
    if pays or unmeasurable or session.recipe.quantize.keep_slower or len(mix.regions) < 2:
        return Placed(plan, mix)
    with session.stage("place by measured time") as stage:
        times = measured_times(session, model, mix)
        placing = _Placing(session, mix, times, data)
        chosen, decision = placing.chosen()
        stage.parameters = {"regions": len(mix.regions), "edges": len(mix.edges)}
        stage.decisions.append(decision)
    kept = mix.plan(chosen) if chosen != placing.whole else plan
    floats = mix.floats(chosen) if chosen != placing.whole else ()
    reason = "as integer it measured slower than as float, with Q/DQ"
    return Placed(kept, mix, times, dict.fromkeys(floats, reason), (stage.record,))


@dataclass(frozen=True)
class _Placing:
    session: Session
    mix: Mix
    times: RegionTimes
    data: CalibrationSet | None

    @property
    def whole(self) -> Choices:
        return self.mix.chosen(self.mix.whole)

    def chosen(self) -> tuple[Choices, Decision]:
        """The whole, or what a race found better."""
        near = self._near()
        loud = self._noise(near)
        # Of equals the first: the whole where it is one of them.
        best = next(one for one in near if loud[one] <= min(loud.values()) + QUIETER)
        said = "no region gains much by staying float"
        if len(near) > 1:
            said = f"{said}; {self._compared(loud)}"
        if best == self.whole:
            return best, Decision(subject="placement", verdict="whole", reason=said)
        plans = (self.mix.whole, self.mix.plan(best))
        pair = [realize(self.mix.model, plan, self.session.target) for plan in plans]
        with self.session.progress.stage("race placements"):
            seconds = min(RACE, self.session.recipe.measure.seconds)
            race = self.session.race(*pair, seconds=seconds)
        if race is None:
            return self.whole, Decision(
                subject="placement", verdict="whole", reason=self.session.untimed(*pair)
            )
        # Where the whole is about as fast, the other was chosen for its outputs.
        enough = race.speed > (1 / WORTH if self.whole in near else 1)
        kept = enough and race.verdict != "undecided"
        gain = self.times.predicted(self.whole) / self.times.predicted(best)
        told = (
            f"with {self._counts(best)} it ran at {ratio(race.speed)} the speed of "
            f"{self._counts(self.whole)} ({ratio_interval(race.ends)}), {ratio(gain)} predicted"
        )
        if race.verdict == "undecided":
            told = f"{told}: no decision, as the interval is too wide"
        if len(near) > 1:
            told = f"{told}; {self._compared(loud)}"
        verdict = "whole"
        if kept:
            verdict = "partly float" if any(self.mix.floats(best)) else "integer, mixed"
        decision = Decision(subject="placement", verdict=verdict, reason=told)
        return (best if kept else self.whole), decision

    def _near(self) -> list[Choices]:
        """The placements that should be fastest, up to `WORTH`; the whole first if it is."""
        costs = self.times.costs
        patient = costs.time.copy()
        patient[:, DYNAMIC] /= WORTH
        solved = [solve(costs), solve(Costs(patient, costs.edges, costs.pair))]
        found = dict.fromkeys([self.whole, *(one for one in solved if one and any(one))])
        least = min(self.times.predicted(one) for one in found)
        near = [one for one in found if self.times.predicted(one) < WORTH * least]
        if self.whole not in near:
            return near
        # What is no faster is not worth a larger file.
        floats = len(self.mix.floats(self.whole))
        return [one for one in near if len(self.mix.floats(one)) <= floats]

    def _noise(self, near: list[Choices]) -> dict[Choices, float]:
        """Noise at the outputs in dB; all alike where there is nothing to compare."""
        if self.data is None or len(near) < 2:
            return dict.fromkeys(near, 0.0)
        sample, found = self.data.take(SAMPLE), {}
        with (
            self.session.progress.stage("compare placements", total=len(near)) as advance,
            self.session.target.open(self.mix.model, threads=0, timed=False) as original,
        ):
            for one in near:
                plan = self.mix.plan(one)
                energies = output_energies(self.session, self.mix.model, original, plan, sample)
                found[one] = 10 * float(np.log10(max(noise(energies), SILENCE)))
                advance(1)
        return found

    def _compared(self, loud: dict[Choices, float]) -> str:
        if self.data is None:
            return "placements of about the same speed were not compared, as there is no data"
        said = (f"{-value:.1f} dB with {self._counts(one)}" for one, value in loud.items())
        return f"signal to noise at the outputs: {', '.join(said)}"

    def _counts(self, chosen: Choices) -> str:
        """How many regions got what."""
        words = {STATIC: "static", DYNAMIC: "dynamic", FLOAT: "float"}
        counts = ((chosen.count(choice), word) for choice, word in words.items())
        return " and ".join(f"{count} {word}" for count, word in counts if count) + " regions"
