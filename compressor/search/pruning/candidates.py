"""Pruned candidates, each at the precision that ships, measured and judged whole."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.plan.realize import with_integers
from compressor.pruning.selection.costs import Macs, Parameters
from compressor.quantization.dynamic import insert_dynamic, place_dynamic
from compressor.quantization.own_weights import with_own_weights
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.recipe.policy import policy_of
from compressor.results.format import percent, ratio
from compressor.results.measurements import LatencyResult
from compressor.results.precision import EIGHT_BITS, WORDS
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.candidate import Candidate, Judged, Outcome, Raced
from compressor.search.precision.search import with_precision
from compressor.search.precision.weight_only import roughly
from compressor.search.pruning.hopeless import (
    foreseen_without_hope,
    not_built,
    repaired_without_hope,
)
from compressor.search.pruning.latency_model import LEVELS, KernelTimes
from compressor.search.pruning.pruner import Chosen, Pruned, Pruner
from compressor.search.pruning.sparsity_2_4 import with_sparsity
from compressor.search.pruning.steps import CostOf, Grouped
from compressor.search.pruning.summary import CostKind, removed
from compressor.search.session import Session
from compressor.search.training import Trainer
from compressor.system.progress import tell
from compressor.system.sparing import spared, unfinished

PROFILED = 8
"""Samples that calibrate a graph whose kernels are only timed."""


class PrunedCandidates:
    """What can be made of one float graph by pruning, and what was.

    Attributes:
        session: The captured graph, the target, and how to measure.
        start: The float graph that is pruned; nothing is decided but that.
        whole: What would ship of it without pruning.
        acceptance: The quality budget, or none.
        made: The pruned ones so far, in order.
    """

    def __init__(
        self,
        session: Session,
        start: Outcome,
        whole: Outcome,
        data: CalibrationSet,
        groups: Grouped,
        acceptance: Acceptance,
        *,
        cost: CostKind,
        trainer: Trainer | None = None,
    ) -> None:
        """Nothing is measured yet.

        Args:
            session: The captured graph, the target, and how to measure.
            start: The float graph that is pruned.
            whole: What would ship of it without pruning; that precision is the candidates', too.
            data: Calibration samples.
            groups: What of it can be removed.
            acceptance: The quality budget, or none.
            cost: What the allocation goes by.
            trainer: Brings back what was lost, where that is asked for.
        """
        self.session, self.start, self.whole, self.acceptance = session, start, whole, acceptance
        self.made: list[Outcome] = []
        self.trainer = trainer
        self._floats: dict[int, Outcome] = {}
        self._data, self._groups, self._cost = data, groups, cost
        self._unjudged = NoBudget(session, None, "")
        self._started = session.timer.now()

    @property
    def seconds(self) -> float:
        """Since the first."""
        return self.session.timer.now() - self._started

    @property
    def precision(self) -> str:
        """What the whole graph ships as, such as `INT8` or `float`."""
        return WORDS[self.whole.plan.ship]

    @property
    def unit(self) -> str:
        """What shares are of, in words."""
        words = {"macs": "multiply-accumulates", "params": "parameters", "latency": ""}[self._cost]
        return f"of the {words or 'predicted time'}"

    @cached_property
    def multiple(self) -> int:
        """What channel counts stay multiples of."""
        integer = self.whole.plan.ship in EIGHT_BITS
        return self.session.recipe.prune.round or self.session.target.channel_multiple(
            integer=integer
        )

    @property
    def can_shrink(self) -> bool:
        """Whether anything may go, at that multiple."""
        return self._groups.can_shrink(self.session, self.multiple)

    @cached_property
    def race(self) -> LatencyResult | None:
        """The whole graph against the float baseline: as it was decided, where that was timed."""
        return self.whole.known_race or self.raced(self.whole.shipped)

    @cached_property
    def full(self) -> float:
        """The cost of the whole graph."""
        return self._cost_of(self._groups.sizes)({})

    def drafted(self, target: float) -> tuple[Pruned, ir.Model]:
        """Pruned, not repaired and only roughly quantized: speed and size do not depend on that.

        Raises:
            PruningError: As `Pruner.to`.
        """
        pruned = self._pruner.to(self._cost_of, target, repaired=False)
        return pruned, self._roughly(pruned.model)

    def at(self, target: float) -> Outcome:
        """Prune, repair, quantize, time and judge; what removes the same as an earlier one is that.

        Args:
            target: The cost that may be left.

        Raises:
            PruningError: As `Pruner.to`.
        """
        chosen = self._pruner.chosen(self._cost_of, target)
        for one in self.made:
            if one.plan.prune is not None and chosen.removes_like(one.plan.prune):
                return one
        found = self._hopeless(chosen) or self._built(self._pruner.made(chosen))
        self.made.append(found)
        return found

    def _built(self, pruned: Pruned) -> Outcome:
        """A candidate, timed and judged."""
        start = self._float(pruned)
        found = self._judged(self._precise(start))
        self._floats[id(found.candidate)] = start
        return found

    def foreseen(self, target: float) -> Outcome | None:
        """What stands for a share that is not worth a try, by larger ones; None for others.

        Args:
            target: The cost that may be left.
        """
        if self.acceptance.asked is None or self.trainer is not None:
            return None  # training brings back more than scores foretell
        share = 1 - target / self.full
        candidates = [one.candidate for one in self.made]
        judged = foreseen_without_hope(candidates, share, self._damage)
        if judged is None:
            return None
        found = not_built(self.start, share, judged, None)
        self.made.append(found)
        return found

    def _damage(self, share: float) -> float | None:
        return self._pruner.damage(self._cost_of, self.full * (1 - share))

    def _hopeless(self, chosen: Chosen) -> Outcome | None:
        """What loses so much as float, repaired quickly, that it is not built; None for others."""
        quick = chosen.selection.quick
        if self.acceptance.asked is None or quick is None or self.trainer is not None:
            return None  # training brings back more than a repair
        share = 1 - chosen.selection.allocation.cost / self.full
        with self.session.progress.stage(f"foresee {percent(share)} pruned"):
            judged = repaired_without_hope(self.acceptance.accepts(quick))
        return None if judged is None else not_built(self.start, share, judged, chosen.plan)

    def trained(self, one: Outcome, part: float = 1.0) -> Outcome:
        """A candidate after training, in whose place it stands from now on; itself without gain.

        Args:
            one: From `at`, or from here.
            part: Of the length that was asked for.
        """
        if self.trainer is None:
            return one
        start = self._floats[id(one.candidate)]
        after = self.trainer.train(start, part)
        if after.plan.trained is None:
            found = replace(one.then(*after.candidate.records), training=after.training)
            found = replace(found, candidate=replace(found.candidate, **_judgement(one.candidate)))
        else:
            found = self._judged(self._precise(after))
        self._floats[id(found.candidate)] = start
        self.made[:] = [found if made is one else made for made in self.made]
        return found

    def _float(self, pruned: Pruned) -> Outcome:
        """The pruned graph before its precision is decided."""
        share = 1 - pruned.cost / self.full
        plan = self.start.plan.model_copy(update={"prune": pruned.plan})
        model, session = pruned.model, self.session
        start = self.start.then(*pruned.records, plan=plan, shipped=model, plain=model, graph=model)
        if self.whole.plan.sparse is not None:
            layers = self.whole.plan.sparse.layers
            start = with_sparsity(session, start, self._data, self._unjudged, only=layers)
        return replace(start, pruning=removed(pruned, self._cost, share))

    def _precise(self, start: Outcome) -> Outcome:
        """The same at the precision that ships."""
        session = self.session
        if self.whole.plan.ship != "float":
            # An undecided race must not change the precision: INT8 of the whole was faster.
            prune = start.plan.prune
            pays = self._all_pays and prune is not None and not prune.kept
            return with_precision(
                session, start, self._data, self._unjudged, favoured=True, pays=pays
            )
        return start.then(float_reasons=self.whole.float_reasons)

    @property
    def _all_pays(self) -> bool:
        """Whether every region of the whole graph is in 8 bits; the same ones need no timing."""
        regions = self.whole.regions
        return bool(regions) and all(region.chosen != "float" for region in regions)

    def raced(self, shipped: ir.Model) -> LatencyResult | None:
        """Something against the float baseline."""
        seconds = self.session.recipe.measure.seconds / 2
        with self.session.progress.stage("compare speed"):
            return self.session.race(self.start.baseline, shipped, seconds=seconds)

    def against_whole(self, best: Outcome) -> LatencyResult | None:
        """What would ship of the whole graph against a pruned candidate, at length."""
        seconds = self.session.recipe.measure.seconds
        with self.session.progress.stage("compare speed"):
            return self.session.race(self.whole.shipped, best.shipped, seconds=seconds)

    @cached_property
    def _pruner(self) -> Pruner:
        return Pruner(self.session, self._groups, self._data, self.multiple, self._price_of)

    @cached_property
    def _cost_of(self) -> CostOf:
        if self._cost == "macs":
            return Macs
        if self._cost == "params":
            return Parameters
        return self._times(LEVELS).cost

    @property
    def _price_of(self) -> CostOf | None:
        """What blocks are weighed by: what they take where they ship, if that can be measured."""
        if self._cost == "latency" or not self._groups.has_blocks:
            return None
        if self.session.why_not_measurable(self._groups.model) is not None:
            return None
        return self._times(LEVELS[:1]).cost

    def _times(self, shares: Sequence[float]) -> KernelTimes:
        return KernelTimes(
            self.session,
            self._groups.model,
            self._groups.grouping,
            self._groups.sizes,
            self._roughly,
            multiple=self.multiple,
            ships=self._ships(),
            shares=shares,
        )

    def _roughly(self, model: ir.Model) -> ir.Model:
        """At the precision that ships, of which only speed and size count."""
        if self.whole.plan.ship == "float":
            return model
        if self.whole.plan.stored is not None:
            return roughly(self.session, model)
        dynamic = bool(self.whole.plan.dynamic) and not self.whole.plan.integer
        made = roughly_integer(self.session, model, self._data, dynamic=dynamic)
        if self.whole.plan.plain_norms:
            self.session.target.keep_norms_plain(made)
        return made

    def _ships(self) -> dict[str, str]:
        """What `_roughly` depends on beside the graph; the ranges change no latency."""
        options = self.session.recipe.quantize
        asked = options.model_dump_json(
            include={"mode", "cpu", "activation", "symmetric", "weight_bits", "granularity"}
            | {"block", "table_bits", "compute"}
        )
        if self.whole.plan.ship == "float":
            return {"ships": "float"}
        return {"ships": asked, "plain norms": str(self.whole.plan.plain_norms)}

    def _judged(self, found: Outcome) -> Outcome:
        """With its speed, its quality, and whether the budget keeps it."""
        assert found.pruning is not None, "it was pruned"
        race, share = self.raced(found.shipped), found.pruning.share
        name = f"{percent(share or 0.0)} pruned, {WORDS[found.plan.ship]}"
        if found.plan.trained is not None:
            name = f"{name}, trained for {found.plan.trained.steps:,} steps"
        told = "its speed is not known"
        if race is not None:
            told = f"it ran at {ratio(race.speed)} the speed of the float baseline"
        if self.acceptance.asked is None:
            judged = self.gauged(found.shipped)
        else:
            with self.session.progress.stage(f"try {name}"):
                judged = self.acceptance.accepts(found.shipped)
            told = f"{judged.words}; {told}"
        candidate = replace(
            found.candidate, name=name, reason=told, latency=race, judged=judged, share=share
        )
        tell(self.session.progress, candidate.told())
        raced = None if race is None else Raced(found.baseline, found.shipped, race)
        return replace(found, candidate=candidate, raced=raced or found.raced)

    def whole_quantized(self) -> ir.Model:
        """The whole graph at the precision that was considered for it."""
        quantized = self.whole.quantized
        assert quantized is not None, "something was considered"
        return with_integers(self.whole.graph, quantized.plan, self.session.target)

    def gauged(self, model: ir.Model) -> Judged | None:
        """What a candidate loses, where no budget asks for that."""
        progress = self.session.progress
        if self.acceptance.samples is None:
            return None

        def unknown(reason: str) -> None:
            progress.notice(unfinished("measure the quality of a pruned graph", reason))

        with progress.stage("measure quality"):
            return spared(lambda: self.acceptance.accepts(model), unknown)


def _judgement(one: Candidate) -> dict[str, Any]:
    """What was measured of a candidate, and why it stands where it does."""
    names = ("judged", "latency", "size", "calibration", "share")
    return {name: getattr(one, name) for name in names}


def roughly_integer(
    session: Session, model: ir.Model, data: CalibrationSet, *, dynamic: bool = False
) -> ir.Model:
    """A graph in 8 bits with the ranges of a few samples, of which only the speed counts.

    Args:
        session: The target, and the options of quantization.
        model: The float graph.
        data: Calibration samples.
        dynamic: Whether all ranges are found at run time.
    """
    policy, leave = (
        policy_of(session.target, session.recipe.quantize),
        session.recipe.quantize.leave,
    )
    model = with_own_weights(model)
    if dynamic:
        made = model.clone()
        insert_dynamic(made, place_dynamic(model, policy, leave).integer, policy)
        return made
    options = CalibrationOptions("minmax", batch=PROFILED, leave=leave)
    choice = calibrate(model, data.take(PROFILED), policy, options)
    made = quantize_static(
        model, choice.integer, choice.ranges, policy, weight_bits=policy.weight.bits
    )
    insert_dynamic(made, choice.dynamic, policy)
    return made
