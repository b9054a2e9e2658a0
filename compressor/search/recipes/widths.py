"""Architecture search: the width of every group and the presence of every block, evolved.

The model of an architecture is additive. With w_g the units that group g keeps and b the blocks
that are gone,

    damage = Σ_g e_g · s_g(w_g) / s_g(w_g°) + Σ_b E_b        over groups of blocks that stay
    time   = rest + Σ_nodes t_node(w)                        over nodes of blocks that stay

s_g is the sum of the scores of the least units, e_g the error at the outputs with g alone narrowed
to w_g° and quickly repaired, E_b that with block b alone gone; t_node interpolates kernel times
that were measured at several widths, at the precision that ships. NSGA-II searches it
(`evolution`), seeded with what the greedy allocation gives at several shares. Only what is best by
that model is realized and measured: an error of the sum costs candidates, never a wrong figure.

Source of the two terms: Shen et al. 2022 (HALP, arXiv 2110.10811) for latency as a sum over layers,
Wang and Wu (PRACTISE, arXiv 2202.07861) for the error of a block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from compressor.pruning import Keep
from compressor.pruning.blocks import Block, find_blocks
from compressor.pruning.coupling.groups import Group
from compressor.pruning.output_error import output_error
from compressor.pruning.selection.allocation import Allocation, allocate
from compressor.pruning.selection.select import Selection, Weighing, weighed
from compressor.results.records import StageRecord
from compressor.search.precision.regions import STATIC
from compressor.search.pruning.pruner import Chosen
from compressor.search.pruning.steps import COMPARED, checked_feeds, limits
from compressor.search.recipes.evolution import Levels, Scores, evolved
from compressor.search.recipes.shared import Shared

PROBED = 0.5
"""Share of a group's units that are removed to see what that does at the outputs."""
HELD_OUT = 0.5
"""Share of the samples that the quick repairs do not see, and errors are measured on."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
"""Shares of the time at which the greedy allocation gives architectures to start from."""


@dataclass(frozen=True)
class Architecture:
    """One architecture of the front.

    Attributes:
        kept: Group → units that stay, of those that are narrowed.
        removed: Blocks that are gone, in the order of the graph.
        seconds: One inference, by the model.
        damage: By the model: error at the outputs, relative to their variance.
    """

    kept: Mapping[str, int]
    removed: tuple[str, ...]
    seconds: float
    damage: float


def selection_of(keep: Keep, damage: Mapping[str, float], cost: float) -> Selection:
    """A selection that was not made by weighing scores."""
    record = StageRecord(
        name="select",
        seconds=0.0,
        parameters={"method": "evolved"},
        changed={"units removed": sum(int((~mask).sum()) for mask in keep.values())},
    )
    allocation = Allocation(dict(keep), dict(damage), cost, reached=True)
    return Selection(allocation, Weighing(), {}, record)


class Widths:
    """The architectures of one graph that none beats in both time and damage."""

    def __init__(self, shared: Shared) -> None:
        """Nothing is measured yet.

        Args:
            shared: The float graph, its groups and its kernel times.
        """
        self._shared = shared
        self._base = shared.pruner.whole
        bound = limits(shared.session, shared.pruner.how.multiple)
        found = [g for g in self._base.grouping.groups if g.name in self._base.scores]
        self._groups = [group for group in found if not group.is_left(bound.leave)]
        self._levels = [
            _levels(g.units, bound.multiple_of(g.units), bound.least) for g in self._groups
        ]
        leave = shared.recipe.prune.leave
        blocks = find_blocks(shared.start.baseline, checked_feeds(shared.session))
        whole = shared.groups is not None and shared.groups.has_blocks
        self._blocks = [b for b in blocks if whole and not b.is_left(leave)]

    @cached_property
    def front(self) -> tuple[Architecture, ...]:
        """By rising time."""
        genes = [len(levels) for levels in self._levels] + [2] * len(self._blocks)
        if not genes:
            return ()
        with self._shared.session.progress.stage("evolve widths"):
            people, scores = evolved(
                self._scored,
                np.array(genes, np.int64),
                self._starts(),
                seed=self._shared.recipe.seed,
            )
        rows = zip(people, scores, strict=True)
        return tuple(self._architecture(person, score) for person, score in rows)

    def fastest_within(self, seconds: float) -> Architecture | None:
        """The architecture that loses least within a time; None where none is so fast."""
        fitting = [one for one in self.front if one.seconds <= seconds]
        return min(fitting, key=lambda one: one.damage, default=None)

    def chosen(self, architecture: Architecture) -> Chosen:
        """Its units, the least of each group as they are scored without the blocks.

        Raises:
            PruningError: Its blocks cannot be removed together.
        """
        base = self._shared.base(architecture.removed)
        keep, damage = dict[str, npt.NDArray[np.bool_]](), dict[str, float]()
        for group in base.grouping.groups:
            count = architecture.kept.get(group.name, group.units)
            scores = base.scores.get(group.name)
            if scores is None or count >= group.units:
                continue
            order = np.argsort(scores, kind="stable")
            mask = np.ones(group.units, bool)
            mask[order[: group.units - count]] = False
            keep[group.name], damage[group.name] = mask, float(scores[~mask].sum())
        return Chosen(base, selection_of(keep, damage, architecture.seconds))

    def _architecture(self, person: npt.NDArray[np.int64], score: Sequence[float]) -> Architecture:
        widths, blocks = person[: len(self._groups)], person[len(self._groups) :]
        gone = [block for block, off in zip(self._blocks, blocks, strict=True) if off]
        kept = {
            group.name: levels[level]
            for group, levels, level in zip(self._groups, self._levels, widths, strict=True)
            if levels[level] < group.units and not any(_is_inside(group, b) for b in gone)
        }
        removed = tuple(block.add for block in gone)
        return Architecture(kept, removed, float(score[0]), float(score[1]))

    # The model: tables over levels, so that a population is looked up at once.

    def _scored(self, people: Levels) -> Scores:
        """(seconds, damage) of each individual."""
        count = len(self._groups)
        widths, gone = people[:, :count], people[:, count:].astype(bool)
        seconds = np.full(len(people), self._rest)
        for groups, blocks, table in self._times:
            there = ~gone[:, blocks].any(axis=1) if blocks else np.ones(len(people), bool)
            taken = table[tuple(widths[:, g] for g in groups)] if groups else table
            seconds += np.where(there, taken, 0.0)
        damage = gone @ self._of_blocks if self._blocks else np.zeros(len(people))
        for index, curve in enumerate(self._of_groups):
            inside = self._inside[index]
            there = ~gone[:, inside].any(axis=1) if inside else np.ones(len(people), bool)
            damage = damage + np.where(there, curve[widths[:, index]], 0.0)
        return np.stack([seconds, damage], axis=1)

    @cached_property
    def _inside(self) -> list[list[int]]:
        """For each group the blocks that it is within."""
        return [
            [i for i, block in enumerate(self._blocks) if _is_inside(group, block)]
            for group in self._groups
        ]

    @cached_property
    def _rest(self) -> float:
        kernels = self._shared.kernels(STATIC)
        nodes, seconds = kernels.nodes(self._base.sizes)
        return kernels.cost(self._base.sizes)({}) - sum(seconds(node, {}) for node in nodes)

    @cached_property
    def _times(self) -> list[tuple[list[int], list[int], npt.NDArray[np.float64]]]:
        """For each node its groups, the blocks that it is in, and its seconds by their levels."""
        sizes = self._base.sizes
        nodes, seconds = self._shared.kernels(STATIC).nodes(sizes)
        places = {group.name: index for index, group in enumerate(self._groups)}
        found = []
        for node in nodes:
            names = sizes.groups_of(*node.inputs, *node.outputs)
            groups = [places[name] for name in names if name in places]
            table = np.zeros([len(self._levels[g]) for g in groups])
            for at in np.ndindex(table.shape):
                kept = {
                    self._groups[g].name: self._levels[g][level]
                    for g, level in zip(groups, at, strict=True)
                }
                table[at] = seconds(node, kept)
            blocks = [i for i, b in enumerate(self._blocks) if (node.name or "") in b.names]
            found.append((groups, blocks, table))
        return found

    @cached_property
    def _of_groups(self) -> list[npt.NDArray[np.float64]]:
        """For each group the damage of each level."""
        errors = self._shared.noted("errors of groups", self._probe_groups)
        found = []
        for group, levels in zip(self._groups, self._levels, strict=True):
            sums = np.concatenate([[0.0], np.cumsum(np.sort(self._base.scores[group.name]))])
            probed = float(sums[group.units - _probed(levels)]) or 1.0
            gone = [group.units - level for level in levels]
            found.append(errors[group.name] * sums[gone] / probed)
        return found

    @cached_property
    def _of_blocks(self) -> npt.NDArray[np.float64]:
        errors = self._shared.noted("errors of blocks", self._probe_blocks)
        return np.array([errors[block.add] for block in self._blocks])

    def _probe_groups(self) -> dict[str, float]:
        """The error at the outputs with each group alone narrowed and quickly repaired."""
        how, base = self._shared.pruner.how, self._base
        held, used = how.data.take(COMPARED).split(HELD_OUT, how.session.recipe.seed)
        quick, found = how.quick(), dict[str, float]()
        with how.session.progress.stage("narrow groups", total=len(self._groups)) as advance:
            for group, levels in zip(self._groups, self._levels, strict=True):
                order = np.argsort(base.scores[group.name], kind="stable")
                mask = np.ones(group.units, bool)
                mask[order[: group.units - _probed(levels)]] = False
                keep = {group.name: mask}
                made, _ = how.repaired(base, how.cut(base, keep), keep, used, quick)
                found[group.name] = output_error(how.graph, made, held, batch=how.batch)
                advance(1)
        return found

    def _probe_blocks(self) -> dict[str, float]:
        """The error at the outputs without each block alone, the layer before it refitted."""
        return self._shared.removal.damages()

    def _starts(self) -> Levels:
        """The whole graph, and what the greedy allocation gives by the same damages."""
        whole = np.zeros(len(self._groups) + len(self._blocks), np.int64)
        found = [whole]
        cost = self._shared.kernels(STATIC).cost(self._base.sizes)
        how = self._shared.pruner.how
        bound = limits(how.session, how.multiple)
        scored = weighed(self._base.short.model, self._base.grouping, self._base.scores, Weighing())
        for share in SHARES:
            made = allocate(self._base.grouping, scored, cost, cost({}) * (1 - share), bound)
            person = whole.copy()
            for index, (group, levels) in enumerate(zip(self._groups, self._levels, strict=True)):
                mask = made.keep.get(group.name)
                count = group.units if mask is None else int(mask.sum())
                person[index] = min(range(len(levels)), key=lambda i: abs(levels[i] - count))
            found.append(person)
        for index in range(len(self._blocks)):
            person = whole.copy()
            person[len(self._groups) + index] = 1
            found.append(person)
        return np.array(found)


def _levels(units: int, multiple: int, least: float) -> list[int]:
    """How many units may stay, from all down."""
    fewest = max(1, int(np.ceil(least * units)))
    below = range((units - 1) // multiple * multiple, fewest - 1, -multiple)
    return [units, *below]


def _probed(levels: Sequence[int]) -> int:
    """The level that is nearest to what is probed, and removes something."""
    wanted = levels[0] * (1 - PROBED)
    return min(levels[1:], key=lambda level: abs(level - wanted), default=levels[0])


def _is_inside(group: Group, block: Block) -> bool:
    """Whether a group is of a block alone, and goes with it."""
    values = {member.value for member in group.members}
    return bool(values) and values <= block.names
