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

from compressor.pruning.moments import damped
from compressor.pruning.patches import Doubles

Columns = npt.NDArray[np.int64]

RIDGE = 1e-3
"""λ added to H, relative to the mean of its diagonal, as in the repair that follows."""


@dataclass
class Reader:
    """One contraction over a group: a layer, or one of a layer's own groups.

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


def removal_costs(readers: Sequence[Reader], units: int, fewest: int = 1) -> Doubles:
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
    """One reader while units go."""

    def __init__(self, reader: Reader) -> None:
        gram = damped(reader.gram.copy(), RIDGE)
        factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
        self._inverse = scipy.linalg.cho_solve(factor, np.eye(len(gram)), check_finite=False)
        self._matrix = reader.matrix.copy()
        self._columns, self._weight = reader.columns, reader.weight
        self._gone = np.zeros(len(reader.columns), bool)

    def costs(self) -> Doubles:
        """Of each unit, were it next."""
        blocks = self._blocks()
        rows = self._matrix[:, self._columns].transpose(1, 2, 0)
        solved = np.linalg.solve(blocks, rows)
        found: Doubles = (rows * solved).sum((1, 2)) * self._weight
        return found

    def remove(self, unit: int) -> None:
        """Let one go."""
        r = self._columns[unit]
        side = self._inverse[:, r]
        step = np.linalg.solve(self._inverse[np.ix_(r, r)], side.T)
        self._matrix -= self._matrix[:, r] @ step
        self._inverse -= side @ step
        self._matrix[:, r] = 0
        self._gone[unit] = True

    def _blocks(self) -> Doubles:
        blocks = self._inverse[self._columns[:, :, None], self._columns[:, None, :]]
        blocks[self._gone] = np.eye(blocks.shape[1])
        return np.asarray(blocks)
