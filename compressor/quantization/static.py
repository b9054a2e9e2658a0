"""Static INT8: placement, calibrated ranges, and the Q/DQ graph they make."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from calibration.collect import collect
from calibration.dataset import CalibrationSet
from calibration.ranges import find_method
from compressor.errors import RecipeError
from compressor.graph.invariants import check
from compressor.quantization.placement import place, quantized_values
from compressor.quantization.qdq import insert_qdq
from compressor.quantization.ranges import activation_params
from compressor.records import Decision, StageRecord
from exporters.base import QuantPolicy

Range = tuple[float, float]


@dataclass(frozen=True)
class StaticChoice:
    """What calibration decided: integer nodes and real ranges of the values between them."""

    integer: tuple[str, ...]
    ranges: Mapping[str, Range]
    float_reasons: Mapping[str, str]
    record: StageRecord


def calibrate(
    model: ir.Model,
    data: CalibrationSet,
    policy: QuantPolicy,
    *,
    method: str,
    batch: int,
    advance: Callable[[int], None] = lambda samples: None,
) -> StaticChoice:
    """Choose integer nodes and the ranges of what passes between them, in one pass over the data.

    Raises:
        DataError: The data is empty or drives a tensor to NaN or infinity.
    """
    started = time.perf_counter()
    placement = place(model, policy)
    values = [value.name or "" for value in quantized_values(model, placement.integer, policy)]
    samples = 0
    ranges: dict[str, Range] = {}
    if values:
        stats = collect(model, values, data, batch=batch, advance=advance)
        propose = find_method(method).propose
        ranges = {name: propose(stats.observed[name], policy.activation) for name in values}
        samples = stats.samples
    operators = {node.name: node.op_type for node in model.graph}
    record = StageRecord(
        name="calibrate",
        seconds=time.perf_counter() - started,
        parameters={"method": method, "samples": samples, "tensors": len(values)},
        changed=dict(Counter(operators[name] for name in placement.integer)),
        decisions=tuple(
            Decision(subject=name, verdict="float", reason=reason)
            for name, reason in placement.float_reasons.items()
        ),
    )
    return StaticChoice(placement.integer, ranges, placement.float_reasons, record)


def quantize_static(
    model: ir.Model,
    integer: tuple[str, ...],
    ranges: Mapping[str, Range],
    policy: QuantPolicy,
    *,
    weight_bits: int,
) -> ir.Model:
    """The Q/DQ graph for those decisions; `model` stays as it is.

    Raises:
        RecipeError: A node or value of the decisions is not in this graph.
    """
    policy = replace(policy, weight=replace(policy.weight, bits=weight_bits))
    known = {node.name for node in model.graph}
    strange = [name for name in integer if name not in known]
    clone = model.clone()
    values = quantized_values(clone, integer, policy)
    strange += [value.name or "" for value in values if value.name not in ranges]
    if strange:
        raise RecipeError(
            f"the plan does not fit the graph: {strange[0]!r} is not what it decided about",
            hint="Replay a plan with the model and the options that it was made with.",
        )
    params = activation_params(clone, integer, values, ranges, policy)
    insert_qdq(clone, set(integer), params, policy)
    check(clone, "quantize")
    return clone
