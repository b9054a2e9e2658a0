"""A graph with early exits: each is an `If` whose other branch holds all that comes after it.

The answer to a sample never depends on the batch that it is in: every sample is answered by the
first exit that is sure of it, and the rest is computed unless all of the batch have left. So one
sample saves whatever comes after its exit, and a batch what comes after the exit of its last.

With scores s and confidence p = max softmax(s), behind exit k:

    left_k = left_(k-1) or p_k > threshold_k            of every sample
    answer_k = If(all left_k: s_k, else: Where(p_k > threshold_k, s_k, answer_(k+1)))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.exits.cuts import Cut
from compressor.exits.heads import Builder, Head, pooled
from compressor.graph.invariants import check, subgraphs
from compressor.graph.shapes import infer_shapes
from compressor.graph.walks import reads

BOOL, INT = ir.DataType.BOOL, ir.DataType.INT32


@dataclass(frozen=True)
class _Exit:
    """What an exit adds before its branch: scores, who leaves here, who has left, and if all."""

    build: Builder
    scores: ir.Value
    leaves: ir.Value
    left: ir.Value
    everyone: ir.Value


def with_exits(model: ir.Model, heads: Sequence[Head]) -> ir.Model:
    """The graph with exits; `model` stays as it is.

    Args:
        model: A graph of one output, of shape (samples, classes).
        heads: In the order that they are passed in.

    Raises:
        RecipeError: The graph has not the values that they read.
    """
    made = infer_shapes(model.clone())
    output = made.graph.outputs[0]
    is_share = _ends_in_softmax(output)
    exits: list[_Exit] = []
    for number, head in enumerate(heads, 1):
        before = exits[-1] if exits else None
        exits.append(_exit(made, head, f"exit{number}", before, is_share=is_share))
    answer, name = output, output.name
    output.name = "exits/last"
    for one in reversed(exits):
        answer = _branched(made, one, answer)
    answer.name, answer.shape = name, output.shape
    answer.dtype = output.dtype or ir.DataType.FLOAT
    made.graph.outputs[0] = answer
    check(made, "branching at exits")
    return made


def features_graph(model: ir.Model, cuts: Sequence[Cut], mask: str | None) -> ir.Model:
    """The graph with what heads would read as further outputs `exit/0`, `exit/1` and so on."""
    made = infer_shapes(model.clone())
    build = Builder(made, "exits")
    for number, cut in enumerate(cuts):
        value = build.add("Identity", pooled(build, made, cut, mask))
        value.name, value.shape = feature_name(number), ir.Shape([None, cut.features])
        made.graph.outputs.append(value)
    check(made, "reading the ends of blocks")
    return made


def feature_name(number: int) -> str:
    """The output of `features_graph` for a cut."""
    return f"exit/{number}"


def _ends_in_softmax(output: ir.Value) -> bool:
    maker = output.producer()
    return maker is not None and maker.op_type == "Softmax"


def _exit(
    model: ir.Model, head: Head, prefix: str, before: _Exit | None, *, is_share: bool
) -> _Exit:
    build = Builder(model, prefix)
    features = pooled(build, model, head, head.mask)
    weight, bias = build.constant(head.weight), build.constant(head.bias)
    scores = build.add("Gemm", features, weight, bias)
    shares = build.add("Softmax", scores, axis=1)
    best = build.reduced("ReduceMax", shares, [1], keepdims=1)
    least = build.constant(np.array(head.threshold, np.float32))
    leaves = build.add("Greater", best, least, dtype=BOOL)  # of no number it is false
    left = leaves if before is None else build.add("Or", before.left, leaves, dtype=BOOL)
    counted = build.add("Cast", left, to=int(INT), dtype=INT)
    fewest = build.add("ReduceMin", counted, keepdims=0, dtype=INT)
    everyone = build.add("Cast", fewest, to=int(BOOL), dtype=BOOL)
    return _Exit(build, shares if is_share else scores, leaves, left, everyone)


def _branched(model: ir.Model, exit_: _Exit, answer: ir.Value) -> ir.Value:
    """Move what only the answer needs into a branch that runs unless everyone has left."""
    graph, build = model.graph, exit_.build
    kept = _behind([exit_.scores, exit_.leaves, exit_.everyone])
    moved = [node for node in graph if node in _behind([answer]) - kept]
    graph.remove(moved)
    rest = build.node("Where", exit_.leaves, exit_.scores, answer)
    early = build.node("Identity", exit_.scores)
    weights = _only_of(graph, {*moved})
    branches: dict[str, Any] = {
        "then_branch": ir.Graph([], early.outputs, nodes=[early], name=f"{early.name}/then"),
        "else_branch": ir.Graph(
            [], rest.outputs, nodes=[*moved, rest], initializers=weights, name=f"{rest.name}/else"
        ),
    }
    return build.add("If", exit_.everyone, **branches)


def _behind(values: Sequence[ir.Value]) -> set[ir.Node]:
    """The nodes that some values are computed by; of bodies those around them."""
    found: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        node = waiting.pop().producer()
        if node is not None and node not in found:
            found.add(node)
            waiting.extend(reads(node))
    return found


def _only_of(graph: ir.Graph, nodes: set[ir.Node]) -> list[ir.Value]:
    """Initializers that only those nodes read, taken out of the graph: kernels pack them there."""
    inner = {one for node in nodes for body in subgraphs(node) for one in body.all_nodes()}
    within = nodes | inner
    only = [
        value
        for value in graph.initializers.values()
        if value.uses() and all(use.node in within for use in value.uses())
    ]
    for value in only:
        graph.initializers.pop(value.name or "")
    return only
