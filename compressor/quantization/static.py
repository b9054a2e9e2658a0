"""Static INT8: placement, calibrated ranges, and the Q/DQ graph they make."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.ranges import find_method
from calibration.scheme import Codes, FloatArray
from calibration.stats import CalibrationStats
from compressor.errors import DataError, RecipeError
from compressor.graph.constants import constant
from compressor.graph.fingerprint import fingerprint
from compressor.graph.invariants import check
from compressor.graph.patterns import LEFT, unmatched
from compressor.graph.session import is_refusal, words
from compressor.quantization.apart import keep_apart
from compressor.quantization.auto import AUTO, Selected, by_method, proposed, select
from compressor.quantization.bias import add_corrections
from compressor.quantization.branches import Unseen, unseen_branches
from compressor.quantization.dynamic_placement import place_in_bodies
from compressor.quantization.kept_ranges import selected_once, selection_key
from compressor.quantization.placement import left_alone, place, quantized_values
from compressor.quantization.qdq import insert_qdq
from compressor.quantization.ranges import Range, activation_params
from compressor.quantization.recurrent import place_recurrent
from compressor.quantization.statistics import statistics
from compressor.results.records import Decision, StageRecord
from compressor.system.stopwatch import Stopwatch
from exporters.base import QuantPolicy

WITHOUT_DATA = "mse"
"""The method for statistics without data to replay."""

LISTED = 500
"""Tensors whose ranges the record explains."""


@dataclass(frozen=True)
class StaticChoice:
    """The decisions of calibration: integer nodes and real ranges of the values between them.

    Attributes:
        integer: Names of the integer nodes.
        ranges: Value → real range.
        float_reasons: Node → why it stays float.
        record: The stage.
        selected: Where each range comes from.
        stats: What was seen, from which every method can propose; None where nothing is integer.
        dynamic: Names of the nodes whose ranges are found at run time: all where that was asked
            for, else those that have no other integer form.
    """

    integer: tuple[str, ...]
    ranges: Mapping[str, Range]
    float_reasons: Mapping[str, str]
    record: StageRecord
    selected: Selected
    stats: CalibrationStats | None = None
    dynamic: tuple[str, ...] = ()


@dataclass(frozen=True)
class CalibrationOptions:
    """Options of calibration.

    Attributes:
        method: `auto`, or a method of `calibration.ranges`.
        batch: Samples per run.
        memory: Bytes to take beside the model (1 GB).
        cache: A folder that keeps statistics.
        stats: Statistics collected earlier, and the file they are from; then the data is only
            replayed.
        seed: Seed of the sample that `auto` replays.
        alternatives: Whether other methods than this one may be asked later, which need more
            than extremes.
        leave: Patterns of names of nodes or weights that stay float.
        notices: What the record should say besides.
    """

    method: str = AUTO
    batch: int = 32
    memory: int | None = None
    cache: Path | None = None
    stats: tuple[CalibrationStats, Path] | None = None
    seed: int = 0
    alternatives: bool = False
    leave: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


def calibrate(
    model: ir.Model,
    data: CalibrationSet | None,
    policy: QuantPolicy,
    options: CalibrationOptions,
    *,
    advance: Callable[[int], None] = lambda samples: None,
) -> StaticChoice:
    """Choose integer nodes and the ranges of what passes between them, in one pass over the data.

    Args:
        model: The float graph.
        data: Bound to its inputs; may be None when the options bring statistics.
        policy: The target's policy.
        options: Method, batch, memory and the like.
        advance: Called with the number of samples done.

    Raises:
        DataError: The data is empty or drives a tensor to NaN or infinity, or the statistics are
            not of this graph.
        UsageError: There is no such range method.
    """
    watch = Stopwatch()
    method, notices = _method(options.method, data)
    left = left_alone(model, options.leave)
    notices = (*notices, *unmatched(model, options.leave, LEFT, "nothing in float"))
    placement, unseen = place(model, policy, left), Unseen({})
    if data is not None:
        unseen = unseen_branches(model, data, options.batch)
        placement = placement.without(unseen.reasons)
    recurrent, refused = place_recurrent(model, policy)
    inside = place_in_bodies(model, policy)
    inside = inside.without(left)
    run_time = tuple(name for name in (*recurrent, *inside.integer) if name not in left)
    asked = {name: left[name] for name in recurrent if name in left}
    float_reasons = placement.float_reasons | refused | inside.float_reasons | asked
    values = quantized_values(model, placement.integer, policy)
    names = [value.name or "" for value in values]
    selected, stats = Selected({}, {}, {}), None
    if names:
        gaps: list[str] = []
        stats = _stats(model, names, data, method, options, advance, gaps.append)
        notices = (*notices, *_told_gaps(gaps))
        if method == AUTO and data is not None:
            selected, said = _selected(
                model, placement.integer, values, stats, data, policy, options
            )
            notices = (*notices, *said)
        else:
            selected = by_method(stats, names, policy.activation, method)
    operators = {node.name: node.op_type for node in model.graph.all_nodes()}
    record = StageRecord(
        name="calibrate",
        seconds=watch.seconds,
        parameters={
            "method": method,
            "samples": 0 if stats is None else stats.samples,
            "tensors": len(names),
            "chosen": selected.counts(),
        },
        changed=dict(Counter(operators[name] for name in (*placement.integer, *run_time))),
        decisions=(*_left_float(float_reasons), *range_decisions(selected)),
        notices=(*options.notices, *unseen.notices, *notices),
    )
    integer, ranges = placement.integer, selected.ranges
    return StaticChoice(integer, ranges, float_reasons, record, selected, stats, run_time)


def _selected(
    model: ir.Model,
    integer: tuple[str, ...],
    values: list[ir.Value],
    stats: CalibrationStats,
    data: CalibrationSet,
    policy: QuantPolicy,
    options: CalibrationOptions,
) -> tuple[Selected, tuple[str, ...]]:
    """Each value's method by its consumers; by its own error where the runtime cannot tell."""
    seed, memory = options.seed, options.memory
    names = [value.name or "" for value in values]

    def chosen() -> Selected:
        return select(model, integer, values, stats, data, policy, seed=seed, memory=memory)

    try:
        found = selected_once(
            options.cache,
            lambda: selection_key(model, integer, stats, data, policy, seed),
            names,
            lambda name, method: proposed(stats, [name], policy.activation, method)[name],
            chosen,
        )
    except Exception as error:
        if not is_refusal(error):
            raise
        notice = f"samples were not replayed, {WITHOUT_DATA} was used: {words(error)}"
        return by_method(stats, names, policy.activation, WITHOUT_DATA), (notice,)
    return found, ()


def _left_float(reasons: Mapping[str, str]) -> tuple[Decision, ...]:
    return tuple(
        Decision(subject=name, verdict="float", reason=reason) for name, reason in reasons.items()
    )


def range_decisions(selected: Selected) -> tuple[Decision, ...]:
    """Which method's range each tensor got, and why; of very many tensors the first."""
    names = list(selected.methods)[:LISTED]
    return tuple(
        Decision(subject=name, verdict=selected.methods[name], reason=_reason(selected, name))
        for name in names
    )


def _reason(selected: Selected, name: str) -> str:
    low, high = selected.ranges[name]
    span = f"range [{low:.4g}, {high:.4g}]"
    scores = selected.scores.get(name)
    if not scores:
        return f"{span}: the method asked for"
    said = ", ".join(f"{method} {score:.1f}" for method, score in scores.items())
    return f"{span}: SQNR at its consumers in dB: {said}"


def _method(asked: str, data: CalibrationSet | None) -> tuple[str, tuple[str, ...]]:
    """The method that can be used; an unknown one is refused before any work."""
    if asked != AUTO:
        find_method(asked)
        return asked, ()
    if data is None:
        notice = f"auto replays samples and there is no --calib data: {WITHOUT_DATA} was used"
        return WITHOUT_DATA, (notice,)
    return AUTO, ()


def _told_gaps(values: list[str]) -> tuple[str, ...]:
    if not values:
        return ()
    return (
        f"{len(values)} values are NaN or infinite in places on the calibration data, such as "
        f"{values[0]!r}. A mask may do that to the rows it hides; ranges are of the rest",
    )


def _stats(
    model: ir.Model,
    names: list[str],
    data: CalibrationSet | None,
    method: str,
    options: CalibrationOptions,
    advance: Callable[[int], None],
    gapped: Callable[[str], None],
) -> CalibrationStats:
    if options.stats is not None:
        stats, path = options.stats
        stats.require(fingerprint(model), names, str(path))
        return stats
    if data is None:
        raise DataError("INT8 needs calibration data, or statistics of it")
    return statistics(
        model,
        names,
        data,
        batch=options.batch,
        memory=options.memory,
        histograms=method != "minmax" or options.alternatives,
        cache=options.cache,
        advance=advance,
        gapped=gapped,
    )


def quantize_static(
    model: ir.Model,
    integer: tuple[str, ...],
    ranges: Mapping[str, Range],
    policy: QuantPolicy,
    *,
    weight_bits: int,
    bias: Mapping[str, FloatArray] = MappingProxyType({}),
    rounded: Mapping[str, Codes] = MappingProxyType({}),
) -> ir.Model:
    """The Q/DQ graph for those decisions; `model` stays as it is.

    Args:
        model: The float graph.
        integer: Names of the integer nodes.
        ranges: Value → real range.
        policy: The target's policy.
        weight_bits: Bits of integer weights.
        bias: Node → what is added to the bias of each output channel.
        rounded: Node → the integers of its weight, where they are not the nearest.

    Raises:
        RecipeError: A node or value of the decisions is not in this graph.
    """
    policy = replace(policy, weight=replace(policy.weight, bits=weight_bits))
    known = {node.name: node for node in model.graph}
    strange = [name for name in integer if name not in known]
    strange += [name for name, codes in rounded.items() if not _fits(known.get(name), codes)]
    clone = model.clone()
    values = quantized_values(clone, integer, policy)
    strange += [value.name or "" for value in values if value.name not in ranges]
    if strange:
        raise RecipeError(
            f"the plan does not fit the graph: {strange[0]!r} is not what it decided about",
            hint="Replay a plan with the model and the options that it was made with.",
        )
    params = activation_params(clone, integer, values, ranges, policy)
    add_corrections(clone, bias)
    insert_qdq(clone, set(integer), params, policy, rounded)
    keep_apart(clone.graph, policy)
    check(clone, "quantize")
    return clone


def _fits(node: ir.Node | None, codes: Codes) -> bool:
    """Whether integers are of the shape of a node's weight."""
    weight = None if node is None or len(node.inputs) < 2 else node.inputs[1]
    tensor = constant(weight)
    return tensor is not None and tuple(tensor.shape) == codes.shape
