"""Which share of a graph's parameters lies in prunable groups, and what holds the rest."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.pruning.coupling.groups import Frozen, Grouping


@dataclass(frozen=True)
class Share:
    """The parameters of a graph, counted.

    Attributes:
        total: Elements of all floating-point initializers.
        prunable: Those in a row, column or channel of some group.
        held: Reason → how many of the others have it, most first; an element that is frozen along
            several axes counts for each.
        first: Reason → the node of the first initializer that has it.
    """

    total: int
    prunable: int
    held: Mapping[str, int]
    first: Mapping[str, str]

    @property
    def part(self) -> float:
        """Between 0 and 1."""
        return self.prunable / self.total


def share(model: ir.Model, grouping: Grouping) -> Share:
    """Count the parameters of a graph by whether a group can drop them.

    An element of a matrix [O, I] can be dropped with its row or with its column: with p of O rows
    and q of I columns in groups, (O - p)(I - q) elements stay whatever is pruned.
    """
    covered: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for group in grouping.groups:
        for member in group.members:
            covered[member.value][member.axis].update(np.ravel(member.positions).tolist())
    frozen: dict[str, list[Frozen]] = defaultdict(list)
    for entry in grouping.frozen:
        frozen[entry.value].append(entry)
    total = prunable = 0
    held, first = Counter[str](), dict[str, str]()
    for name, value in model.graph.initializers.items():
        if value.const_value is None or not value.const_value.dtype.is_floating_point():
            continue
        shape = value.const_value.shape.numpy()
        fixed = prod(size - len(covered[name][axis]) for axis, size in enumerate(shape))
        total += prod(shape)
        prunable += prod(shape) - fixed
        if fixed:
            held.update({entry.reason: fixed for entry in frozen[name]})
            for entry in frozen[name]:
                first.setdefault(entry.reason, entry.node)
    return Share(total, prunable, dict(held.most_common()), first)
