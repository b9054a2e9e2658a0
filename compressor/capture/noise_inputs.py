"""A captured graph with its noise as inputs: of which sizes, found by running it.

Shape inference loses the batch at the first Reshape, and what follows from the inputs' sizes is
needed to draw outside. So the sizes of what is drawn are looked at in runs at several sizes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
import onnx_ir as ir

from compressor.capture.inputs import Inputs
from compressor.capture.parity import run
from compressor.graph.drawing_forms import DrawingForm, form_of
from compressor.graph.initializers import free_name
from compressor.graph.lifting import DrawnInput, Lifted, drawing, flat, lift
from compressor.graph.session import open_session
from compressor.graph.shapes import shape_of
from compressor.graph.sizes import parse_size
from compressor.graph.tensors import Dimension

_OTHER_SAMPLES = 5
"""How far the samples lie behind that tell whether sizes depend on the data."""
NOTHING_TAKEN = (
    "the model takes nothing but what it draws: draws of the known distribution are its data"
)
_NAMED = 4
"""Nodes that a notice names."""


@dataclass(frozen=True)
class _Seen:
    """The sizes of one axis in one run, and those of the inputs."""

    sizes: Mapping[str, int]
    size: int


def noise_lifted(
    model: ir.Model, inputs: Inputs, at: Sequence[Inputs], *, inverted: bool = False
) -> Lifted:
    """Make the noise of a graph its inputs, as far as that can be.

    Args:
        model: The graph, which stays as it is.
        inputs: Its inputs, with a name for every open size.
        at: The inputs at several sizes at which it runs.
        inverted: Whether Bernoulli is 1 with the probability 1 - p.
    """
    model = flat(model)
    opset = model.opset_imports.get("", 0)
    forms = {
        node.name or "": form
        for node, reason in drawing(model)
        if reason is None and not isinstance(form := form_of(node, opset), str)
    }
    shapes = _shapes(model, forms, inputs, at)
    return lift(model, inputs.specs, shapes, inverted=inverted)


def with_noise(inputs: Inputs, noises: Sequence[DrawnInput], *, alike: bool = False) -> Inputs:
    """The inputs of the graph whose noise was made inputs.

    Args:
        inputs: Inputs of the graph before.
        noises: What was lifted.
        alike: Whether equal shapes get equal numbers, as `compressor.capture.drawing` gives them.
    """
    known = [noise for noise in noises if noise.spec.name not in inputs.noise]
    draws = {n.spec.name: replace(n.draw, salt=0) if alike else n.draw for n in known}
    specs = (*inputs.specs, *(noise.spec for noise in known))
    return replace(inputs, specs=specs, noise={**inputs.noise, **draws})


def noise_notices(lifted: Lifted) -> tuple[str, ...]:
    """What could not be made an input, and why."""
    return tuple(
        f"the model draws random numbers in {node!r}, and {reason}. Two runs of it differ: the "
        "numbers of its steps are not checked against each other"
        for node, reason in lifted.inside.items()
    )


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])}" + (f" and {more} more" if more > 0 else "")


@cache
def runtime_inverts() -> bool:
    """Whether Bernoulli in ONNX Runtime is 1 with the probability 1 - p."""
    chance, drawn = (
        ir.Value(name=name, shape=ir.Shape([1000]), type=ir.TensorType(ir.DataType.FLOAT))
        for name in ("p", "drawn")
    )
    node = ir.Node("", "Bernoulli", [chance], outputs=[drawn])
    graph = ir.Graph([chance], [drawn], nodes=[node], opset_imports={"": 15})
    session = open_session(ir.Model(graph, ir_version=8))
    return bool(session.run(None, {"p": np.full(1000, 0.1, np.float32)})[0].mean() > 0.5)


def _shapes(
    model: ir.Model, forms: Mapping[str, DrawingForm], inputs: Inputs, at: Sequence[Inputs]
) -> dict[str, tuple[Dimension, ...] | None]:
    found: dict[str, tuple[Dimension, ...] | None] = {}
    open_ones = dict[str, DrawingForm]()
    for name, form in forms.items():
        if form.sizes is not None:
            found[name] = form.sizes
        else:
            open_ones[name] = form
    outside = {v.name for node in model.graph for v in node.outputs}
    outside |= {v.name for v in (*model.graph.inputs, *model.graph.initializers.values())}
    probed = {n: f for n, f in open_ones.items() if f.like is not None and f.like.name in outside}
    seen = _seen(model, probed, [*at, at[0].shifted(_OTHER_SAMPLES)]) if probed else {}
    for name, form in open_ones.items():
        noted = None if form.like is None else shape_of(form.like)
        shape = _fitted(seen[name], noted, inputs) if name in seen else noted
        if shape is not None and form.last is not None:
            shape = (*shape[:-1], form.last)
        found[name] = shape if shape is not None and None not in shape else None
    return found


def _seen(
    model: ir.Model, forms: Mapping[str, DrawingForm], at: Sequence[Inputs]
) -> dict[str, list[list[_Seen]]]:
    """Drawing node → for each run its sizes."""
    probe = model.clone()
    values = {v.name: v for node in probe.graph for v in node.outputs}
    values |= {v.name: v for v in (*probe.graph.inputs, *probe.graph.initializers.values())}
    names = dict[str, str]()
    for node, form in forms.items():
        assert form.like is not None, "what is probed has the sizes of a value"
        shape = ir.node("Shape", [values[form.like.name]], name=f"noise/Shape of {node}")
        output = shape.outputs[0]
        names[node] = output.name = free_name(probe.graph, f"noise/shape of {node}")
        output.type = ir.TensorType(ir.DataType.INT64)
        probe.graph.append(shape)
        probe.graph.outputs.append(output)
    found: dict[str, list[list[_Seen]]] = {node: [] for node in names}
    try:
        session = open_session(probe)
        for inputs in at:
            outputs = run(session, inputs.arrays(), list(names.values()))
            for node, name in names.items():
                sizes = outputs[name].astype(int).tolist()
                found[node].append([_Seen(inputs.sizes, size) for size in sizes])
    except MemoryError:
        raise
    except Exception:  # the runtime's own classes: then nothing is known, and nothing lifted
        return {}
    return found


def _fitted(
    runs: Sequence[Sequence[_Seen]], noted: Sequence[Dimension] | None, inputs: Inputs
) -> tuple[Dimension, ...] | None:
    """Sizes that are those of all runs; None where an axis has none, or the ranks differ."""
    if len({len(each) for each in runs}) != 1:
        return None
    axes = list(zip(*runs, strict=True))
    told = noted if noted is not None and len(noted) == len(axes) else [None] * len(axes)
    fitted = [_fitting(axis, dim, inputs) for axis, dim in zip(axes, told, strict=True)]
    return None if None in fitted else tuple(fitted)


def _fitting(axis: Sequence[_Seen], noted: Dimension, inputs: Inputs) -> Dimension:
    """A size that all runs have: the one that is noted, a number, or one in the inputs' names."""
    for candidate in (noted, *_candidates(axis[0], inputs)):
        if candidate is None:
            continue
        size = parse_size(candidate)
        if set(size.names) <= set(inputs.symbols) and all(
            size.evaluate(one.sizes) == one.size for one in axis
        ):
            return candidate if size.constant is None else size.constant
    return None


def _candidates(one: _Seen, inputs: Inputs) -> Iterator[Dimension]:
    """What the size in one run may follow from, the likeliest first."""
    yield one.size
    batch = inputs.batch_symbol
    names = [*([batch] if batch else []), *inputs.others]
    for name in names:
        size = one.sizes[name]
        yield name
        if size and one.size % size == 0:
            yield f"{one.size // size}*{name}"
        if one.size > size:
            yield f"{name}+{one.size - size}"
        elif one.size < size:
            yield f"{name}-{size - one.size}"
    for first, second in combinations_with_replacement(names, 2):
        product = one.sizes[first] * one.sizes[second]
        yield f"{first}+{second}"
        if product and one.size % product == 0:
            yield f"{one.size // product}*{first}*{second}"
