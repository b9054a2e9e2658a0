"""Structured pruning: whole channels, heads and hidden units are removed from the graph."""

from compressor.pruning.coupling.groups import Frozen, Group, Grouping, Keep, Member, find_groups
from compressor.pruning.coupling.oracle import check, masked
from compressor.pruning.coupling.surgery import cut

__all__ = [
    "Frozen",
    "Group",
    "Grouping",
    "Keep",
    "Member",
    "check",
    "cut",
    "find_groups",
    "masked",
]
