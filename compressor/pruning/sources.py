"""A keep-set of one graph told in another form of the same graph, whose weights bear other names.

Groups are found in the folded graph, where a convolution and its BatchNorm are one; a module knows
them by the parameters of the captured graph. What both graphs have by the same name and shape,
mostly activations, carries the decision over, position by position.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.errors import PruningError
from compressor.layerwise.im2col import Doubles
from compressor.pruning.coupling.cutting import Mask
from compressor.pruning.coupling.groups import Group, Grouping, Keep
from compressor.pruning.coupling.labels import Ints
from compressor.pruning.coupling.surgery import masks
from compressor.pruning.selection.importance import Scores

Slices = dict[str, dict[int, tuple[int, ...]]]
"""Initializer → axis → positions that stay."""


def carried_over(keep: Keep, here: Grouping, there: Grouping) -> dict[str, Mask]:
    """A keep-set carried over to the groups of another form of the graph.

    Args:
        keep: What stays of each group of `here`.
        here: Groups of one form.
        there: Groups of the other.

    Raises:
        PruningError: The other form couples positions otherwise, or the two share no value of a
            group.
    """
    kept = masks(here, keep)
    found = {group.name: _votes(group, kept, here, there) for group in there.groups}
    found = {name: mask for name, mask in found.items() if not mask.all()}
    again = masks(there, found)
    for group in here.groups:
        axes = {(m.value, m.axis) for m in group.members} & kept.keys()
        shared = [key for key in axes if _shared(key[0], here, there)]
        wrong = [key for key in shared if not _equal(kept[key], again.get(key))]
        if axes and (wrong or not shared):
            raise PruningError(
                f"the group {group.name!r} is not coupled alike in the captured graph"
                + (f": axis {wrong[0][1]} of {wrong[0][0]!r} differs" if wrong else "")
            )
    return found


def scores_over(found: Scores, there: Grouping, here: Grouping) -> Scores:
    """Scores of one form of the graph for the groups of another.

    A unit has the sum of the scores of all units whose positions are its own in a value that both
    forms have; a group without such a value is left out.

    Args:
        found: Scores of the units of `there`.
        there: The form that was scored.
        here: The form that is to be pruned.
    """
    owners, flat = _owners(found, there)
    made: dict[str, Doubles] = {}
    for group in here.groups:
        for member in group.members:
            owner = owners.get((member.value, member.axis))
            if owner is None or not _shared(member.value, here, there):
                continue
            read = owner[member.positions]
            if (read >= 0).all():
                made[group.name] = np.array([flat[np.unique(units)].sum() for units in read])
                break
    return made


def slices_of(model: ir.Model, grouping: Grouping, keep: Keep) -> Slices:
    """What stays of each initializer of a model.

    Args:
        model: The model, with its own names: vectors that several nodes read have copies only in
            the grouping, `name#2` and so on, which all have to shrink alike.
        grouping: Its groups.
        keep: What stays of each group.

    Raises:
        PruningError: Copies of one vector shrink differently.
    """
    names = model.graph.initializers
    found: Slices = {}
    kept = masks(grouping, keep)
    for name in grouping.shapes:
        base = name if name in names else name.rpartition("#")[0]
        if base not in names:
            continue
        axes = {
            axis: tuple(np.flatnonzero(mask).tolist())
            for (value, axis), mask in kept.items()
            if value == name
        }
        if found.setdefault(base, axes) != axes:
            raise PruningError(f"{base!r} is read several times, and shrinks differently there")
    return {name: axes for name, axes in found.items() if axes}


def _owners(found: Scores, grouping: Grouping) -> tuple[dict[tuple[str, int], Ints], Doubles]:
    """(value, axis) → the unit of each position, by its place among all scores; -1 for none."""
    scored = [group for group in grouping.groups if group.name in found]
    owners: dict[tuple[str, int], Ints] = {}
    first = 0
    for group in scored:
        for member in group.members:
            size = grouping.shapes[member.value][member.axis]
            owner = owners.setdefault((member.value, member.axis), np.full(size, -1))
            owner[member.positions] = first + np.arange(group.units)[:, None]
        first += group.units
    flat = np.concatenate([found[group.name] for group in scored]) if scored else np.zeros(0)
    return owners, flat


def _votes(
    group: Group, kept: Mapping[tuple[str, int], Mask], here: Grouping, there: Grouping
) -> Mask:
    """Which units stay; those of a group that no value tells about do."""
    votes = [np.ones((group.units, 1), np.bool_)]
    for member in group.members:
        mask = kept.get((member.value, member.axis))
        if mask is not None and _shared(member.value, here, there):
            votes.append(mask[member.positions])
    if len(votes) == 1:
        return votes[0][:, 0]
    told = np.concatenate(votes[1:], axis=1).astype(np.bool_)
    units: Mask = np.logical_and.reduce(told, axis=1)
    if (np.logical_or.reduce(told, axis=1) != units).any():
        raise PruningError(f"only a part of a unit of {group.name!r} is removed")
    return units


def _shared(value: str, here: Grouping, there: Grouping) -> bool:
    shape = here.shapes.get(value)
    return shape is not None and shape == there.shapes.get(value)


def _equal(mask: Mask, other: Mask | None) -> bool:
    return other is not None and np.array_equal(mask, other)
