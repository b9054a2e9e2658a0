"""Layers of attention in another form, in a copy of the graph."""

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from compressor.attention.forms import Form, form_named, self_attentions, why_not_formed
from compressor.attention.linear import linear
from compressor.attention.masks import is_of_keys, of_blocks
from compressor.attention.window import windowed
from compressor.attention.writing import Writer
from compressor.errors import RecipeError
from compressor.graph.cores import Core
from compressor.graph.emitting import Emitter
from compressor.graph.invariants import check
from compressor.graph.shapes import infer_shapes
from compressor.recipe.attention import LINEAR


def with_attention(model: ir.Model, layers: Mapping[str, str]) -> ir.Model:
    """The graph with those layers in those forms; `model` stays as it is.

    Args:
        model: A float graph.
        layers: Name of a softmax → form, as plans write it.

    Raises:
        RecipeError: There is no such layer or form, or it does not fit there.
    """
    return rewritten(model, layers)[0]


def rewritten(model: ir.Model, layers: Mapping[str, str]) -> tuple[ir.Model, dict[str, str]]:
    """The same, and what is added to each layer's scores: softmax → value; of windows alone."""
    made = infer_shapes(model.clone())
    known: dict[tuple[str, str], ir.Value] = {}
    masks: dict[str, str] = {}
    for name, wanted in layers.items():
        core, form = self_attentions(made).get(name), form_named(wanted)
        reason = "the graph has no such layer" if core is None else why_not(made, core, form)
        if core is None or reason is not None:
            raise RecipeError(
                f"the plan makes {name!r} {form.words}, and it cannot be: {reason}",
                hint="Replay a plan with the model and the version that it was made with.",
            )
        added = _put(made, core, form, known)
        if added is not None:
            masks[name] = added.name or ""
    check(made, "rewriting attention")
    return made, masks


def why_not(model: ir.Model, core: Core, form: Form) -> str | None:
    """Why a layer cannot take a form; None where it can."""
    if form.kind == LINEAR and not is_of_keys(core.mask):
        return (
            "its mask depends on the query, as causal attention's does, which linear attention "
            "is not built for"
        )
    return why_not_formed(model, core)


def _put(
    model: ir.Model, core: Core, form: Form, known: dict[tuple[str, str], ir.Value]
) -> ir.Value | None:
    """Rewrite a layer, in place; what is added to its scores, made once for layers of one mask."""
    place = _without_joining(core)
    emitter = Emitter(model, place)
    to = Writer(emitter)
    added = None
    if form.kind == LINEAR:
        made = linear(to, place)
    else:
        count = to.count(place.q)
        key = (form.name, "" if place.mask is None else place.mask.value.name or "")
        added = known.get(key) if place.mask is not None else None
        if added is None:
            added = of_blocks(to, place.mask, form, count)
        known[key] = added
        made = windowed(to, place, form, count, added)
    emitter.replace(made)
    return added


def _without_joining(core: Core) -> Core:
    """The layer with its heads apart: what joins them stays."""
    softmax = next(node for node in core.nodes if node.op_type == "Softmax")
    mixed = next(node for node in core.nodes if softmax.outputs[0] in node.inputs)
    nodes = core.nodes[: core.nodes.index(mixed) + 1]
    return replace(core, nodes=nodes, y=mixed.outputs[0], joined=False)
