"""Operators whose meaning is known and through which nothing is removed."""

import onnx_ir as ir

from compressor.pruning.coupling.dimensions import Walk


def recurrent(walk: Walk, node: ir.Node) -> None:
    """LSTM, GRU and RNN: the gates of a unit lie in one dimension, the state feeds back."""
    walk.freeze_all(node, "a recurrent network")


def control_flow(walk: Walk, node: ir.Node) -> None:
    """If, Loop and Scan: what their bodies read is used in ways that are not followed."""
    walk.freeze_all(node, "control flow")


def positions(walk: Walk, node: ir.Node) -> None:
    """Indices are computed, so that positions cannot move."""
    walk.freeze_all(node, "positions are chosen by computed indices")


def generated(walk: Walk, node: ir.Node) -> None:
    """Random numbers and ranges depend on their size."""
    walk.freeze_all(node, "numbers are generated for every position")


def constant_of_shape(walk: Walk, node: ir.Node) -> None:
    """All positions are alike, so that a computed size may follow what it is the size of."""
    y = node.outputs[0]
    sizes = walk.known_sizes(node.inputs[0], node, 0)
    if sizes is None:
        walk.freeze_all(node, "its shape is computed")
        return
    walk.give(y, [walk.like(size) for size in sizes.ravel()])
    for axis, size in enumerate(sizes.ravel()):
        walk.demand(size, y, axis)
