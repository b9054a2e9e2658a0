"""Branches of If and bodies of Loop that calibration never entered, and what rests on them.

What such a branch computes was never seen. Products in it find their ranges at run time or stay
float; but what the nodes behind it read has the range of the other branch alone, and would be
clipped. A branch that only moves what was computed outside of it, such as a Squeeze, changes no
range.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.taps import Taps, feeds_of
from compressor.graph.batch import fixed_batch
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Array

_MOVING = {
    "Cast", "Concat", "Constant", "Expand", "Flatten", "Gather", "GatherElements", "GatherND",
    "Identity", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze",
}  # fmt: skip
"""Operators whose outputs hold what their inputs do, or numbers of shapes."""


@dataclass(frozen=True)
class Unseen:
    """Main-graph nodes that stay float for a branch that was never entered, each with the reason.

    Attributes:
        reasons: Node → why.
        notices: The branches.
    """

    reasons: Mapping[str, str]
    notices: tuple[str, ...] = ()


def unseen_branches(model: ir.Model, data: CalibrationSet, batch: int) -> Unseen:
    """Run what decides about branches over the data, until all were entered.

    Args:
        model: The float graph.
        data: Bound to its inputs.
        batch: Samples per run.
    """
    asked = list(_asked(model))
    if not asked:
        return Unseen({})
    never = _never(model, asked, data, batch)
    reasons: dict[str, str] = {}
    for node, name in never:
        why = f"calibration data never enters the {name} of {node.op_type} {node.name!r}, so that "
        for one in _behind(node):
            reasons.setdefault(one, f"{why}nothing is known of the values behind it")
    notices = tuple(
        f"calibration data never enters the {name} of {node.op_type} {node.name!r}: what lies "
        "behind it stays float; give samples that do, for integers there"
        for node, name in never
    )
    return Unseen(reasons, notices)


def _asked(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """Control flow of the main graph whose branches compute: the node, and the branch's name."""
    names = {"If": ("then_branch", "else_branch"), "Loop": ("body",)}
    for node in model.graph:
        for name in names.get(node.op_type, ()) if node.domain == "" else ():
            if _computes(node.attributes[name].as_graph()):
                yield node, name


def _computes(graph: ir.Graph) -> bool:
    """Whether any floating value is computed, and not only moved."""
    return any(node.op_type not in _MOVING and _floats(node) for node in graph.all_nodes())


def _floats(node: ir.Node) -> bool:
    return any(out.dtype is None or out.dtype.is_floating_point() for out in node.outputs)


def _never(
    model: ir.Model, asked: list[tuple[ir.Node, str]], data: CalibrationSet, batch: int
) -> list[tuple[ir.Node, str]]:
    taps = Taps(model)
    fetched: dict[str, list[str | None]] = {}
    for node, _ in asked:
        if node.name not in fetched:
            read = node.inputs[: 1 if node.op_type == "If" else 2]
            fetched[node.name or ""] = [_told(taps, value) for value in read]
    wanted = [name for names in fetched.values() for name in names if name is not None]
    session = open_session(taps.finished(), spin=False)
    inputs = {value.name for value in session.get_inputs()}
    fixed, left = fixed_batch(input_specs(model)), list(asked)
    for piece in data.batches(fixed or batch):
        feeds = {k: v for k, v in feeds_of(piece, fixed).items() if k in inputs}
        found = dict(zip(wanted, session.run(wanted, feeds), strict=True)) if wanted else {}
        left = [one for one in left if not _enters(one, fetched[one[0].name or ""], found)]
        if not left:
            break
    return left


def _told(taps: Taps, value: ir.Value | None) -> str | None:
    """The name to fetch a condition or trip count by; None where there is none."""
    own = taps.own(value)
    if own is None:
        return None
    made = taps.node("Identity", [own])
    made.dtype = own.dtype or ir.DataType.BOOL
    return taps.output(made)


def _enters(one: tuple[ir.Node, str], names: list[str | None], found: Mapping[str, Array]) -> bool:
    node, branch = one
    values = [True if name is None else bool(np.greater(found[name], 0).all()) for name in names]
    return values[0] == (branch == "then_branch") if node.op_type == "If" else all(values)


def _behind(node: ir.Node) -> set[str]:
    """Nodes that depend on the outputs of one."""
    found: dict[ir.Node, None] = {}
    waiting = [node]
    while waiting:
        for value in waiting.pop().outputs:
            for reader in value.consumers():
                if reader not in found:
                    found[reader] = None
                    waiting.append(reader)
    return {one.name or "" for one in found}
