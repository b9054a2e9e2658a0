"""Integers of weights that make up for each other's errors, by the moments of what layers read.

Rounding to the nearest gives every weight the least error, and the layer's output more than it need
have: what one weight loses, others can make up for where their inputs go together (GPTQ, see
`quantization/gptq.py`). Scales stay as they are, and so does the speed.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import Codes, Scheme
from calibration.windows import parts
from compressor.layerwise.activity import activity, moments_bytes
from compressor.layerwise.factor import WIDEST
from compressor.layerwise.im2col import Doubles
from compressor.layerwise.layers import Layer, layers_of
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy
from compressor.quantization.gptq import Integers, rounded
from compressor.quantization.pair_sums import LIMIT, Places, partners
from compressor.quantization.weights import channel_axis, weight_params
from compressor.search.session import Session

BATCH = 16
"""Samples per run; few, because patches of several values are alive at once."""
MEMORY = 10**9
"""Bytes for moments and patches, unless told otherwise."""


def with_rounding(
    session: Session,
    model: ir.Model,
    plan: GraphPlan,
    data: CalibrationSet,
    expired: Callable[[], bool] = lambda: False,
) -> GraphPlan:
    """The plan with weights rounded to what calibration samples show of their inputs.

    Args:
        session: The target, and how to run.
        model: The float graph.
        plan: Its integer nodes.
        data: The samples.
        expired: Asked before each pass whether the time is over; the rest stays the nearest then.

    Returns:
        The plan itself where weights are 8-bit floats, which stay the nearest.
    """
    policy = planned_policy(plan, session.target).with_schemes(weight_bits=plan.weight_bits)
    if policy.weight.is_float:
        return plan
    layers = own_layers(model, plan)
    memory = session.recipe.quantize.memory or MEMORY
    sizes = {layer.name: moments_bytes(layer) for layer in layers}
    by_name = {layer.name: layer for layer in layers}
    found: dict[str, Codes] = {}
    with session.progress.stage("round weights", total=len(layers)) as advance:
        for window in parts(sizes, memory // 2):
            if not window or expired():
                continue
            chosen = [by_name[name] for name in window]
            for layer, moments in _moments(model, chosen, data, memory):
                zeros = plan.sparse is not None and layer.name in plan.sparse.layers
                # Where a layer reads infinity on the samples the nearest stay.
                if np.isfinite(moments).all():
                    found[layer.name] = integers_of(layer, moments, policy.weight, zeros=zeros)
                advance(1)
    return plan.model_copy(update={"rounded": found}) if found else plan


def integers_of(layer: Layer, moments: Doubles, scheme: Scheme, *, zeros: bool = False) -> Codes:
    """The integers of one layer, as its node stores its weight.

    Args:
        layer: With a weight of its own.
        moments: Σ x·xᵀ of its rows, (groups, k, k).
        scheme: Of weights; the scales are those of `weight_params`.
        zeros: Whether weights that are zero stay zero.
    """
    params = weight_params(layer.weight, channel_axis(layer.node), scheme)
    alpha = layer.node.attributes.get_float("alpha", 1.0) if layer.kind == "Gemm" else 1.0
    matrix = layer.matrix() / alpha
    groups, outputs, _ = matrix.shape
    # The outputs of a transposed convolution's groups share the axis of its weight.
    scales = np.resize(np.asarray(params.scale, np.float64), groups * outputs)
    paired = scheme.pairs and layer.kind != "ConvTranspose"  # which no kernel sums as integers
    mates = partners(layer.weight.shape, channel_axis(layer.node)) if paired else None
    found = [
        rounded(one, gram, _nearest(scale[:, None], scheme, mates), zeros=zeros)
        for one, gram, scale in zip(matrix, moments, scales.reshape(groups, -1), strict=True)
    ]
    return layer.stored(np.array(found, np.float64)).astype(np.int8)


def _nearest(
    scale: Doubles, scheme: Scheme, mates: Places | None
) -> Callable[[Doubles, int], tuple[Integers, Doubles]]:
    """The nearest integers; beside a mate that is chosen, those that fit into a sum with it."""
    known: dict[int, Doubles] = {}

    def nearest(values: Doubles, column: int) -> tuple[Integers, Doubles]:
        whole = np.clip(np.rint(values / scale), scheme.qmin, scheme.qmax)
        mate = None if mates is None else known.pop(int(mates[column]), None)
        if mate is not None:
            room = LIMIT - np.abs(mate)
            whole = np.where(whole * mate > 0, np.clip(whole, -room, room), whole)
        elif mates is not None:
            known[column] = whole
        return whole.astype(np.int16), whole * scale

    return nearest


def own_layers(model: ir.Model, plan: GraphPlan) -> list[Layer]:
    """The integer layers whose weight nothing else reads, and that are not too wide."""
    return [
        layer
        for name, layer in layers_of(model).items()
        if name in plan.quantized and len(layer.weight_value.uses()) == 1 and layer.width <= WIDEST
    ]


def _moments(
    model: ir.Model, layers: Sequence[Layer], data: CalibrationSet, memory: int
) -> Iterator[tuple[Layer, Doubles]]:
    """Σ x·xᵀ of the rows of each layer, in one pass."""
    batch = min(BATCH, len(data))
    with np.errstate(over="ignore", invalid="ignore"):
        seen = activity(model, layers, data, batch=batch, memory=memory // 2)
    for layer in layers:
        with np.errstate(over="ignore", invalid="ignore"):
            moments = seen[layer.name].moments.raw()[0]
        yield layer, moments
