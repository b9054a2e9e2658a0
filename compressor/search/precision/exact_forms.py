"""Operators in other forms that compute exactly the same, where those measure faster.

A target has forms (`exporters/NAME/forms`): ConvTranspose, which ONNX Runtime has no integer kernel
for, as a convolution that has one, or the core of an attention, which stays float, as one operator.
Each place is timed by itself, in the precision that ships: cut out of the graph, at the sizes of
the deciding configuration, against the form that it is in. What is faster is written into the float
graph, before anything is calibrated, and held against the original on samples.

Where float ships the places are timed in float, and the whole graph once more: it is what ships.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import open_dataset
from compressor.errors import CompressorError
from compressor.folding.check import equal_outputs
from compressor.graph.concrete import concrete_shapes
from compressor.graph.parts import Parts
from compressor.graph.session import is_refusal, words
from compressor.graph.tensors import Array, Arrays
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph, in_forms, realize
from compressor.quantization.placement import left_alone
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.policy import policy_of
from compressor.results.format import ratio, ratio_interval
from compressor.results.measurements import LatencyResult
from compressor.results.records import StageRecord
from compressor.search.candidate import Outcome
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.session import Race, Session, Stage
from exporters.base import Form, Place

STAGE = "compare forms"
WORTH = 1.05
"""Speed from which another form is taken."""
SECONDS = 0.3
"""For each race of a place, or an eighth of what a comparison takes where that is less."""
TOLERANCE = 1e-4
"""Relative difference of outputs that rounding may make over a whole graph."""
DRAWN = frozenset({ir.DataType.FLOAT, ir.DataType.BOOL})
"""Types of which numbers are drawn to time a place; integers may have to be in some order."""
FEW = 16
"""Integers of a constant that are sizes or axes, and no table."""


def exact_forms(search: PtqSearch) -> None:
    """Rewrite what is faster in another form; without a clock or with foreign statistics nothing.

    Statistics that were collected earlier are of the graph as it was.
    """
    session = search.session
    if search.stats is not None:
        return
    chosen, record, reasons = _compared(session, search.graph, search.plan)
    if record is None:
        return
    search.start = search.start.then(record, float_reasons=reasons)
    if chosen:
        moved = {"forms": chosen}
        plan = search.start.plan.model_copy(update=moved)
        search.plan = search.plan.model_copy(update=moved)
        graph = decided_graph(search.start.plain, plan, session.target)
        search.start = search.start.then(plan=plan, graph=graph)


def float_forms(session: Session, found: Outcome) -> Outcome:
    """What ships as float, in the forms that are faster in float; as it is where none is.

    Args:
        session: How to measure.
        found: Float ships, and its plan has no forms.
    """
    chosen, record, _ = _compared(session, found.plain, found.plan, integers=False)
    if record is None or not chosen:
        return found if record is None else found.then(record)
    made = in_forms(found.plain, chosen, session.target)
    with session.stage(f"{STAGE} of the float graph") as stage:
        seconds = session.recipe.measure.seconds / 2
        race = session.race(found.plain, made, seconds=seconds)
        if race is None:
            return found.then(record)
        kept = race.verdict == "faster"
        told = f"it ran at {ratio(race.speed)} the speed ({ratio_interval(race.ends)})"
        stage.changed = {"places in other forms": len(chosen) if kept else 0}
        stage.decide("float graph", "in other forms" if kept else "as it was", told)
        stage.timed(race)
    if not kept:
        return found.then(record, stage.record)
    plan = found.plan.model_copy(update={"forms": chosen})
    reason = "; ".join(filter(None, (found.reason, f"in other forms {told}")))
    return found.then(
        record, stage.record, plan=plan, reason=reason, graph=made, plain=made, shipped=made
    )


def _compared(
    session: Session, graph: ir.Model, plan: GraphPlan, *, integers: bool = True
) -> tuple[dict[str, str], StageRecord | None, dict[str, str]]:
    """Node → the form that is faster there; the record, and why other places stay as they are."""
    unmeasurable = session.target.why_not_measurable() is not None
    left = left_alone(graph, session.recipe.quantize.leave) if integers else {}
    places = {} if unmeasurable else _places(graph, session.target.forms, left)
    if not places:
        return {}, None, {}
    with session.stage(STAGE) as stage:
        with session.progress.stage(STAGE, total=len(places)) as advance:
            comparing = _Comparing(session, graph, plan, session.feeds(), integers)
            chosen, reasons = dict[str, str](), dict[str, str]()
            for place, forms in places.items():
                form, told = comparing.fastest(place, forms)
                if form is None:
                    reasons[place.node] = f"no other form of it is faster: {told}"
                else:
                    chosen[place.node] = form.name
                verdict = f"{place.operator} as it is" if form is None else form.words
                stage.decide(place.node, verdict, told)
                advance(1)
        chosen = _proven(session, graph, chosen, stage)
        if integers:
            chosen = _unless_slower(session, graph, chosen, stage)
        stage.changed = {"places in other forms": len(chosen)}
    return chosen, stage.record, reasons


def _places(
    graph: ir.Model, forms: tuple[Form, ...], left: Collection[str]
) -> dict[Place, list[Form]]:
    """Place → the forms that fit there; of integers none for what is left in float as asked."""
    found: dict[Place, list[Form]] = {}
    known: dict[str, Place] = {}
    for form in forms:
        for place in form.places(graph):
            if place.node in left:
                continue
            found.setdefault(known.setdefault(place.node, place), []).append(form)
    return found


def _proven(
    session: Session, graph: ir.Model, chosen: dict[str, str], stage: Stage
) -> dict[str, str]:
    """What was chosen, if the graph computes the same with it; else what does so form by form."""
    reason = _why_not_equal(session, graph, chosen) if chosen else None
    if reason is None:
        return chosen
    kept: dict[str, str] = {}
    for form in dict.fromkeys(chosen.values()):
        more = {node: name for node, name in chosen.items() if name == form}
        reason = _why_not_equal(session, graph, {**kept, **more})
        if reason is None:
            kept |= more
        else:
            stage.decide(", ".join(more), "left alone", reason)
    return kept


def _why_not_equal(session: Session, graph: ir.Model, chosen: dict[str, str]) -> str | None:
    """Why a graph cannot be written in forms; None where it computes the same on samples."""
    try:
        made = in_forms(graph, chosen, session.target)
        found = equal_outputs(graph, made, session.feeds(), rtol=TOLERANCE)
    except Exception as error:
        if not is_refusal(error) and not isinstance(error, CompressorError):
            raise
        return f"the runtime refuses the graph in them: {words(error)}"
    return None if found.equal else f"they change output {found.output} by {found.max_abs:.3g}"


def _unless_slower(
    session: Session, graph: ir.Model, chosen: dict[str, str], stage: Stage
) -> dict[str, str]:
    """What was chosen, without the forms that stay float if they slow the whole graph down.

    A place alone does not tell what its neighbours were fused with.
    """
    floats = {form.name for form in session.target.forms if form.computes == "floats"}
    moved = {node: name for node, name in chosen.items() if name in floats}
    if not moved:
        return chosen
    made = in_forms(graph, moved, session.target)
    race = session.race(graph, made, seconds=session.recipe.measure.seconds / 4, again=0)
    if race is None or race.verdict != "slower":
        return chosen
    told = f"with them the whole graph ran at {ratio(race.speed)} the speed in float"
    stage.decide(", ".join(moved), "undone", f"{told} ({ratio_interval(race.ends)})")
    return {node: name for node, name in chosen.items() if node not in moved}


@dataclass
class _Comparing:
    """Times places of a graph in their forms, alike ones once."""

    session: Session
    graph: ir.Model
    plan: GraphPlan
    feeds: Arrays
    integers: bool
    known: dict[str, tuple[LatencyResult | None, str]] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] | None = None

    def fastest(self, place: Place, forms: list[Form]) -> tuple[Form | None, str]:
        """The form that measures fastest, if one is faster than what is there; and why."""
        part, sample = self._cut(place)
        if part is None or sample is None:
            return None, "its sizes are not known"
        best, speed, told = None, WORTH, []
        for form in forms:
            race, reason = self._raced(place, form, part, sample)
            told.append(f"as {form.words} {reason}")
            if race is not None and race.speed > speed and race.verdict != "undecided":
                best, speed = form, race.speed
        return best, "; ".join(told)

    def _cut(self, place: Place) -> tuple[ir.Model | None, Arrays | None]:
        """The place as a graph of its own, and something that it can be run on."""
        if self.shapes is None:
            self.shapes = concrete_shapes(self.graph, self.feeds).shapes
        shapes = {name: self.shapes.get(name) for name in place.reads}
        parts = Parts(self.graph)
        kinds = {name: parts.value(name).dtype or ir.DataType.FLOAT for name in place.reads}
        if None in shapes.values() or not set(kinds.values()) <= DRAWN:
            return None, None
        types = {name: ir.TensorType(kind) for name, kind in kinds.items()}
        part = parts.between(place.reads, [place.writes], types)
        rng = np.random.default_rng(self.session.recipe.seed)
        sample = dict[str, Array]()
        for value in part.graph.inputs:
            name = value.name or ""
            shape = shapes[name] or ()
            value.shape = ir.Shape(shape)
            drawn = rng.standard_normal(shape).astype(np.float32)
            sample[name] = drawn > 0 if kinds[name] == ir.DataType.BOOL else drawn
        return part, sample

    def _raced(
        self, place: Place, form: Form, part: ir.Model, sample: Arrays
    ) -> tuple[LatencyResult | None, str]:
        """The form against the place as it is: in 8 bits, or in float where that is all.

        What is alike was raced before.
        """
        key = _structure(form, part)
        if key not in self.known:
            self.known[key] = self._race(place, form, part, sample)
        return self.known[key]

    def _race(
        self, place: Place, form: Form, part: ir.Model, sample: Arrays
    ) -> tuple[LatencyResult | None, str]:
        session = self.session
        made = part.clone()
        form.rewrite(made, place.node)
        seconds = min(SECONDS, session.recipe.measure.seconds / 8)
        try:
            before, after = part, made
            in_integers = self.integers and form.computes == "integers"
            if in_integers:
                before, after = self._quantized(part, sample), self._quantized(made, sample)
                if after is made:
                    return None, "it would stay float"
            race = session.timer.race(
                Race(before, after, session.target, sample, session.deciding, seconds, again=1)
            )
        except Exception as error:
            if not is_refusal(error) and not isinstance(error, CompressorError):
                raise
            return None, f"the runtime refuses it: {words(error)}"
        if not race.is_known:
            return None, "it could not be timed"
        precision = "in 8 bits" if in_integers else "in float"
        told = f"{precision} it ran at {ratio(race.speed)} the speed ({ratio_interval(race.ends)})"
        return race, told

    def _quantized(self, part: ir.Model, sample: Arrays) -> ir.Model:
        """The part in 8 bits, calibrated on what it is timed on; itself where nothing can be."""
        session, plan = self.session, self.plan
        policy = policy_of(session.target, session.recipe.quantize)
        chosen = calibrate(part, open_dataset(sample), policy, CalibrationOptions("minmax"))
        if not chosen.integer:
            return part
        integer = GraphPlan(
            graph="-",
            baseline="captured",
            ship=policy.precision,
            cpu=plan.cpu,
            weight_bits=policy.weight.bits,
            pairs=policy.weight.pairs,
            activation=plan.activation,
            symmetric=plan.symmetric,
            granularity=plan.granularity,
            integer=chosen.integer,
            ranges=dict(chosen.ranges),
        )
        return realize(part, integer, session.target)


def _structure(form: Form, part: ir.Model) -> str:
    """What a time depends on: operators, attributes, shapes and sizes, whatever the weights."""
    nodes = ((node.op_type, sorted(map(str, node.attributes.values()))) for node in part.graph)
    weights = (_told(value) for value in part.graph.initializers.values())
    shapes = [value.shape for value in part.graph.inputs]
    return repr((form.name, list(nodes), list(weights), list(map(str, shapes))))


def _told(value: ir.Value) -> str:
    """The shape of a weight, or what a list of sizes holds."""
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.INT64 or tensor.size > FEW:
        return str(value.shape)
    return str(tensor.numpy().tolist())
