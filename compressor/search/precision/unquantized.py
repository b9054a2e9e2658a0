"""What stays float of the work, and why: every operator that has any, by its share."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.cost import node_costs
from compressor.graph.invariants import subgraphs
from compressor.graph.macs import carries_macs
from compressor.graph.tensors import Arrays
from compressor.plan.plan import GraphPlan
from exporters.base import QuantPolicy


@dataclass(frozen=True)
class Unquantized:
    """The nodes that stay float.

    Attributes:
        reasons: Node → why, those with most work first.
        work: Node → its share of the multiply-accumulates of the graph, of those that have any.
    """

    reasons: dict[str, str]
    work: dict[str, float]


def unquantized(
    model: ir.Model,
    plan: GraphPlan,
    policy: QuantPolicy,
    known: Mapping[str, str],
    feeds: Arrays | None = None,
) -> Unquantized:
    """Name every node that works in float.

    Args:
        model: The float graph that the plan is of.
        plan: What was quantized, or would have been.
        policy: The target's.
        known: Node → why it stays float, as far as decisions have said so.
        feeds: Inputs of a run, which tell shapes.
    """
    stored = plan.stored
    changed = set(plan.quantized) | set(() if stored is None else stored.nodes)
    reasons = {name: why for name, why in known.items() if name not in changed}
    costs = {cost.name: cost.macs for cost in node_costs(model, 1, feeds)}
    total = sum(macs or 0 for macs in costs.values())
    for node in model.graph:
        name = node.name or ""
        works = bool(costs.get(name)) or _is_contributed(node)
        if works and name not in changed:
            reasons.setdefault(name, _why(node, policy, is_stored=stored is not None))
        for body in subgraphs(node):
            for inner in body.all_nodes():
                if carries_macs(inner) and inner.name not in changed:
                    where = f"it is in a body of {node.op_type} {name!r}"
                    reasons.setdefault(inner.name or "", where)
    work = {n: (costs.get(n) or 0) / total for n in reasons if costs.get(n)} if total else {}
    order = sorted(reasons, key=lambda name: -work.get(name, 0.0))
    return Unquantized({name: reasons[name] for name in order}, work)


def why_float(operator: str, policy: QuantPolicy) -> str:
    """Why a node is float that was never a candidate, or left with its neighbours."""
    if policy.inputs_only and operator not in policy.weighted:
        return "it has no Q/DQ of its own; the runtime fuses it where it can"
    known = policy.weighted | policy.elementwise | policy.passthrough | policy.absorbed
    return "its neighbours are float" if operator in known else policy.without_kernel(operator)


def _why(node: ir.Node, policy: QuantPolicy, *, is_stored: bool) -> str:
    if is_stored:
        return "it reads no weight that is stored in fewer bits"
    if node.domain != "":
        return f"{node.domain}.{node.op_type} has no integer kernel"
    return why_float(node.op_type, policy)


def _is_contributed(node: ir.Node) -> bool:
    """Whether it is of a runtime's own domain, whose work nobody counts."""
    return node.domain != ""
