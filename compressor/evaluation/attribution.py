"""Which node of a float graph the time of its compressed form goes to.

A runtime fuses nodes and renames them: an integer convolution keeps its float node's name with a
suffix, a convolution in a blocked layout is named after the value that it writes, and a Relu or
an Add may be part of it. So a name is looked up among the nodes and among the values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.evaluation.profile import profile_model
from compressor.graph.macs import carries_macs
from compressor.graph.tensors import Arrays
from compressor.results.measurements import Ceilings

_SUFFIXES = re.compile(r"(_token_\d+|_nchwc|_quant|/?fused[\w ]*|_?Gemm\w*)+$")
_FURTHEST = 4
"""Nodes to step back over from a value to the node whose kernel wrote it."""


@dataclass(frozen=True)
class NodeSeconds:
    """Time of one inference by node of the float graph.

    Attributes:
        nodes: Node name → seconds in the kernel that does its work.
        rest: Seconds that belong to no node of the float graph: reordering, Q/DQ.
    """

    nodes: Mapping[str, float]
    rest: float

    @property
    def total(self) -> float:
        """Seconds of all nodes."""
        return sum(self.nodes.values()) + self.rest


def node_seconds(
    model: ir.Model,
    source: ir.Model,
    feeds: Arrays,
    *,
    threads: int,
    seconds: float,
    ceilings: Ceilings | None = None,
) -> NodeSeconds:
    """Profile a compressed form of `source` and give each kernel's time to a node of `source`.

    Args:
        model: What is executed: `source` itself or what became of it.
        source: The float graph whose nodes are asked about.
        feeds: One batch.
        threads: Intra-operator threads.
        seconds: Time for the profile.
        ceilings: This machine's ceilings, where they were measured already.
    """
    profile = profile_model(
        model, feeds, threads=threads, seconds=seconds, memory=False, ceilings=ceilings
    )
    names = owners(source)
    nodes: dict[str, float] = {}
    rest = 0.0
    for executed in profile.nodes:
        owner = owner_of(executed.name, names)
        if owner is None:
            rest += executed.ms / 1e3
        else:
            nodes[owner] = nodes.get(owner, 0.0) + executed.ms / 1e3
    # Profiled nodes take longer than the whole inference does: only their shares are used.
    scale = profile.latency.median_ms / 1e3 / max(rest + sum(nodes.values()), 1e-12)
    return NodeSeconds({name: t * scale for name, t in nodes.items()}, rest * scale)


def owners(source: ir.Model) -> dict[str, str]:
    """Names of nodes and of values → the node whose kernel that is."""
    found: dict[str, str] = {}
    for node in source.graph:
        for value in node.outputs:
            found[value.name or ""] = _kernel(node).name or ""
    return found | {node.name or "": node.name or "" for node in source.graph}


def owner_of(executed: str, names: Mapping[str, str]) -> str | None:
    """The float node whose work an executed node does; None where it does no node's.

    Args:
        executed: Its name in the runtime's own graph.
        names: See `owners`.
    """
    return names.get(executed) or names.get(_SUFFIXES.sub("", executed))


def _kernel(node: ir.Node) -> ir.Node:
    """The weighted node that a runtime fuses a node into where it follows one, else itself."""
    found = node
    for _ in range(_FURTHEST):
        if carries_macs(found):
            return found
        before = [v.producer() for v in found.inputs if v is not None and v.producer() is not None]
        sole = [p for p in before if p is not None and len(p.outputs[0].uses()) == 1]
        if not sole:
            return node
        found = sole[0]
    return node
