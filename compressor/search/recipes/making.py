"""From a point of the space to the plan that it stands for, and the graph of that plan.

An `Outline` tells what speed and size depend on, which units stay and what each region is computed
in, and costs next to nothing. `Maker.made` does the rest: cut, repair, calibrate, round, correct.
What several points have in common is made once.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph, planned_policy, realize
from compressor.pruning.selection.costs import Cost, Macs
from compressor.pruning.selection.select import WEIGHINGS, Selection, Weighing
from compressor.quantization.auto import drawn
from compressor.quantization.bias import restored, stored
from compressor.quantization.equalization import choose_equalization
from compressor.quantization.own_weights import with_own_weights
from compressor.quantization.smoothing import ALPHAS, choose_divisors
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from compressor.recipe.keeping import cache_of
from compressor.recipe.policy import policy_of
from compressor.results.precision import STORED
from compressor.search.acceptance import NoBudget
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.precision.adaptive_rounding import with_rounding
from compressor.search.precision.bias_correction import corrected
from compressor.search.precision.ptq_search import MEANS
from compressor.search.precision.refused_nodes import storable
from compressor.search.precision.regions import DYNAMIC, FLOAT, STATIC, mixed
from compressor.search.precision.weight_only import proposed
from compressor.search.pruning.pruner import Chosen
from compressor.search.pruning.sparsity_2_4 import with_sparsity
from compressor.search.pruning.steps import Base
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.variables import REGION, Point, Value
from compressor.search.recipes.widths import Architecture, Widths, selection_of
from compressor.search.session import Session
from compressor.search.training import trainer_of, with_training_samples

PROVEN_AT = 0.3
"""The share at which ways to weigh scores are compared, once for each number of blocks."""
OF_PRUNING = ("prune", "blocks", "round", "widths", "training")
"""Variables that change nothing where nothing is removed."""
KEPT = 6
"""Pruned or calibrated graphs that are kept for other points, of each kind."""

T = TypeVar("T")


@dataclass(frozen=True)
class Outline:
    """What speed and size of a recipe depend on.

    Attributes:
        recipe: Variable → value, without those that change nothing at the others' values.
        precision: How weights and activations are computed or stored.
        chosen: Weighted node → its choice; empty unless the precision is of 8 bits.
        units: What is removed; None where nothing is.
        seconds: One inference, predicted; None where that is not known before it is made.
    """

    recipe: Mapping[str, Value]
    precision: str
    chosen: Mapping[str, int]
    units: Chosen | None
    seconds: float | None


@dataclass(frozen=True)
class Made:
    """A recipe carried out.

    Attributes:
        outcome: With its plan and graphs, as a search ends with one.
        seconds: One inference, predicted.
    """

    outcome: Outcome
    seconds: float | None

    @property
    def plan(self) -> GraphPlan:
        """What makes it."""
        return self.outcome.plan


class Recent(dict[Any, T]):
    """What was made last, so many of each kind."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def of(self, key: object, make: Callable[[], T]) -> T:
        """What was made under that key, or is made now."""
        if key in self:
            self[key] = self.pop(key)  # used last
        else:
            self[key] = make()
            while len(self) > self._most:
                del self[next(iter(self))]
        return self[key]


@dataclass
class Maker:
    """Makes plans of points."""

    shared: Shared
    _pruned: Recent[Outcome] = field(default_factory=lambda: Recent(KEPT))
    _moved: Recent[Outcome] = field(default_factory=lambda: Recent(KEPT))
    _calibrated: Recent[StaticChoice] = field(default_factory=lambda: Recent(KEPT))
    _widths: Widths | None = None

    def outline(self, point: Point) -> Outline:
        """What a point's speed depends on.

        Raises:
            PruningError: What is to go cannot.
        """
        shared = self.shared
        precision = str(point.get("precision", "int8" if shared.can_be_integer else "float"))
        units = self._units(point, precision)
        chosen: dict[str, int] = {}
        if precision in ("int8", "int8-dynamic"):
            chosen = self._choices(point, dynamic=precision == "int8-dynamic")
        if not any(chosen.values()) and precision in ("int8", "int8-dynamic"):
            precision, chosen = "float", {}
        seconds = None
        if precision not in STORED:
            base = None if units is None else units.base
            seconds = shared.seconds(chosen, base, {} if units is None else _kept(units))
        recipe = _effective(point, precision, units)
        return Outline(recipe, precision, chosen, units, seconds)

    def made(self, outline: Outline) -> Made:
        """The plan, and its graph.

        Raises:
            CompressorError: It cannot be made.
        """
        start = self._start(outline)
        if outline.precision == "float":
            seconds = outline.seconds
            if seconds is None:  # of a graph without regions of 8 bits
                seconds = self._profiled(outline, start.graph, start.graph)
            return Made(start.then(reason="float"), seconds)
        if outline.precision in STORED:
            return self._stored(outline, start)
        return Made(self._integer(outline, start), outline.seconds)

    # What is removed.

    def _units(self, point: Point, precision: str) -> Chosen | None:
        share, blocks = float(point.get("prune", 0.0)), int(point.get("blocks", 0))
        if share <= 0 and blocks <= 0:
            return None
        shared = self.shared
        removed = shared.order[:blocks] if blocks else ()
        base = shared.base(tuple(removed))
        cost = self._cost(base, precision)
        target = cost({}) * (1 - share)
        if point.get("widths") == "evolved" and precision in ("int8", "int8-dynamic"):
            found = self.widths.fastest_within(target)
            if found is not None:
                return self.widths.chosen(found)
        how = shared.pruner.how
        multiple = int(point.get("round", how.multiple))
        if share <= 0:
            return Chosen(base, _nothing_more(cost({})))
        how = replace(how, multiple=multiple)
        selection = how.select(base, cost, target, (self._weighing(base, cost),), whole=cost({}))
        if not selection.allocation.keep and not base.blocks:
            return None
        return Chosen(base, selection)

    @property
    def widths(self) -> Widths:
        """The search for widths and blocks, which is done once."""
        if self._widths is None:
            self._widths = Widths(self.shared)
        return self._widths

    def evolved(self, architecture: Architecture) -> Outline:
        """An architecture in 8 bits wherever that pays."""
        chosen = self._choices({}, dynamic=False)
        units = self.widths.chosen(architecture)
        seconds = self.shared.seconds(chosen, units.base, _kept(units))
        return Outline({"widths": "evolved"}, "int8", chosen, units, seconds)

    def _cost(self, base: Base, precision: str) -> Cost:
        """Predicted latency where it is known, else multiply-accumulates."""
        shared = self.shared
        if not shared.is_timed:
            return Macs(base.sizes)
        integer = precision in ("int8", "int8-dynamic") and shared.can_be_integer
        return shared.kernels(STATIC if integer else FLOAT).cost(base.sizes)

    def _weighing(self, base: Base, cost: Cost) -> Weighing:
        """The weighing that loses least at one share, whatever share is asked for first.

        It is noted, as which precision asked first is another in a search that goes on.
        """

        def proven() -> int:
            target = cost({}) * (1 - PROVEN_AT)
            how = self.shared.pruner.how
            return WEIGHINGS.index(
                how.select(base, cost, target, WEIGHINGS, whole=cost({})).weighing
            )

        name = f"weighing without {', '.join(base.short.removed) or 'no block'}"
        return WEIGHINGS[int(self.shared.noted(name, proven))]

    def _start(self, outline: Outline) -> Outcome:
        """The float graph, without what is removed."""
        shared, units = self.shared, outline.units
        pattern = outline.recipe.get("sparsity", "none")
        training = str(outline.recipe.get("training", "none"))
        key = (_units_key(units), pattern, training)

        def make() -> Outcome:
            start = shared.start
            if units is not None:
                pruned = shared.pruner.made(units)
                plan = start.plan.model_copy(update={"prune": pruned.plan})
                model = pruned.model
                start = start.then(plan=plan, shipped=model, plain=model, graph=model)
            if units is not None and training != "none":
                start = self._trained(start, training)
            if pattern != "none":
                prune = shared.recipe.prune.model_copy(update={"sparsity": pattern})
                session = _with(shared.session, prune=prune)
                nothing = NoBudget(session, None, "")
                start = with_sparsity(session, start, self._data, nothing)
            return start

        return self._pruned.of(key, make)

    def _trained(self, start: Outcome, length: str) -> Outcome:
        """With weights trained on calibration samples, or on those of [train]."""
        shared = self.shared
        train = shared.recipe.train.model_copy(update={"length": length})
        session = _with(shared.session, train=train)
        data = DataSplit(self._data, None)
        data = with_training_samples(session.prepared, data, session.recipe)
        trainer = trainer_of(session, data)
        return start if trainer is None else trainer.train(start)

    # What is computed in how many bits.

    def _choices(self, point: Point, *, dynamic: bool) -> dict[str, int]:
        """Weighted node → its choice: by the bound on damage, then as single regions are asked."""
        regions = self.shared.regions
        share = float(point.get("regions", 1.0))
        named = self.shared.named(regions.chosen(share, dynamic=dynamic))
        words = {"float": FLOAT, "int8": DYNAMIC if dynamic else STATIC}
        for name, value in point.items():
            if not name.startswith(REGION):
                continue
            wanted = name.removeprefix(REGION)
            region = next((r for r in regions.mix.regions if wanted in r.weighted), None)
            for node in () if region is None else region.weighted:
                named[node] = words[str(value)]
        return named

    @property
    def _data(self) -> CalibrationSet:
        data = self.shared.calibration
        assert data is not None, "what is calibrated has samples"
        return data

    def _integer(self, outline: Outline, start: Outcome) -> Outcome:
        """In 8 bits where that was chosen."""
        shared, recipe = self.shared, outline.recipe
        moved = self._with_spread(outline, start)
        method = str(recipe.get("ranges", shared.recipe.quantize.ranges))
        key = (self._moved_key(outline), method)
        choice = self._calibrated.of(key, lambda: self._calibrate(moved, method))
        policy = policy_of(shared.session.target, shared.recipe.quantize)
        whole = moved.plan.model_copy(
            update={
                "ship": policy.precision,
                "weight_bits": policy.weight.bits,
                "pairs": policy.weight.pairs,
                "integer": choice.integer,
                "dynamic": choice.dynamic,
                "ranges": dict(choice.ranges),
                "plain_norms": shared.whole.plan.plain_norms,
            }
        )
        planned = planned_policy(whole, shared.session.target)
        mix = mixed(moved.graph, whole, planned, leave=shared.recipe.quantize.leave)
        choices = [
            _possible(
                next((outline.chosen[n] for n in region.weighted if n in outline.chosen), FLOAT),
                possible,
            )
            for region, possible in zip(mix.regions, mix.possible, strict=True)
        ]
        plan = self._refined(recipe, moved.graph, mix.plan(choices, whole))
        shipped = realize(moved.graph, plan, shared.session.target)
        return moved.then(plan=plan, name="INT8", shipped=shipped, reason="INT8")

    def _refined(self, recipe: Mapping[str, Value], graph: ir.Model, plan: GraphPlan) -> GraphPlan:
        """With weights rounded together and biases corrected, where that is asked for."""
        session = self.shared.session
        few = drawn(self._data, self.shared.recipe.seed, MEANS)
        if recipe.get("rounding") == "gptq":
            plan = with_rounding(session, graph, plan, few)
        if recipe.get("bias") == "corrected":
            plan = corrected(session, graph, plan, few)
        return plan

    def _moved_key(self, outline: Outline) -> tuple[object, ...]:
        recipe = outline.recipe
        return (
            _units_key(outline.units),
            recipe.get("sparsity", "none"),
            recipe.get("training", "none"),
            recipe.get("equalization", "none"),
            recipe.get("smoothing", "none"),
        )

    def _with_spread(self, outline: Outline, start: Outcome) -> Outcome:
        """In the forms of the whole graph, with the spread of channels moved into weights."""

        def make() -> Outcome:
            there = {node.name for node in start.plain.graph}
            forms = {n: f for n, f in self.shared.whole.plan.forms.items() if n in there}
            own = start.then(graph=with_own_weights(start.graph))
            found = self._changed(start, {"forms": forms}) if forms else own
            equalized = outline.recipe.get("equalization", "none") == "auto"
            if equalized:
                found = self._divided(found, choose_equalization)
            strength = str(outline.recipe.get("smoothing", "none"))
            if strength != "none":
                alphas = ALPHAS if strength == "auto" else (float(strength),)
                found = self._divided(found, choose_divisors, alphas=alphas)
            return found

        return self._moved.of(self._moved_key(outline), make)

    def _divided(self, start: Outcome, choose: Callable[..., Any], **more: Any) -> Outcome:
        options = self.shared.recipe.quantize
        policy = policy_of(self.shared.session.target, options)
        found, _ = choose(
            start.graph, self._data, policy, batch=options.batch, memory=options.memory, **more
        )
        if not found:
            return start
        return self._changed(start, {"smooth": stored(restored(start.plan.smooth) | found)})

    def _changed(self, start: Outcome, update: Mapping[str, Any]) -> Outcome:
        plan = start.plan.model_copy(update=dict(update))
        graph = decided_graph(start.plain, plan, self.shared.session.target)
        return start.then(plan=plan, graph=graph)

    def _calibrate(self, start: Outcome, method: str) -> StaticChoice:
        session, options = self.shared.session, self.shared.recipe.quantize
        policy = policy_of(session.target, options)
        how = CalibrationOptions(
            method=method,
            batch=options.batch,
            memory=options.memory,
            cache=cache_of(session.recipe).folder,
            seed=session.recipe.seed,
            leave=options.leave,
            notices=session.target.cautions(policy),
        )
        return calibrate(start.graph, self._data, policy, how)

    def _stored(self, outline: Outline, start: Outcome) -> Made:
        """With weights in fewer bits; what it takes is profiled, as no region is integer."""
        shared, session = self.shared, self.shared.session
        quantize = shared.recipe.quantize.model_copy(update={"mode": outline.precision})
        session = _with(session, quantize=quantize)
        found = proposed(session, start.graph, shared.calibration)
        plan = start.plan.model_copy(update={"ship": outline.precision, "stored": found.stored})
        plan = storable(session, start.graph, plan).plan if found.stored.nodes else start.plan
        shipped = realize(start.graph, plan, session.target)
        outcome = start.then(plan=plan, name=outline.precision, shipped=shipped, reason="stored")
        return Made(outcome, self._profiled(outline, shipped, start.graph))

    def _profiled(self, outline: Outline, shipped: ir.Model, source: ir.Model) -> float | None:
        """Seconds of one inference where the additive model knows none, measured once."""
        shared, session = self.shared, self.shared.session
        if not shared.is_timed:
            return None
        feeds, threads = session.feeds(), session.deciding.threads
        limit = session.recipe.measure.seconds / 4

        def taken() -> float:
            found = session.timer.nodes(
                shipped, source, feeds, target=session.target, threads=threads, seconds=limit
            )
            return found.total

        key = repr(_units_key(outline.units)).encode()
        name = f"seconds of {outline.precision} {hashlib.sha256(key).hexdigest()[:16]}"
        return float(shared.noted(name, taken))


def _possible(choice: int, possible: Any) -> int:
    """The choice, or what is nearest to it where a region does not have that."""
    if possible[choice]:
        return choice
    return DYNAMIC if choice == STATIC and possible[DYNAMIC] else FLOAT


def _effective(point: Point, precision: str, units: Chosen | None) -> dict[str, Value]:
    """The point without variables that change nothing: two recipes that are alike are told so."""
    found = dict(point)
    if precision not in ("int8", "int8-dynamic"):
        gone = ("ranges", "equalization", "smoothing", "rounding", "bias", "regions")
        found = {n: v for n, v in found.items() if n not in gone and not n.startswith(REGION)}
    if units is None:
        found = {n: v for n, v in found.items() if n not in OF_PRUNING}
    if "precision" in point:
        found["precision"] = precision
    return found


def _units_key(units: Chosen | None) -> tuple[object, ...]:
    if units is None:
        return ()
    keep = units.selection.allocation.keep
    masks = tuple((name, mask.tobytes()) for name, mask in sorted(keep.items()))
    return (units.base.short.removed, masks)


def _kept(units: Chosen) -> dict[str, int]:
    return {name: int(np.sum(mask)) for name, mask in units.selection.allocation.keep.items()}


def _nothing_more(cost: float) -> Selection:
    """No channels go, beside blocks."""
    return selection_of({}, {}, cost)


def _with(session: Session, **sections: Any) -> Session:
    return replace(session, recipe=session.recipe.model_copy(update=sections))
