"""Operators in other forms that compute exactly the same, where those measure faster in 8 bits.

A target has forms (`exporters/NAME/forms`): ConvTranspose, which ONNX Runtime has no integer kernel
for, as a convolution that has one. Each place is timed by itself, in the precision that ships: cut
out of the graph, at the sizes of the deciding configuration, against the form that it is in. What
is faster is written into the float graph, before anything is calibrated, and held against the
original on samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import open_dataset
from compressor.errors import CompressorError
from compressor.folding.check import equal_outputs
from compressor.graph.concrete import concrete_shapes
from compressor.graph.parts import Parts
from compressor.graph.session import is_refusal, words
from compressor.graph.tensors import Arrays
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import decided_graph, in_forms, realize
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.policy import policy_of
from compressor.results.format import ratio, ratio_interval
from compressor.results.measurements import LatencyResult
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


def exact_forms(search: PtqSearch) -> None:
    """Rewrite what is faster in another form; without a clock or with foreign statistics nothing.

    Statistics that were collected earlier are of the graph as it was.
    """
    session = search.session
    unmeasurable = session.target.why_not_measurable() is not None
    if not session.target.forms or search.stats is not None or unmeasurable:
        return
    places = _places(search.graph, session.target.forms)
    if not places:
        return
    with session.stage(STAGE) as stage:
        with session.progress.stage(STAGE, total=len(places)) as advance:
            comparing = _Comparing(session, search.graph, search.plan, session.feeds())
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
        chosen = _proven(search, chosen, stage)
        stage.changed = {"places in other forms": len(chosen)}
    search.start = search.start.then(stage.record, float_reasons=reasons)
    if chosen:
        moved = {"forms": chosen}
        plan = search.start.plan.model_copy(update=moved)
        search.plan = search.plan.model_copy(update=moved)
        graph = decided_graph(search.start.plain, plan, session.target)
        search.start = search.start.then(plan=plan, graph=graph)


def _places(graph: ir.Model, forms: tuple[Form, ...]) -> dict[Place, list[Form]]:
    """Place → the forms that fit there."""
    found: dict[Place, list[Form]] = {}
    for form in forms:
        for place in form.places(graph):
            found.setdefault(place, []).append(form)
    return found


def _proven(search: PtqSearch, chosen: dict[str, str], stage: Stage) -> dict[str, str]:
    """What was chosen, if the graph computes the same with it; else nothing, and why."""
    if not chosen:
        return {}
    session, graph = search.session, search.graph
    try:
        made = in_forms(graph, chosen, session.target)
        found = equal_outputs(graph, made, session.feeds(), rtol=TOLERANCE)
    except Exception as error:
        if not is_refusal(error) and not isinstance(error, CompressorError):
            raise
        reason = f"the runtime refuses the graph in them: {words(error)}"
    else:
        if found.equal:
            return chosen
        reason = f"they change output {found.output} by {found.max_abs:.3g}"
    stage.decide("all places", "left alone", reason)
    return {}


@dataclass
class _Comparing:
    """Times places of a graph in their forms, alike ones once."""

    session: Session
    graph: ir.Model
    plan: GraphPlan
    feeds: Arrays
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
        shape = self.shapes.get(place.reads)
        if shape is None:
            return None, None
        types = {place.reads: ir.TensorType(ir.DataType.FLOAT)}
        part = Parts(self.graph).between([place.reads], [place.writes], types)
        part.graph.inputs[0].shape = ir.Shape(shape)
        rng = np.random.default_rng(self.session.recipe.seed)
        return part, {place.reads: rng.standard_normal(shape).astype(np.float32)}

    def _raced(
        self, place: Place, form: Form, part: ir.Model, sample: Arrays
    ) -> tuple[LatencyResult | None, str]:
        """The form in 8 bits against the place as it is in 8 bits, or in float where that is all.

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
        told = f"in 8 bits it ran at {ratio(race.speed)} the speed ({ratio_interval(race.ends)})"
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
            activation=plan.activation,
            symmetric=plan.symmetric,
            granularity=plan.granularity,
            integer=chosen.integer,
            ranges=dict(chosen.ranges),
        )
        return realize(part, integer, session.target)


def _structure(form: Form, part: ir.Model) -> str:
    """What a time depends on: operators, attributes and shapes, whatever the weights."""
    nodes = ((node.op_type, sorted(map(str, node.attributes.values()))) for node in part.graph)
    weights = (value.shape for value in part.graph.initializers.values())
    shapes = [value.shape for value in part.graph.inputs]
    return repr((form.name, list(nodes), list(map(str, weights)), list(map(str, shapes))))
