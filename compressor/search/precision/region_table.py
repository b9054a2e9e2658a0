"""Regions and their choices as they stand in reports."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from calibration.scheme import FloatArray
from compressor.quantization.mixed import solve
from compressor.results.regions import FrontierPoint, RegionChoice, RegionResult
from compressor.search.precision.region_latency import RegionTimes
from compressor.search.precision.regions import CHOICES, FLOAT, Mix

POINTS = 12
"""Bounds of the damage that the frontier is drawn from."""


def region_results(
    mix: Mix, chosen: Sequence[int], times: RegionTimes | None, damage: FloatArray | None
) -> tuple[RegionResult, ...]:
    """A row for each region; what was not measured is None."""
    operators = {node.name or "": node.op_type for node in mix.model.graph}

    def of(region: int, choice: int) -> RegionChoice:
        ms = None if times is None else 1e3 * float(times.costs.time[region, choice])
        noise = None if damage is None else float(damage[region, choice])
        finite = noise is not None and np.isfinite(noise)
        return RegionChoice(precision=mix.names[choice], ms=ms, noise=noise if finite else None)

    return tuple(
        RegionResult(
            nodes=region.weighted,
            operators=tuple(operators[name] for name in region.weighted),
            chosen=mix.names[chosen[index]],
            choices=tuple(
                of(index, choice) for choice in range(len(CHOICES)) if mix.possible[index, choice]
            ),
        )
        for index, region in enumerate(mix.regions)
    )


def predicted_frontier(
    mix: Mix, times: RegionTimes, damage: FloatArray
) -> tuple[FrontierPoint, ...]:
    """The fastest choices within rising bounds of the damage, each once."""
    finite = np.where(np.isfinite(damage), damage, 0.0)
    total = float(finite.max(axis=1).sum())
    smallest = float(finite[finite > 0].min(initial=total))
    bounds = [0.0, *np.geomspace(smallest, 1.01 * total, POINTS)] if total > 0 else [0.0]
    base = times.predicted([FLOAT] * len(mix.regions))
    found: dict[tuple[int, ...], FrontierPoint] = {}
    for bound in bounds:
        chosen = solve(times.costs, damage, bound)
        if chosen is None:
            continue
        seconds = times.predicted(chosen)
        counts: Counter[str] = Counter()
        for region, choice in zip(mix.regions, chosen, strict=True):
            counts[mix.names[choice]] += len(region.weighted)
        found[chosen] = FrontierPoint.model_validate(
            {
                "chosen": dict(counts),
                "noise": float(sum(finite[r, c] for r, c in enumerate(chosen))),
                "ms": 1e3 * seconds,
                "ratio": base / seconds,
            }
        )
    return tuple(sorted(found.values(), key=lambda point: point.noise))
