"""SmoothQuant: moves the spread of channels from activations, which have one scale, to weights.

    x · W = (x / s) · (diag(s) · W),   s_j = max|X_j|^α / max|W_j|^(1-α)

(Xiao et al. 2022, arXiv 2211.10438, equation 4). A channel with outliers takes all integers of a
tensor; divided it leaves some to the others, while weights have a scale for each output. The float
graph computes the same. Where x is read by such products alone, the divisor goes into constants
that scale its channels, wherever they are (`routes`): of a norm however it is written, of the
branch of SwiGLU that has no activation, of the projection of values before attention. Elsewhere, as
behind Gelu or before a residual, x is multiplied by 1 / s, one pass over it that has to pay by the
error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.collect import MEMORY, fitting_batch, layout_of
from calibration.dataset import CalibrationSet
from calibration.gaps import without_gaps
from calibration.scheme import FloatArray, QuantParams, dequantize, params_from_range, quantize
from calibration.taps import Taps, feeds_of
from compressor.errors import RecipeError
from compressor.graph.initializers import (
    add_initializer,
    free_name,
    remove_unread_initializers,
)
from compressor.graph.invariants import check
from compressor.graph.session import open_session
from compressor.quantization.auto import drawn
from compressor.quantization.graph import consumers
from compressor.quantization.pairs import find_pairs, rescale, weight_of
from compressor.quantization.placement import why_not_quantizable
from compressor.quantization.routes import Route, route_of
from compressor.results.records import Decision, StageRecord
from compressor.system.stopwatch import Stopwatch
from exporters.base import QuantPolicy

ALPHAS = (0.4, 0.5, 0.6, 0.7, 0.8)
"""Exponents that are tried."""
GAIN = 1.0
"""dB at the consumers that a divisor must gain: a multiplication is not free."""
ROWS = 8
"""Positions of each sample that judge, about."""
LEAST = 1e-5
"""Channels and weights below it count as that."""


@dataclass(frozen=True)
class _Seen:
    """Greatest magnitudes of the channels over all data, and some positions (rows, channels)."""

    most: FloatArray
    rows: FloatArray


def choose_divisors(
    model: ir.Model,
    data: CalibrationSet,
    policy: QuantPolicy,
    *,
    batch: int,
    memory: int | None,
    alphas: Sequence[float] = ALPHAS,
) -> tuple[dict[str, FloatArray], StageRecord]:
    """The divisors that lower the error of INT8 products, each with the best exponent.

    Judged at the outputs of the products that read a value, with weights and activations
    quantized, on other samples than gave the divisors; what gains less than `GAIN` is left alone.

    Args:
        model: The float graph.
        data: Calibration samples.
        policy: The target's policy.
        batch: Samples per run.
        memory: Bytes to take beside the model (1 GB).
        alphas: Exponents that are tried; one alone is the strength of the smoothing.

    Returns:
        Value → divisor of each channel, float32 [channels]; and the stage.
    """
    watch = Stopwatch()
    places = _places(model, policy)
    sample = drawn(data, 0)
    seen: dict[str, _Seen] = {}
    if places:
        halves = sample.split(0.5, 0) if len(sample) > 1 else (sample, sample)
        first, second = (_observed(model, list(places), h, batch, memory) for h in halves)
        seen = {name: _Seen(first[name].most, second[name].rows) for name in first}
    found: dict[str, FloatArray] = {}
    decisions = []
    for value, readers in places.items():
        name = value.name or ""
        weights = np.concatenate([weight_of(node) for node in readers], axis=1)
        plain = _sqnr(seen[name].rows, weights, policy)
        route = _route(value, readers)
        tried = {a: _divisor(seen[name].most, weights, a, route) for a in alphas}
        scores = {
            a: _sqnr(seen[name].rows / s, weights * s[:, None], policy) for a, s in tried.items()
        }
        best = max(alphas, key=lambda a: scores[a])
        gain = scores[best] - plain
        told = f"{plain:.1f} dB of signal to noise at its products, {scores[best]:.1f} smoothed"
        if gain >= GAIN:
            found[name] = tried[best]
            told += "" if route is None else f", by constants of {_makers(route)}"
        verdict = f"exponent {best}" if gain >= GAIN else "left alone"
        decisions.append(Decision(subject=name, verdict=verdict, reason=told))
    record = StageRecord(
        name="smooth activations",
        seconds=watch.seconds,
        parameters={"samples": len(sample)},
        changed={"values": len(found)},
        decisions=tuple(decisions),
    )
    return found, record


def smoothed(model: ir.Model, divisors: Mapping[str, FloatArray]) -> ir.Model:
    """The graph with those values divided and the weights that read them multiplied.

    Values between convolutions go into both's weights (`pairs`), others as above.

    Raises:
        RecipeError: A value is not in the graph or has other channels.
    """
    clone = model.clone()
    values = {value.name or "": value for node in clone.graph for value in node.outputs}
    pairs = {name: pair for name, pair in find_pairs(clone).items() if name in divisors}
    between = {n: d for n, d in divisors.items() if n in pairs and d.shape == (pairs[n].channels,)}
    rescale(clone.graph, pairs, between)
    for name, divisor in divisors.items():
        if name in between:
            continue
        value = values.get(name)
        readers = [] if value is None else _products(value)
        if value is None or not readers or len(weight_of(readers[0])) != len(divisor):
            raise RecipeError(
                f"the plan does not fit the graph: it smooths {name!r}",
                hint="Replay a plan with the model and the options that it was made with.",
            )
        route = _route(value, readers)
        if route is None:
            divided = _divided(clone.graph, value, divisor)
        else:
            route.apply(clone.graph, divisor)
            divided = value
        for reader in {_reader(node, value) for node in readers}:
            reader.replace_input_with(0, divided)
        for node in readers:
            weight = node.inputs[1]
            stored = (weight_of(node) * divisor[:, None]).astype(np.float32)
            base = "weight" if weight is None else weight.name
            own = add_initializer(clone.graph, free_name(clone.graph, f"{base}_smoothed"), stored)
            node.replace_input_with(1, own)
    remove_unread_initializers(clone.graph)
    check(clone, "smooth")
    return clone


def _divided(graph: ir.Graph, value: ir.Value, divisor: FloatArray) -> ir.Value:
    """The value over its divisor, by a multiplication of its own."""
    made_by = value.producer()
    factor = (1.0 / divisor.astype(np.float64)).astype(np.float32)
    if made_by is None:
        raise AssertionError(f"{value.name} is not computed")
    stored = add_initializer(graph, free_name(graph, f"{value.name}_smoothing"), factor)
    node = ir.node("Mul", [value, stored], name=f"{value.name}/smooth")
    result = node.outputs[0]
    result.name = free_name(graph, f"{value.name}_smoothed")
    result.shape, result.type = value.shape, value.type
    graph.insert_after(made_by, node)
    return result


def _route(value: ir.Value, readers: list[ir.Node]) -> Route | None:
    """The way to divide a value by constants; None where others read it, or there is none."""
    if set(consumers(value)) != {_reader(node, value) for node in readers}:
        return None
    return route_of(value, len(weight_of(readers[0])))


def _makers(route: Route) -> str:
    return ", ".join(dict.fromkeys(edit.node.name or edit.node.op_type for edit in route.edits))


def _places(model: ir.Model, policy: QuantPolicy) -> dict[ir.Value, list[ir.Node]]:
    """Values that products with a constant weight read, and those products.

    Where a divisor would be a node of its own, only those that float nodes write: between integer
    kernels it would part them.
    """
    kernels = policy.weighted | policy.elementwise | policy.passthrough | policy.absorbed
    found: dict[ir.Value, list[ir.Node]] = {}
    if "MatMul" not in policy.weighted:
        return found
    for node in model.graph:
        value = node.outputs[0]
        before = node.inputs[0] if node.inputs else None
        if before is not None and _makes_rows(node, before):
            continue  # what it makes rows of is one place with it
        readers = _products(value)
        is_float = node.op_type not in kernels | {"Constant"}
        if readers and (is_float or _route(value, readers) is not None):
            found[value] = readers
    return found


def _products(value: ir.Value) -> list[ir.Node]:
    """Products of its channels, as they are or of rows."""
    found: list[ir.Node] = []
    for node in consumers(value):
        rows = node.outputs[0]
        if _is_product(node, value):
            found.append(node)
        elif _makes_rows(node, value) and all(_is_product(one, rows) for one in consumers(rows)):
            found.extend(consumers(rows))
    return found


def _is_product(node: ir.Node, value: ir.Value) -> bool:
    """Whether a matrix is multiplied from the right, inputs by outputs."""
    plain = node.op_type == "MatMul" or (
        node.op_type == "Gemm"
        and not any(node.attributes.get_int(name, 0) for name in ("transA", "transB"))
        and node.attributes.get_float("alpha", 1.0) == 1.0
    )
    return (
        plain
        and node.domain == ""
        and node.inputs[0] is value
        and why_not_quantizable(node) is None
    )


def _makes_rows(node: ir.Node, value: ir.Value) -> bool:
    """Whether axes are put together, and the channels stay the last one."""
    rows = node.outputs[0]
    if node.op_type != "Reshape" or node.domain != "" or node.inputs[0] is not value:
        return False
    if not value.shape or not rows.shape or rows.is_graph_output():
        return False
    return isinstance(value.shape[-1], int) and value.shape[-1] == rows.shape[-1]


def _reader(product: ir.Node, value: ir.Value) -> ir.Node:
    """What reads the value for a product: itself, or what makes rows of it."""
    if product.inputs[0] is value:
        return product
    rows = None if product.inputs[0] is None else product.inputs[0].producer()
    if rows is None or rows.inputs[0] is not value:
        raise AssertionError(f"{product.name} does not read {value.name}")
    return rows


def _divisor(
    most: FloatArray, weights: FloatArray, alpha: float, route: Route | None = None
) -> FloatArray:
    """s_j over its median, at least 1; the same for channels that have to share it.

    Channels are made smaller, none larger: what is quiet on calibration data may be loud later.
    """
    largest = np.abs(weights).max(axis=1)
    if route is not None:
        most, largest = route.shared(most), route.shared(largest)
    x, w = np.maximum(most, LEAST), np.maximum(largest, LEAST)
    logs = alpha * np.log(x) - (1 - alpha) * np.log(w)
    divisor: FloatArray = np.exp(np.maximum(logs - np.median(logs), 0.0)).astype(np.float32)
    return divisor


def _sqnr(rows: FloatArray, weights: FloatArray, policy: QuantPolicy) -> float:
    """Signal-to-quantization-noise ratio of rows · weights with both quantized, in dB."""
    scheme = policy.weight
    most = np.maximum(np.abs(weights).max(axis=0 if scheme.per_channel else None), LEAST)
    scale = np.broadcast_to(most / scheme.qmax, weights.shape[1]).astype(np.float32)
    kept = QuantParams(scheme, scale, np.zeros(scale.shape, scheme.stored), 1)
    spread = params_from_range(float(rows.min()), float(rows.max()), policy.activation)
    expected = rows @ weights
    found = dequantize(quantize(rows, spread), spread) @ dequantize(quantize(weights, kept), kept)
    noise = float(np.square(expected - found).sum())
    signal = float(np.square(expected).sum())
    return 10 * float(np.log10(max(signal, LEAST) / max(noise, LEAST * signal, 1e-30)))


def _observed(
    model: ir.Model, values: list[ir.Value], data: CalibrationSet, batch: int, memory: int | None
) -> dict[str, _Seen]:
    """What was seen of each value; where some of it is NaN a second pass looks past that."""
    found = _passed(model, values, data, batch, memory, gaps=False)
    if all(np.isfinite(one.most).all() and np.isfinite(one.rows).all() for one in found.values()):
        return found
    return _passed(model, values, data, batch, memory, gaps=True)


def _passed(
    model: ir.Model,
    values: list[ir.Value],
    data: CalibrationSet,
    batch: int,
    memory: int | None,
    *,
    gaps: bool,
) -> dict[str, _Seen]:
    """One pass: extremes are reduced in the graph, and few positions leave it."""
    names = [value.name or "" for value in values]
    layout = layout_of(model, names, data)
    size = layout.fixed or fitting_batch(layout, batch, memory or MEMORY)
    taps = Taps(model)
    fetched = []
    for name, value in zip(names, values, strict=True):
        channels = len(weight_of(_products(value)[0]))
        read = without_gaps(taps, taps.values[name]) if gaps else taps.values[name]
        rows = taps.node("Reshape", [read, taps.integers(-1, channels)])
        most = taps.reduced("ReduceMax", taps.node("Abs", [rows]), 0)
        step = max(1, (layout.sampling[name].elements or channels) // channels // ROWS)
        bounds = (taps.integers(n) for n in (0, np.iinfo(np.int32).max, 0, step))
        fetched += [taps.output(most), taps.output(taps.node("Slice", [rows, *bounds]))]
    session = open_session(taps.finished(), threads=0, spin=False)
    known = {value.name for value in session.get_inputs()}
    runs = [
        session.run(fetched, {n: a for n, a in feeds_of(p, layout.fixed).items() if n in known})
        for p in data.batches(size)
    ]
    return {
        name: _Seen(
            np.max([run[2 * i] for run in runs], axis=0),
            np.concatenate([run[2 * i + 1] for run in runs]),
        )
        for i, name in enumerate(names)
    }
