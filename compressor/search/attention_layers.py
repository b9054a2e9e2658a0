"""Which layers of attention gain in another form: each timed by itself, at the length of the data.

A layer is cut out of the graph with what its heads are made of, and raced as it would ship without,
one operator of the runtime where that was found faster, against the form. Layers alike are raced
once. The mask that a form prepares is made once for all layers, so that it counts in the race of
the whole graph, and not here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from compressor.attention.forms import Form, self_attentions
from compressor.attention.rewriting import rewritten, why_not
from compressor.errors import CompressorError
from compressor.graph.concrete import concrete_shapes
from compressor.graph.constants import constant
from compressor.graph.cores import HIDING, Core, Mask
from compressor.graph.initializers import add_initializer
from compressor.graph.parts import Parts
from compressor.graph.session import is_refusal, open_session, words
from compressor.graph.tensors import Array, Arrays
from compressor.plan.realize import in_forms
from compressor.recipe.attention import WINDOW, AttentionForm
from compressor.results.format import ratio, ratio_interval
from compressor.results.measurements import LatencyResult
from compressor.search.session import Race, Session

SECONDS = 0.5
"""For the race of a layer, or a quarter of what a comparison takes where that is less."""


@dataclass(frozen=True)
class TimedLayer:
    """A layer, and what a form of it would gain.

    Attributes:
        name: Of its softmax.
        form: What it would become; None where it cannot.
        reason: What the race said, or why there was none.
        tokens: Length that it was timed at.
        race: The layer as it is, and in that form.
    """

    name: str
    form: Form | None
    reason: str
    tokens: int | None = None
    race: LatencyResult | None = None

    @property
    def pays(self) -> bool:
        """Whether it is faster for certain."""
        return self.race is not None and self.race.verdict == "faster"


@dataclass
class Layers:
    """The layers of attention of a float graph.

    Attributes:
        session: How to measure.
        model: The graph, as it would be rewritten.
        exact: Softmax → the exact form that the layer has without.
        asked: What is asked for.
        feeds: One inference, of the length of the data.
    """

    session: Session
    model: ir.Model
    exact: Mapping[str, str]
    asked: AttentionForm
    feeds: Arrays
    _known: dict[str, tuple[LatencyResult | None, str]] = field(default_factory=dict)

    def timed(self) -> Iterator[TimedLayer]:
        """Each, in graph order."""
        for name, core in self.cores.items():
            layer = self._formed(name, core)
            if layer.form is None:
                yield layer
                continue
            race, told = self._raced(core, layer.form)
            yield replace(layer, race=race, reason=told)

    @cached_property
    def cores(self) -> dict[str, Core]:
        """By the name of their softmax."""
        return self_attentions(self.model)

    @cached_property
    def _shapes(self) -> Mapping[str, tuple[int, ...]]:
        return concrete_shapes(self.model, self.feeds).shapes

    def _formed(self, name: str, core: Core) -> TimedLayer:
        """A layer with the form that suits it, or why it has none."""
        shape = self._shapes.get(core.q.name or "")
        tokens = None if shape is None else shape[2]
        form = Form("linear")
        if self.asked.window is not None:
            form = Form(WINDOW, self.asked.window, self._is_causal(core))
        reason = why_not(self.model, core, form)
        if reason is None and tokens is not None and form.tokens >= tokens:
            reason = f"the data's {tokens} tokens are no more than its window"
        return TimedLayer(name, form if reason is None else None, reason or "", tokens)

    def _is_causal(self, core: Core) -> bool:
        """Whether the mask hides all that comes later from every query of the data."""
        if core.mask is None:
            return False
        mask = self._value(self.model, core.mask.value)
        if mask is None or mask.ndim < 2 or mask.shape[-2] < 2 or mask.shape[-2] != mask.shape[-1]:
            return False
        hidden = _hidden(core.mask, mask)
        later = np.triu(np.ones(mask.shape[-2:], bool), 1)
        return bool(hidden[..., later].all()) and not bool(hidden.all())

    def _value(self, model: ir.Model, value: ir.Value) -> Array | None:
        """What a value holds in that inference; None where it cannot be told."""
        stored = constant(value)
        if stored is not None:
            return stored.numpy()
        if value.is_graph_input():
            return self.feeds.get(value.name or "")
        return _values(model, [value.name or ""], self.feeds)[0]

    def _raced(self, core: Core, form: Form) -> tuple[LatencyResult | None, str]:
        """The form against the layer as it is; what is alike was raced before."""
        shapes = [self._shapes.get(one.name or "") for one in core.reads]
        kinds = [node.op_type for node in core.nodes]
        key = repr((form, shapes, kinds, core.scale, self.exact.get(core.name)))
        if key not in self._known:
            try:
                self._known[key] = self._race(core, form)
            except Exception as error:
                if not is_refusal(error) and not isinstance(error, CompressorError):
                    raise
                self._known[key] = None, f"the runtime refuses it: {words(error)}"
        return self._known[key]

    def _race(self, core: Core, form: Form) -> tuple[LatencyResult | None, str]:
        session = self.session
        made, masks = rewritten(self.model, {core.name: form.name})
        read = self._read(core)
        mask = None if core.mask is None else core.mask.value.name
        before = self._cut(self.model, core, read, mask)
        exact = {core.name: self.exact[core.name]} if core.name in self.exact else {}
        before = in_forms(before, exact, session.target)
        after = self._cut(made, core, read, masks.get(core.name))
        seconds = min(SECONDS, session.recipe.measure.seconds / 4)
        race = session.timer.race(
            Race(before, after, session.target, read, session.deciding, seconds, again=1)
        )
        if not race.is_known:
            return None, "it could not be timed"
        told = f"by itself it ran at {ratio(race.speed)} the speed ({ratio_interval(race.ends)})"
        return race, told

    def _read(self, core: Core) -> dict[str, Array]:
        """What the heads of a layer are made of, in that inference."""
        sources = (core.q, core.k, core.v)
        if core.rows is not None:
            sources = tuple(one.value for one in core.rows)  # type: ignore[assignment]
        names = list(dict.fromkeys(value.name or "" for value in sources))
        return dict(zip(names, _values(self.model, names, self.feeds), strict=True))

    def _cut(self, model: ir.Model, core: Core, read: Arrays, mask: str | None) -> ir.Model:
        """A layer as a graph of its own, whose mask is stored as it is in that inference."""
        parts = Parts(model)
        given = None if mask is None else _stored_mask(parts, model, mask, self.feeds)
        known = [*read, *([] if given is None else [mask or ""])]
        types = {name: ir.TensorType(ir.DataType.from_numpy(a.dtype)) for name, a in read.items()}
        inputs = [one.name or "" for one in model.graph.inputs if one.name not in known]
        part = parts.between([*known, *inputs], [core.y.name or ""], types)
        for value in list(part.graph.inputs):
            name = value.name or ""
            if name in read:
                value.shape = ir.Shape(read[name].shape)
                continue
            array = given if name == mask else self.feeds[name]
            assert array is not None, "it is known"
            part.graph.inputs.remove(value)
            stored = add_initializer(part.graph, f"{name}_stored", array)
            ir.convenience.replace_all_uses_with(value, stored)
        return part


def _stored_mask(parts: Parts, model: ir.Model, name: str, feeds: Arrays) -> Array | None:
    """A mask in an inference; None where it is stored in the graph, or fed as it is."""
    try:
        value = parts.value(name)
    except KeyError:
        return None
    return feeds[name] if value.is_graph_input() else _values(model, [name], feeds)[0]


def _values(model: ir.Model, names: Sequence[str], feeds: Arrays) -> list[Array]:
    """What values of a graph hold in an inference."""
    fed = {one.name for one in model.graph.inputs if one.name in names}
    asked = [name for name in names if name not in fed]
    made: dict[str, Array] = {name: feeds[name] for name in names if name in fed}
    if asked:
        inputs = [one.name or "" for one in model.graph.inputs]
        part = Parts(model).between(inputs, asked)
        given = {one.name or "": feeds[one.name or ""] for one in part.graph.inputs}
        made |= dict(zip(asked, open_session(part, threads=0).run(asked, given), strict=True))
    return [made[name] for name in names]


def _hidden(mask: Mask, array: Array) -> Array:
    """Where a mask hides scores."""
    if mask.hides is None:
        return np.less_equal(array, HIDING / 2)
    return array if mask.hides else np.logical_not(array)
