"""The smaller graph: weights are sliced, and what counts or names positions is adapted."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.errors import PruningError
from compressor.graph.initializers import (
    add_initializer,
    free_name,
    remove_unread_initializers,
)
from compressor.graph.invariants import check
from compressor.graph.noise import follows
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Array
from compressor.pruning.coupling.canonical import canonical
from compressor.pruning.coupling.cutting import Cutting, Mask
from compressor.pruning.coupling.groups import Grouping, Keep
from compressor.pruning.coupling.rules import rule_of
from compressor.pruning.coupling.sharing import reunite


def masks(grouping: Grouping, keep: Keep) -> dict[tuple[str, int], Mask]:
    """(value name, axis) → which positions stay; axes that stay whole are not named.

    Raises:
        PruningError: A group is not known, a mask is of another length, or nothing of an axis
            would be left.
    """
    known = {group.name: group for group in grouping.groups}
    found: dict[tuple[str, int], Mask] = {}
    for name, kept in keep.items():
        group = known.get(name)
        if group is None:
            raise PruningError(f"there is no group {name!r}")
        if kept.shape != (group.units,):
            raise PruningError(
                f"the group {name!r} has {group.units} units; its mask is of shape {kept.shape}"
            )
        if kept.all():
            continue
        for member in group.members:
            whole = np.ones(grouping.shapes[member.value][member.axis], np.bool_)
            mask = found.setdefault((member.value, member.axis), whole)
            mask[member.positions[~kept]] = False
    for (value, axis), mask in found.items():
        if not mask.any():
            raise PruningError(
                f"nothing of axis {axis} of {value!r} would be left", hint="Keep a unit."
            )
    return found


def cut(model: ir.Model, grouping: Grouping, keep: Keep) -> ir.Model:
    """Remove the units that are not kept: a new, smaller model.

    Weights are only sliced; what they did is not repaired. Kept units stay in order and every
    node keeps its name.

    Args:
        model: The model that the grouping was found in; stays as it is.
        grouping: Its groups.
        keep: What stays of each group.

    Raises:
        PruningError: The keep-set does not fit the groups.
        GraphError: The result breaks an invariant.
    """
    kept = masks(grouping, keep)
    result = canonical(model)
    cutting = Cutting(result, kept, grouping.shapes)
    _rewrite_sizes(result, cutting, grouping)
    for node in list(result.graph):
        rule = rule_of(node)
        if rule is not None and rule.rewrite is not None and cutting.touches(node):
            rule.rewrite(cutting, node)
    _slice_initializers(result.graph, kept)
    _narrow_noise(result.graph, kept)
    reunite(result.graph)
    remove_unread_initializers(result.graph)
    _drop_shapes(result)
    infer_shapes(result)
    check(result, "pruning")
    return result


def _slice_initializers(graph: ir.Graph, kept: Mapping[tuple[str, int], Mask]) -> None:
    by_value: dict[str, list[tuple[int, Mask]]] = {}
    for (name, axis), mask in kept.items():
        by_value.setdefault(name, []).append((axis, mask))
    for name, sliced in by_value.items():
        value = graph.initializers.get(name)
        if value is None or value.const_value is None:
            continue
        array: Array = value.const_value.numpy()
        for axis, mask in sliced:
            array = array.compress(mask, axis)
        value.const_value = ir.tensor(array, dtype=value.const_value.dtype, name=name)
        value.shape = ir.Shape(array.shape)


def _narrow_noise(graph: ir.Graph, kept: Mapping[tuple[str, int], Mask]) -> None:
    """What is drawn for positions that stay: inputs keep their sizes, so that numbers compare."""
    for value in filter(follows, graph.inputs):
        users, current, made = list(value.uses()), value, list[ir.Node]()
        for axis in range(len(value.shape or ())):
            mask = kept.get((value.name or "", axis))
            if mask is None:
                continue
            index = add_initializer(
                graph, free_name(graph, f"{value.name}/kept"), np.flatnonzero(mask)
            )
            name = free_name(graph, f"{value.name}/of axis {axis}")
            made.append(ir.node("Gather", [current, index], {"axis": axis}, name=name))
            current = made[-1].outputs[0]
            current.name, current.type = name, value.type
        if made:
            graph.insert_before(graph[0], made)
        for user, place in users:
            user.replace_input_with(place, current)


def _rewrite_sizes(model: ir.Model, cutting: Cutting, grouping: Grouping) -> None:
    nodes = {node.name: node for node in model.graph}
    changed: dict[tuple[str, int], Array] = {}
    for edit in grouping.edits:
        key = (edit.origin.node, edit.origin.input)
        value = nodes[edit.origin.node].inputs[edit.origin.input]
        assert value is not None
        assert value.const_value is not None
        array = changed.setdefault(key, np.array(value.const_value.numpy()))
        array.reshape(-1)[edit.origin.index] = cutting.count_of(edit.value, edit.axis)
    for (name, index), array in changed.items():
        cutting.set_input(nodes[name], index, array)


def _drop_shapes(model: ir.Model) -> None:
    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                if not value.is_graph_output():
                    value.shape = None
