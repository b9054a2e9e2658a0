"""Block OBS: what the outputs of some layers lose when units of their input go, one by one.

With H = Σ(x - x̄)(x - x̄)ᵀ over a layer's patches and r the columns of one unit, removing it and
letting the rest of W make up for it costs, and leaves,

    Σ‖ΔW·x‖² = tr(W_r [(H⁻¹)_rr]⁻¹ W_rᵀ)
    W   ← W - W_r [(H⁻¹)_rr]⁻¹ (H⁻¹)_{r,:}
    H⁻¹ ← H⁻¹ - (H⁻¹)_{:,r} [(H⁻¹)_rr]⁻¹ (H⁻¹)_{r,:}

so that what is removed next knows what has gone (Hassibi and Stork 1992; in blocks: ZipLM, Kurtic,
Frantar and Alistarh 2023, arXiv 2302.04089, section 3.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

from compressor.layerwise.im2col import Doubles
from compressor.layerwise.moments import damped

Columns = npt.NDArray[np.int64]

RIDGE = 1e-3
"""λ added to H, relative to the mean of its diagonal, as in the repair that follows."""


@dataclass
class Contraction:
    """A contraction over a group: a layer, or one of a layer's own groups.

    Attributes:
        matrix: W, (m, k).
        gram: H, (k, k).
        columns: (units, b), the columns of each unit.
        weight: What a squared error of its output counts.
    """

    matrix: Doubles
    gram: Doubles
    columns: Columns
    weight: float


def removal_costs(readers: Sequence[Contraction], units: int, fewest: int = 1) -> Doubles:
    """The increase of Σ weight·‖ΔW·x‖² when each unit goes, in the cheapest order, greedily.

    Args:
        readers: All layers that read the group.
        units: How many there are.
        fewest: Units that stay: they have the cost of the last removed one or more.

    Returns:
        (units,) costs that grow in the order of removal, so that sorting by them restores it.
    """
    states = [_State(reader) for reader in readers]
    costs = np.zeros(units)
    left = np.ones(units, bool)
    level = 0.0
    while left.sum() > fewest:
        found = np.where(left, sum(state.costs() for state in states), np.inf)
        unit = int(found.argmin())
        level = max(level * (1 + 1e-12), float(found[unit]))
        costs[unit] = level
        left[unit] = False
        for state in states:
            state.remove(unit)
    rest = sum(state.costs() for state in states)
    costs[left] = np.maximum(np.asarray(rest)[left] if readers else 0.0, level * (1 + 1e-9))
    return costs


class _State:
    """The state of one contraction while units go.

    H⁻¹ and W are never written: they are what they were less PᵀP and QᵀP, with L⁻¹(H⁻¹)_{r,:} and
    L⁻¹W_rᵀ as the rows of P and Q that a removal adds, LLᵀ = (H⁻¹)_rr. Each costs O(k·rows) then,
    not O(k²); only what all units' costs need is kept up to date, (H⁻¹)_rr and W_rᵀW_r.
    """

    def __init__(self, reader: Contraction) -> None:
        gram = damped(reader.gram.copy(), RIDGE)
        factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        self._inverse = scipy.linalg.cho_solve(factor, np.eye(len(gram)), check_finite=False)
        self._columns, self._weight = reader.columns, reader.weight
        self._rows = np.ascontiguousarray(reader.matrix.T)
        self._p = np.zeros((0, len(gram)))
        self._q = np.zeros((0, self._rows.shape[1]))
        self._used = 0
        self._blocks = self._inverse[self._columns[:, :, None], self._columns[:, None, :]]
        own = self._rows[self._columns]
        self._energies = own @ own.swapaxes(1, 2)

    def costs(self) -> Doubles:
        """Cost of removing each unit next; 0 for those that are gone."""
        if self._blocks.shape[1] == 1:
            found = (self._energies / self._blocks)[:, 0, 0]
        else:
            found = np.trace(np.linalg.solve(self._blocks, self._energies), axis1=1, axis2=2)
        costs: Doubles = np.maximum(found, 0) * self._weight
        return costs

    def remove(self, unit: int) -> None:
        """Let one go."""
        r = self._columns[unit]
        earlier, later = self._p[: self._used], self._q[: self._used]
        side = self._inverse[r] - earlier[:, r].T @ earlier
        factor = np.linalg.cholesky(side[:, r])
        p = np.linalg.solve(factor, side)
        q = np.linalg.solve(factor, self._rows[r] - earlier[:, r].T @ later)
        met = q @ self._rows.T - (q @ later.T) @ earlier
        self._append(p, q)
        moved, crossed = (rows[:, self._columns].transpose(1, 2, 0) for rows in (p, met))
        turned = moved.swapaxes(1, 2)
        self._blocks -= moved @ turned
        change = crossed @ turned
        self._energies -= change + change.swapaxes(1, 2) - moved @ (q @ q.T) @ turned
        self._blocks[unit], self._energies[unit] = np.eye(len(r)), 0

    def _append(self, p: Doubles, q: Doubles) -> None:
        """Add rows, in storage that doubles when it is full."""
        end = self._used + len(p)
        if end > len(self._p):
            room = max(end, min(2 * len(self._p), len(self._inverse)))
            self._p, self._q = _grown(self._p, room), _grown(self._q, room)
        self._p[self._used : end], self._q[self._used : end] = p, q
        self._used = end


def _grown(rows: Doubles, room: int) -> Doubles:
    larger = np.zeros((room, rows.shape[1]))
    larger[: len(rows)] = rows
    return larger
