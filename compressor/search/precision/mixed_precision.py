"""The step of the search that decides on a precision for each region.

Single damages add up to less or more than what a whole candidate loses, and the bound that just
keeps the budget is not known. So the bound is searched: the fastest choice within it is measured
as a whole, single damages are refitted to what whole candidates did, and the next bound lies
between those of what was accepted and of what was refused. Then single regions are changed back,
those that save most time for their damage first, while the budget allows it.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from calibration.scheme import FloatArray
from compressor.quantization.mixed import Costs, refitted, solve
from compressor.results.records import Decision
from compressor.search.bisection import Bracket, bisect
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.region_latency import RegionTimes
from compressor.search.precision.regions import CHOICES, FLOAT, Mix
from compressor.search.precision.sensitivity import SAMPLE, damages, noise, output_energies, told

TRIES = 6
"""Candidates that are measured as a whole."""
SOLUTIONS = 24
"""Bounds that are solved for; most give a candidate that was measured already."""
SWAPS = 3
"""Single regions that are tried in a faster precision after that."""
CLOSE = 1.02
"""Ratio of a refused to an accepted bound between which nothing is looked for."""


def mixed_precision(search: PtqSearch) -> None:
    """The fastest choice of a precision for each region that keeps the budget."""
    placed = search.placed
    if placed is None or len(placed.mix.regions) < 2 or search.out_of_time():
        return
    mix, samples = placed.mix, search.samples
    damage = damages(search.session, mix, search.plan, samples, search.out_of_time)
    if damage is None:
        return
    search.damage = damage
    search.findings += _ranking(mix, damage)
    assigning = _Assigning(search, mix, placed.times, damage)
    assigning.bounds()
    assigning.swaps()


def by_count(mix: Mix) -> Costs:
    """What stands for time where speed does not matter: weighted nodes that are not static."""
    time = np.full(mix.possible.shape, np.inf)
    for index, region in enumerate(mix.regions):
        time[index] = len(region.weighted) * np.array([1.0, 0.0, 0.25])
    time[~mix.possible] = np.inf
    shape = (0, len(CHOICES), len(CHOICES))
    return Costs(time, (), np.zeros(shape))


def _ranking(mix: Mix, damage: FloatArray) -> list[Decision]:
    """Regions by falling damage in the best of their integer precisions."""
    least = damage[:, FLOAT + 1 :].min(axis=1)
    return [
        Decision(
            subject=", ".join(mix.regions[region].weighted),
            verdict=f"worst {rank}",
            reason="alone it leaves "
            + ", ".join(
                told(damage[region, choice], mix.names[choice])
                for choice in range(FLOAT + 1, len(CHOICES))
                if mix.possible[region, choice]
            )
            + " at the outputs",
        )
        for rank, region in enumerate(np.argsort(-least, kind="stable"), start=1)
    ]


@dataclass
class _Assigning:
    search: PtqSearch
    mix: Mix
    times: RegionTimes | None
    damage: FloatArray
    refused: dict[tuple[int, ...], float] = field(default_factory=dict)
    accepted: dict[tuple[int, ...], float] = field(default_factory=dict)

    @property
    def _costs(self) -> Costs:
        return by_count(self.mix) if self.times is None else self.times.costs

    def bounds(self) -> None:
        """Search for the bound between what keeps the budget and what does not."""
        search = self.search
        whole = self.mix.chosen(search.plan)
        self.refused[whole] = self._measured(whole)
        if search.best is not None:
            slower = self.mix.chosen(search.best.plan)
            self.accepted[slower] = self._measured(slower)
        most = self._sum(whole)
        share = np.clip(search.allowed / search.loss, 0.05, 0.8) if search.loss > 0 else 0.5
        first, left = iter([most * float(share)]), iter(range(SOLUTIONS))

        def until(found: Bracket) -> bool:
            done = next(left, None) is None or len(self.accepted) + len(self.refused) > TRIES
            return done or found.fails <= CLOSE * found.holds or search.out_of_time()

        def middle(found: Bracket) -> float:
            between = math.sqrt(found.holds * found.fails) if found.holds > 0 else found.fails / 3
            return next(first, between)

        bisect(Bracket(holds=0.0, fails=most), self._solved, until, middle)

    def _solved(self, bound: float, found: Bracket) -> Bracket:
        """Try the fastest choice within a bound; the bounds that are known after that."""
        chosen = solve(self._costs, self.damage, bound)
        if chosen is None or not any(chosen):
            return found.with_(bound, accepted=True)
        if chosen in self.accepted or chosen in self.refused:
            return found.with_(bound, accepted=chosen in self.accepted)
        self._try(chosen)
        holds = max((self._sum(one) for one in self.accepted), default=0.0)
        return Bracket(holds, min((self._sum(one) for one in self.refused), default=math.inf))

    def swaps(self) -> None:
        """Try single regions in a faster precision, best saving for its damage first."""
        for _ in range(SWAPS):
            best = self.search.best
            if best is None or self.search.out_of_time():
                return
            chosen = self.mix.chosen(best.plan)
            found = [
                (self._worth(chosen, swapped), swapped)
                for swapped in self._neighbours(chosen)
                if swapped not in self.refused and swapped not in self.accepted
            ]
            worth, swapped = max(found, default=(0.0, chosen))
            if worth <= 0 or not self._try(swapped):
                return

    def _neighbours(self, chosen: tuple[int, ...]) -> list[tuple[int, ...]]:
        """All that differ in one region."""
        return [
            (*chosen[:region], int(choice), *chosen[region + 1 :])
            for region, choice in zip(*np.nonzero(self.mix.possible), strict=True)
            if choice != chosen[region]
        ]

    def _worth(self, chosen: tuple[int, ...], swapped: tuple[int, ...]) -> float:
        """Seconds that are saved for each unit of damage."""
        saved = self._costs.total(chosen) - self._costs.total(swapped)
        added = self._sum(swapped) - self._sum(chosen)
        return saved / max(added, 1e-12) if np.isfinite(added) else 0.0

    def _try(self, chosen: tuple[int, ...]) -> bool:
        """Measure a candidate as a whole, and refit."""
        search = self.search
        floats = self.mix.floats(chosen)
        total = sum(len(region.weighted) for region in self.mix.regions)
        dynamic = sum(one == CHOICES.index("dynamic INT8") for one in chosen)
        name = f"{search.named}, {len(floats)} of {total} layers in float"
        if dynamic:
            name += f", {dynamic} dynamic"
        trial = search.attempt(name, self.mix.plan(chosen, search.plan), floats)
        found = self.accepted if trial.accepted else self.refused
        found[chosen] = self._measured(chosen)
        tried = self.accepted | self.refused
        known = {one: total for one, total in tried.items() if np.isfinite(self._sum(one))}
        finite = np.where(np.isfinite(self.damage), self.damage, 0.0)
        factors = refitted(finite, list(known), list(known.values()))
        self.damage = np.where(np.isfinite(self.damage), factors, np.inf)
        return trial.accepted

    def _measured(self, chosen: tuple[int, ...]) -> float:
        """The error of a whole candidate at the outputs."""
        search = self.search
        with search.session.target.open(search.graph, threads=0, timed=False) as original:
            plan = self.mix.plan(chosen, search.plan)
            sample = search.samples.take(SAMPLE)
            return noise(output_energies(search.session, search.graph, original, plan, sample))

    def _sum(self, chosen: tuple[int, ...]) -> float:
        return float(sum(self.damage[region, choice] for region, choice in enumerate(chosen)))
