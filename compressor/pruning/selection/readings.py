"""Which layers contract a group, and which columns of their matrix each unit has there."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.layerwise.layers import Layer, layers_of
from compressor.pruning.coupling.groups import Group, Grouping
from compressor.pruning.coupling.labels import Ints


@dataclass(frozen=True, eq=False)
class Reading:
    """A layer that contracts a group.

    Attributes:
        layer: The layer.
        part: Which of the layer's own groups.
        columns: (units, b): columns of the matrix of that part.
    """

    layer: Layer
    part: int
    columns: Ints


def readings(model: ir.Model, grouping: Grouping) -> dict[str, list[Reading]]:
    """Group → the layers that contract it; none for one that only other operators contract.

    Args:
        model: The model that the groups are of.
        grouping: Its groups.
    """
    layers = layers_of(model)
    return {
        group.name: [one for layer in layers.values() for one in _of(layer, group)]
        for group in grouping.groups
    }


def _of(layer: Layer, group: Group) -> list[Reading]:
    axes: Mapping[tuple[str, int], Ints] = {(m.value, m.axis): m.positions for m in group.members}
    positions = axes.get((layer.weight_value.name or "", layer.contracted_axis))
    if positions is None or layer.depthwise:
        return []
    if layer.kind != "ConvTranspose":
        columns = _columns(layer, positions)
        return [Reading(layer, part, columns) for part in range(layer.groups)]
    size = layer.weight.shape[0] // layer.groups
    found = []
    for part in range(layer.groups):
        inside = positions // size == part
        counts = inside.sum(1)
        if counts[0] and (counts == counts[0]).all():
            local = positions[inside].reshape(len(positions), -1) % size
            found.append(Reading(layer, part, _columns(layer, local)))
    return found


def _columns(layer: Layer, channels: Ints) -> Ints:
    b = layer.columns_per_channel
    return (channels[:, :, None] * b + np.arange(b)).reshape(len(channels), -1)
