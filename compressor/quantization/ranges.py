"""From proposed ranges to quantization parameters: values that must share a scale do.

Operators that only move values (Reshape, MaxPool, Slice ...) run as integer only when both sides
have the identical scale and zero point. A Concat gets one scale too, unless that would undo an
absorbed activation: the runtime drops a Relu only when the zero point of its output is the least
integer, and a Clip only when its bounds cover the range.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from calibration.scheme import QuantParams, Scheme, params_from_range
from compressor.graph.constants import scalar
from compressor.quantization.graph import absorbed_bounds
from compressor.quantization.placement import activations
from exporters.base import QuantPolicy

Range = tuple[float, float]


def activation_params(
    model: ir.Model,
    integer: Sequence[str],
    values: Sequence[ir.Value],
    ranges: Mapping[str, Range],
    policy: QuantPolicy,
) -> dict[str, QuantParams]:
    """Parameters of each quantized value, keyed by name.

    Args:
        model: The float graph.
        integer: Names of the integer nodes.
        values: What passes through Q/DQ (`quantized_values`).
        ranges: Proposed real range of each of them.
        policy: The target's policy.
    """
    groups = _joined(model, integer, [v.name or "" for v in values], ranges, policy)
    return {
        name: _params(groups.range_of(name), groups.limits(name), policy.activation)
        for name in groups.members
    }


def sharing(
    model: ir.Model, integer: Sequence[str], values: Sequence[ir.Value], policy: QuantPolicy
) -> dict[str, str]:
    """Value → the first of those that may have to share its range; a method is chosen for all."""
    names = [value.name or "" for value in values]
    # A range of zero breaks no bound, so that every Concat joins.
    groups = _joined(model, integer, names, dict.fromkeys(names, (0.0, 0.0)), policy)
    return groups.leaders()


def _joined(
    model: ir.Model,
    integer: Sequence[str],
    values: Sequence[str],
    ranges: Mapping[str, Range],
    policy: QuantPolicy,
) -> "_Groups":
    """The groups of values that share a range."""
    names = set(integer)
    nodes = [node for node in model.graph if node.name in names]
    bounds = {
        node.outputs[0].name or "": limits
        for node in nodes
        if node.op_type in policy.absorbed and (limits := absorbed_bounds(node)) is not None
    }
    groups = _Groups(values, ranges, bounds)
    if policy.inputs_only:
        # What moves values is no integer node there, and the compiler moves Q/DQ across it.
        nodes = list(model.graph)
    for node in nodes:
        if node.op_type in policy.passthrough:
            groups.join([*activations(node), *node.outputs], extra=_pad_value(node))
    for node in nodes:
        if node.op_type == "Concat":
            groups.join([*activations(node), *node.outputs])
    return groups


class _Groups:
    """Union-find over value names; each group's range is the hull of its members' ranges.

    `bounds` are those of absorbed activations, by the name of what they write: a group whose
    range leaves them would bring the activation back.
    """

    def __init__(
        self, members: Sequence[str], ranges: Mapping[str, Range], bounds: Mapping[str, Range]
    ) -> None:
        self.members = tuple(members)
        self._parent = {name: name for name in members}
        self._range = {name: _hull([ranges[name], (0.0, 0.0)]) for name in members}
        self._bounds = bounds

    def _find(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def leaders(self) -> dict[str, str]:
        """Member → the first member of its group."""
        first: dict[str, str] = {}
        return {name: first.setdefault(self._find(name), name) for name in self.members}

    def range_of(self, name: str) -> Range:
        return self._range[self._find(name)]

    def limits(self, name: str) -> Range:
        """The intersection of the bounds of absorbed activations in the group."""
        return self._intersection([self._find(name)])

    def join(self, values: Sequence[ir.Value], *, extra: Range | None = None) -> None:
        """Give the values one range, unless that would undo an absorbed activation."""
        roots = self._roots(values)
        if not roots:
            return
        low, high = _hull([self._range[root] for root in roots] + ([extra] if extra else []))
        least, most = self._intersection(roots)
        if low < least or high > most:
            return
        for root in roots:
            self._parent[root] = roots[0]
        self._range[roots[0]] = (low, high)

    def _intersection(self, roots: Sequence[str]) -> Range:
        inside = [limit for name, limit in self._bounds.items() if self._in(name, roots)]
        least = max((low for low, _ in inside), default=-math.inf)
        return least, min((high for _, high in inside), default=math.inf)

    def _roots(self, values: Sequence[ir.Value]) -> list[str]:
        names = [value.name or "" for value in values]
        return list(dict.fromkeys(self._find(name) for name in names if name in self._parent))

    def _in(self, name: str, roots: Sequence[str]) -> bool:
        return name in self._parent and self._find(name) in roots


def _hull(ranges: Sequence[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _pad_value(node: ir.Node) -> Range | None:
    """What a Pad writes must be representable."""
    if node.op_type != "Pad":
        return None
    value = scalar(node.inputs[2] if len(node.inputs) > 2 else None, 0.0)
    return None if value is None else (value, value)


def _params(span: Range, limits: Range, scheme: Scheme) -> QuantParams:
    """Parameters of a range, whose representable values all stay within `limits`.

    Rounding the zero point moves the representable range by up to half a step, and scale · 255 in
    float32 may exceed a Clip's bound by one rounding; the runtime would then keep the Clip, and
    with it the whole convolution in float.
    """
    params = params_from_range(*span, scheme)
    below = int(params.zero_point) - scheme.qmin
    above = scheme.qmax - int(params.zero_point)
    scale = np.float32(params.scale)
    for steps, limit in ((below, -limits[0]), (above, limits[1])):
        if steps and 0 < limit < math.inf:
            scale = min(scale, np.float32(limit / steps))
            while float(scale * np.float32(steps)) > limit:
                scale = np.nextafter(scale, np.float32(0))
    return QuantParams(scheme, np.asarray(scale, np.float32), params.zero_point)
