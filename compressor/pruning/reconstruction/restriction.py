"""Values of the original as the pruned graph has them: without the positions that went."""

from collections import defaultdict

import numpy as np

from compressor.layerwise.im2col import Floats
from compressor.pruning.coupling.cutting import Mask
from compressor.pruning.coupling.groups import Grouping, Keep
from compressor.pruning.coupling.surgery import masks


class Restriction:
    """Positions that stay of each axis of each value under a keep-set."""

    def __init__(self, grouping: Grouping, keep: Keep) -> None:
        """Look up what stays.

        Args:
            grouping: The groups of the original.
            keep: What was kept.

        Raises:
            PruningError: The keep does not fit the groups.
        """
        self._masks: dict[str, list[tuple[int, Mask]]] = defaultdict(list)
        for (value, axis), mask in masks(grouping, keep).items():
            self._masks[value].append((axis, mask))

    def __call__(self, name: str, array: Floats) -> Floats:
        """The array of a value of the original, restricted."""
        for axis, mask in self._masks.get(name, ()):
            array = np.compress(mask, array, axis)
        return array

    def along(self, name: str, axis: int, vector: Floats) -> Floats:
        """A vector with a number for each position of one axis of a value, restricted.

        Args:
            name: The value.
            axis: Its axis; -1 is whichever has that length, the last in practice.
            vector: One number per position of the axis.
        """
        for one, mask in self._masks.get(name, ()):
            if one == axis or (axis < 0 and len(mask) == len(vector)):
                return np.compress(mask, vector)
        return vector
