"""What all trials of a search share, computed once: graph, groups, regions, kernel times.

What takes long is kept on disk too: calibration statistics and kernel times in the cache folder of
the study, so that a search that goes on, and workers beside it, find them there.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.errors import PruningError
from compressor.graph.fingerprint import fingerprint
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import baseline_graph, decided_graph, planned_policy
from compressor.pruning import find_groups
from compressor.pruning.block_removal import BlockRemoval
from compressor.pruning.blocks import Block, Shortened, find_blocks, without
from compressor.pruning.selection.costs import Kept, Macs, Sizes
from compressor.quantization.mixed import Costs, solve
from compressor.quantization.own_weights import with_own_weights
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import NoBudget
from compressor.search.baseline import folded, started, undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.exact_forms import exact_forms
from compressor.search.precision.mixed_precision import by_count
from compressor.search.precision.norm_fusions import with_norms_apart
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.ranges import calibrated_ranges
from compressor.search.precision.refused_nodes import runnable
from compressor.search.precision.region_latency import RegionTimes, measured_times
from compressor.search.precision.regions import DYNAMIC, FLOAT, STATIC, Mix, mixed
from compressor.search.precision.sensitivity import damages
from compressor.search.pruning.candidates import roughly_integer
from compressor.search.pruning.latency_model import KernelTimes
from compressor.search.pruning.pruner import Pruner
from compressor.search.pruning.steps import (
    COMPARED,
    Base,
    CostOf,
    Grouped,
    checked_feeds,
    grouped,
)
from compressor.search.session import Session

FEWEST_PRUNED = 2
"""Calibration samples below which nothing is pruned."""
Noted = Callable[[str, Callable[[], Any]], Any]
"""What was kept under a name, or what a function finds, which is kept then (JSON)."""


@dataclass(frozen=True)
class Regions:
    """The sensitivity table of the whole graph.

    Attributes:
        mix: Its regions, and what each can be.
        times: What they take; None where nothing can be timed.
        damage: The error at the outputs of each alone, (regions, choices).
    """

    mix: Mix
    times: RegionTimes | None
    damage: FloatArray

    @property
    def costs(self) -> Costs:
        """What is minimized."""
        return by_count(self.mix) if self.times is None else self.times.costs

    def bound(self, share: float) -> float:
        """The summed damage that a share of 0 to 1 allows, by decades; infinite at 1."""
        finite = np.where(np.isfinite(self.damage), self.damage, 0.0)
        total = float(finite.max(axis=1).sum())
        least = float(finite[finite > 0].min(initial=total))
        if share >= 1 or total <= 0:
            return np.inf
        return 0.0 if share <= 0 else float(least * (total / least) ** share)

    def chosen(self, share: float, *, dynamic: bool = False) -> tuple[int, ...]:
        """The fastest choices within the bound of a share.

        Args:
            share: See `bound`.
            dynamic: Whether ranges are found at run time only.
        """
        costs = self.costs
        if dynamic:
            time = costs.time.copy()
            time[:, STATIC] = np.inf
            costs = replace(costs, time=time)
        bound = self.bound(share)
        damage = None if np.isinf(bound) else self.damage
        found = solve(costs, damage, bound)
        return found if found is not None else (FLOAT,) * len(self.mix.regions)


@dataclass
class Shared:
    """One model on one target, and what was found out about it.

    Attributes:
        session: The captured graph, the target, the recipe.
        calibration: Calibration samples; None without.
        judging: Samples that are searched on, which rank regions.
        noted: Keeps decisions that a clock made, so that a search that goes on has the same.
        objectives: What is minimized.
        blocks: Whole blocks that may go, at most.
    """

    session: Session
    calibration: CalibrationSet | None
    judging: CalibrationSet
    noted: Noted
    objectives: tuple[str, ...]
    blocks: int = 0
    _kernels: dict[int, KernelTimes] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        """What is asked for."""
        return self.session.recipe

    @property
    def is_timed(self) -> bool:
        """Whether the target's kernels can be timed here."""
        return self.session.target.why_not_measurable() is None

    @cached_property
    def start(self) -> Outcome:
        """The float graph that all is made of."""
        kind = self.noted("baseline", lambda: undecided(self.session).plan.baseline)
        plain, folding = folded(self.session)
        captured, quantize = self.session.prepared.model, self.recipe.quantize
        plan = GraphPlan(
            graph=self.graph_digest,
            baseline=kind,
            ship="float",
            cpu=quantize.cpu,
            activation=quantize.activation,
            symmetric=quantize.symmetric,
            granularity=quantize.granularity,
        )
        return started(baseline_graph(captured, plain, plan), plan, (folding,))

    @cached_property
    def graph_digest(self) -> str:
        """Fingerprint of the captured graph."""
        return fingerprint(self.session.prepared.model)

    @cached_property
    def whole(self) -> PtqSearch:
        """The whole graph in 8 bits, as far as that is possible: forms, refused layers, fusions."""
        session, data = self.session, self.calibration
        search = PtqSearch(
            session,
            NoBudget(session, None, ""),
            self.start.then(graph=with_own_weights(self.start.graph)),
            self.start.plan,
            calibrating=data,
            data=data,
        )
        self._forms(search)
        calibrated_ranges(search)
        if search.stays_float is not None:
            return search
        search.plan = runnable(session, search.graph, search.plan).plan
        search.plan = search.plan.model_copy(update={"plain_norms": self._plain_norms(search)})
        return search

    def _forms(self, search: PtqSearch) -> None:
        """Forms that race faster; a search that goes on takes those that it took."""

        def raced() -> dict[str, str]:
            exact_forms(search)
            return dict(search.plan.forms)

        forms = self.noted("forms", raced)
        if forms and not search.plan.forms:
            plan = self.start.plan.model_copy(update={"forms": forms})
            graph = decided_graph(self.start.plain, plan, self.session.target)
            search.plan = plan
            search.start = search.start.then(plan=plan, graph=graph)

    def _plain_norms(self, search: PtqSearch) -> bool:
        def raced() -> bool:
            return with_norms_apart(self.session, search.graph, search.plan)[0].plain_norms

        return bool(self.noted("plain norms", raced))

    @property
    def can_be_integer(self) -> bool:
        """Whether any part of the graph has 8-bit kernels."""
        if self.calibration is None or not self.session.target.quantizes:
            return False
        return self.whole.stays_float is None and bool(self.whole.plan.quantized)

    @cached_property
    def regions(self) -> Regions:
        """What each region costs in each precision; of a graph that can be integer."""
        search, session = self.whole, self.session
        policy, leave = planned_policy(search.plan, session.target), session.recipe.quantize.leave
        mix = mixed(search.graph, search.plan, policy, leave=leave)
        recall = partial(self.noted, "region times")
        times = measured_times(session, search.graph, mix, recall) if self.is_timed else None

        def ranked() -> list[list[float]]:
            found = damages(session, mix, search.plan, self.judging)
            assert found is not None, "nothing ends it early"
            rows: list[list[float]] = np.where(np.isfinite(found), found, -1.0).tolist()
            return rows

        damage = np.array(self.noted("damage of regions", ranked))
        return Regions(mix, times, np.where(damage < 0, np.inf, damage))

    def measure(self, names: Collection[str]) -> None:
        """Measure all that needs the machine whole, before others begin to use it.

        Args:
            names: The variables of the search.
        """
        if self.can_be_integer:
            _ = self.regions
        if "blocks" in names and self.blocks:
            _ = self.order
        if self.is_timed and {"prune", "blocks"}.intersection(names):
            for choice in (FLOAT, STATIC) if self.can_be_integer else (FLOAT,):
                self.kernels(choice)

    # What can be removed.

    @cached_property
    def groups(self) -> Grouped | None:
        """Coupled channels of the float graph; None without samples to choose by."""
        data = self.calibration
        if data is None or len(data) < FEWEST_PRUNED:
            return None
        return grouped(self.session, self.start.baseline, len(data))

    def can_shrink(self, multiple: int) -> bool:
        """Whether anything may go, at that multiple."""
        return self.groups is not None and self.groups.can_shrink(self.session, multiple)

    @cached_property
    def removable(self) -> int:
        """Whole residual blocks that could go."""
        if self.groups is None or not self.groups.has_blocks:
            return 0
        leave = self.recipe.prune.leave
        found = find_blocks(self.start.baseline, checked_feeds(self.session))
        return sum(1 for block in found if not block.is_left(leave))

    @cached_property
    def pruner(self) -> Pruner:
        """Scores of every unit."""
        groups, data = self.groups, self.calibration
        assert groups is not None, "what is pruned has groups"
        assert data is not None, "and samples"
        integer = self.can_be_integer
        return Pruner(
            self.session, groups, data, self.session.target.channel_multiple(integer=integer)
        )

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Blocks in the order in which the outputs lose least by each."""

        def ranked() -> list[str]:
            removal = self.removal
            short = removal.without(self.blocks)  # None where there are not so many
            return list((short or removal.trace[-1]).removed)

        return tuple(self.noted(f"order of {self.blocks} blocks", ranked))

    @property
    def removal(self) -> BlockRemoval:
        """Removes blocks, by what their kernels take where that is known."""
        how, sizes = self.pruner.how, self.pruner.whole.sizes
        integer = STATIC if self.can_be_integer else FLOAT
        cost_of: CostOf = self.kernels(integer).cost if self.is_timed else Macs
        price = cost_of(sizes)({})

        def saved(block: Block) -> float:
            short = without(Shortened(how.graph), block, draft=True)
            return price - cost_of(sizes.less(short.model))({})

        return BlockRemoval(
            how.graph,
            how.data.take(COMPARED),
            saved,
            how.quick(),
            how.session.progress,
            leave=self.recipe.prune.leave,
        )

    def base(self, removed: tuple[str, ...]) -> Base:
        """The float graph without some blocks, with the whole graph's scores.

        Raises:
            PruningError: Together they cannot be removed.
        """
        if not removed:
            return self.pruner.whole
        if removed not in self._bases:
            feeds, short = checked_feeds(self.session), Shortened(self.start.baseline)
            for name in removed:
                blocks = find_blocks(short.model, feeds)
                block = next((one for one in blocks if one.add == name), None)
                if block is None:
                    raise PruningError(f"the block {name!r} cannot be removed after {removed}")
                short = without(short, block)
            self._bases[removed] = self._scored(short)
        return self._bases[removed]

    def _scored(self, short: Shortened) -> Base:
        """With the scores of groups that it has as the whole graph does."""
        feeds, known = checked_feeds(self.session), self.pruner.whole.scores
        grouping = find_groups(short.model, feeds)
        found = {
            group.name: known[group.name]
            for group in grouping.groups
            if group.name in known and len(known[group.name]) == group.units
        }
        return Base(short, grouping, Sizes(short.model, grouping, feeds), found)

    @cached_property
    def _bases(self) -> dict[tuple[str, ...], Base]:
        return {}

    # What takes how long.

    def kernels(self, choice: int) -> KernelTimes:
        """Kernel times of the graph pruned to several levels, as float or in 8 bits."""
        choice = FLOAT if choice == FLOAT else STATIC
        if choice not in self._kernels:
            groups = self.groups
            assert groups is not None, "what is pruned has groups"
            ships = {"ships": "float"} if choice == FLOAT else {"ships": self._asked}
            what = "float" if choice == FLOAT else "8 bits"
            self._kernels[choice] = KernelTimes(
                self.session,
                groups.model,
                groups.grouping,
                groups.sizes,
                self._identity if choice == FLOAT else self._roughly,
                multiple=self.pruner.how.multiple,
                ships=ships,
                recall=partial(self.noted, f"kernel times in {what}"),
            )
        return self._kernels[choice]

    @property
    def _asked(self) -> str:
        include = {"cpu", "activation", "symmetric", "weight_bits", "granularity"}
        return f"recipes {self.recipe.quantize.model_dump_json(include=include)}"

    @staticmethod
    def _identity(model: ir.Model) -> ir.Model:
        return model

    def _roughly(self, model: ir.Model) -> ir.Model:
        assert self.calibration is not None, "what is pruned has samples"
        return roughly_integer(self.session, model, self.calibration)

    def seconds(self, chosen: Mapping[str, int], base: Base | None, kept: Kept) -> float | None:
        """One inference by the additive model; None where nothing is timed.

            t = rest + Σ_r time[r, c_r] · k_c(r; kept) / k_c(r; all) + Σ_e pair[e, c_a, c_b]

        with k_c the kernel times of a region's nodes when each group keeps so many units. What
        regions of blocks that are gone took counts no more.

        Args:
            chosen: Weighted node → its choice; nodes that are not named are float.
            base: What is pruned; None for the whole graph.
            kept: Group → units that stay.
        """
        if not self.is_timed or not self.can_be_integer or self.regions.times is None:
            return None
        times, mix = self.regions.times, self.regions.mix
        choices = tuple(
            next((chosen[name] for name in region.weighted if name in chosen), FLOAT)
            for region in mix.regions
        )
        shares = [1.0] * len(mix.regions)
        if base is not None and (kept or base.blocks):
            shares = [self._share(r, c, base, kept) for r, c in enumerate(choices)]
        own = sum(
            share * float(times.costs.time[r, c])
            for r, (c, share) in enumerate(zip(choices, shares, strict=True))
        )
        edges = sum(
            float(times.costs.pair[e, choices[a], choices[b]]) * min(shares[a], shares[b])
            for e, (a, b) in enumerate(mix.edges)
        )
        return times.rest + own + edges

    def _share(self, region: int, choice: int, base: Base, kept: Kept) -> float:
        """What share of a region's kernel time is left."""
        kernels, names = self.kernels(choice), set(self.regions.mix.regions[region].nodes)
        whole, left = (
            sum(seconds(node, of) for node in nodes if node.name in names)
            for (nodes, seconds), of in (
                (self._nodes(kernels, choice, self.pruner.whole), {}),
                (self._nodes(kernels, choice, base), kept),
            )
        )
        weighted = self.regions.mix.regions[region].weighted
        there = {node.name for node in base.short.model.graph}
        if whole <= 0:
            return 1.0 if there.intersection(weighted) else 0.0
        return left / whole

    def _nodes(
        self, kernels: KernelTimes, choice: int, base: Base
    ) -> tuple[list[ir.Node], Callable[[ir.Node, Kept], float]]:
        key = (FLOAT if choice == FLOAT else STATIC, base.short.removed)
        if key not in self._known_nodes:
            self._known_nodes[key] = kernels.nodes(base.sizes)
        return self._known_nodes[key]

    @cached_property
    def _known_nodes(
        self,
    ) -> dict[tuple[int, tuple[str, ...]], tuple[list[ir.Node], Callable[[ir.Node, Kept], float]]]:
        return {}

    def named(self, choices: tuple[int, ...]) -> dict[str, int]:
        """Weighted node → its choice, of choices of the regions of the whole graph."""
        runs = set(self.whole.plan.quantized)
        regions = self.regions.mix.regions
        return {
            name: choice if name in runs or choice == DYNAMIC else FLOAT
            for region, choice in zip(regions, choices, strict=True)
            for name in region.weighted
        }
