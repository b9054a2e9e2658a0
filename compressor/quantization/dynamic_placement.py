"""Which nodes can run as dynamic INT8, whose ranges are found while the model runs."""

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from compressor.quantization.placement import Placement, left_alone, why_not_quantizable
from compressor.quantization.recurrent import is_recurrent, why_not_recurrent
from exporters.base import QuantPolicy


def place_dynamic(model: ir.Model, policy: QuantPolicy, leave: Sequence[str] = ()) -> Placement:
    """The nodes that can run as dynamic INT8, those in bodies of If, Loop and Scan too.

    Args:
        model: The float graph.
        policy: The target's policy.
        leave: Patterns of names of nodes or weights that stay float.
    """
    return _placed(model.graph.all_nodes(), policy).without(left_alone(model, leave))


def place_in_bodies(model: ir.Model, policy: QuantPolicy) -> Placement:
    """Those of bodies alone, which have no other integer form: nobody sees their values before."""
    return _placed((n for n in model.graph.all_nodes() if n.graph is not model.graph), policy)


def _placed(nodes: Iterable[ir.Node], policy: QuantPolicy) -> Placement:
    chosen: list[str] = []
    reasons: dict[str, str] = {}
    for node in nodes:
        weighted = node.op_type in policy.weighted and node.domain == ""
        if not weighted and not is_recurrent(node):
            continue
        refusal = why_not_dynamic(node, policy)
        if refusal is None:
            chosen.append(node.name or "")
        else:
            reasons[node.name or ""] = refusal
    return Placement(tuple(chosen), reasons)


def why_not_dynamic(node: ir.Node, policy: QuantPolicy) -> str | None:
    """Why a weighted operator cannot be dynamic; None when it can."""
    if is_recurrent(node):
        return why_not_recurrent(node, policy)
    if node.op_type not in policy.dynamic or node.domain != "":
        return f"{node.op_type} has no kernel with a range found at run time that pays"
    return why_not_quantizable(node)
