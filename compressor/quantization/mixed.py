"""Which precision each region gets: the fastest choice whose damage stays within a bound.

A multiple-choice knapsack with terms for pairs of neighbours, solved as a mixed integer linear
programme by HiGHS (`scipy.optimize.milp`). With x[r,c] = 1 where region r gets choice c, and
y[e,c,d] = 1 where edge e joins choice c to choice d:

    minimize    Σ time[r,c] x[r,c] + Σ pair[e,c,d] y[e,c,d]
    subject to  Σ_c x[r,c] = 1                    one choice for each region
                Σ_d y[e,c,d] = x[a,c]             an edge (a, b) sees what its ends chose
                Σ_c y[e,c,d] = x[b,d]
                Σ damage[r,c] x[r,c] ≤ bound

The y need not be declared integer: between whole x they are whole. Damages are taken to add up,
which holds for small independent errors; `refitted` corrects them by what was measured jointly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, lsq_linear, milp
from scipy.sparse import csr_array

from calibration.scheme import FloatArray

SECONDS = 10.0
"""Time limit of one solution; HiGHS takes milliseconds for a hundred regions."""
GAP = 1e-4
"""Relative distance from the optimum at which it may stop."""
TRUST = 3.0
"""How far measured sums move single damages: 0 not at all, large ones entirely."""


@dataclass(frozen=True)
class Costs:
    """Costs of each choice; times in seconds, damages in any unit that adds up.

    Attributes:
        time: (regions, choices); infinite where a region does not have that choice.
        edges: Pairs of neighbours (front, behind).
        pair: (edges, choices, choices): what an edge adds, by the choices of front and behind.
    """

    time: FloatArray
    edges: tuple[tuple[int, int], ...]
    pair: FloatArray

    def total(self, chosen: Sequence[int]) -> float:
        """Seconds of everything for one choice of each region."""
        own = sum(self.time[region, choice] for region, choice in enumerate(chosen))
        shared = sum(self.pair[e, chosen[a], chosen[b]] for e, (a, b) in enumerate(self.edges))
        return float(own + shared)


def solve(
    costs: Costs, damage: FloatArray | None = None, bound: float = np.inf
) -> tuple[int, ...] | None:
    """The choice of each region; None where no choice keeps the bound.

    Args:
        costs: What is minimized.
        damage: (regions, choices), not negative; None asks for the fastest whatever it does.
        bound: Bound of the summed damage.
    """
    regions, choices = costs.time.shape
    count = regions * choices
    shared = choices * choices
    possible = np.isfinite(costs.time)
    if damage is not None:
        # What breaks the bound alone is left out, so that the rest can be told in shares of the
        # bound: tolerances are absolute, and damages differ by decades.
        possible &= np.isfinite(damage) & (damage <= bound)
    objective = np.concatenate([np.where(possible, costs.time, 0.0).ravel(), costs.pair.ravel()])
    scale = max(np.abs(objective).max(initial=0.0), 1e-30)  # microseconds are below tolerances
    rules = [LinearConstraint(*_consistent(costs, count + len(costs.edges) * shared))]
    if damage is not None and 0 < bound < np.inf:
        row = np.zeros((1, len(objective)))
        row[0, :count] = np.where(possible, damage, 0.0).ravel() / bound
        rules.append(LinearConstraint(row, -np.inf, 1.0))
    found = milp(
        objective / scale,
        integrality=np.r_[np.ones(count), np.zeros(len(objective) - count)],
        bounds=Bounds(0, np.r_[possible.ravel(), np.ones(len(objective) - count)]),
        constraints=rules,
        options={"time_limit": SECONDS, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return None
    chosen = found.x[:count].reshape(regions, choices).argmax(axis=1)
    return tuple(int(choice) for choice in chosen)


def _consistent(costs: Costs, columns: int) -> tuple[csr_array, FloatArray, FloatArray]:
    """One choice for each region, and edges that see the choices of their ends."""
    regions, choices = costs.time.shape
    rows: list[int] = []
    places: list[int] = []
    values: list[float] = []
    right: list[float] = []

    def equal(entries: dict[int, float], value: float) -> None:
        rows.extend([len(right)] * len(entries))
        places.extend(entries)
        values.extend(entries.values())
        right.append(value)

    for region in range(regions):
        equal({region * choices + c: 1.0 for c in range(choices)}, 1.0)
    for edge, ends in enumerate(costs.edges):
        y = regions * choices + edge * choices * choices
        for c in range(choices):
            from_front = {y + c * choices + d: 1.0 for d in range(choices)}
            into_behind = {y + d * choices + c: 1.0 for d in range(choices)}
            equal(from_front | {ends[0] * choices + c: -1.0}, 0.0)
            equal(into_behind | {ends[1] * choices + c: -1.0}, 0.0)
    matrix = csr_array((values, (rows, places)), shape=(len(right), columns))
    return matrix, np.array(right), np.array(right)


def refitted(
    damage: FloatArray, tried: Sequence[Sequence[int]], measured: Sequence[float]
) -> FloatArray:
    """Damages that explain better what whole candidates did.

        minimize  Σ_t (Σ_r f[r] damage[r, t_r] / measured_t - 1)² + w Σ_r (f[r] - 1)²,  f ≥ 0

    with w = 1 / (`TRUST` · regions): the fewer candidates, the closer it stays to single regions.

    Args:
        damage: (regions, choices), from each region alone.
        tried: The choices of each candidate.
        measured: The damage of each as a whole; only positive ones count.

    Returns:
        The damages with each region's row scaled.
    """
    regions = len(damage)
    known = [(chosen, total) for chosen, total in zip(tried, measured, strict=True) if total > 0]
    if not known:
        return damage
    shares = np.array(
        [[damage[r, choice] / total for r, choice in enumerate(chosen)] for chosen, total in known]
    )
    weight = np.sqrt(1.0 / (TRUST * regions))
    left = np.vstack([shares, weight * np.eye(regions)])
    right = np.concatenate([np.ones(len(known)), np.full(regions, weight)])
    factors = lsq_linear(left, right, bounds=(0.0, np.inf)).x
    return np.asarray(damage * factors[:, None])
