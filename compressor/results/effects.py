"""What a stage did to the size of a graph and to its speed, for its record."""

import onnx_ir as ir

from compressor.results.measurements import LatencyResult
from compressor.results.records import Effect


def effects(before: ir.Model | None, after: ir.Model) -> tuple[Effect, ...]:
    """Nodes and bytes of weights; `before` is None for the stage that made the graph."""
    return (
        Effect(
            amount="nodes",
            before=None if before is None else node_count(before),
            after=node_count(after),
        ),
        weight_effect(before, after),
    )


def weight_effect(before: ir.Model | None, after: ir.Model) -> Effect:
    """Bytes of weights alone: Q/DQ pairs are nodes that a runtime does not execute as such."""
    return Effect(
        amount="weight_bytes",
        before=None if before is None else weight_bytes(before),
        after=weight_bytes(after),
    )


def speed_effects(race: LatencyResult | None) -> tuple[Effect, ...]:
    """Milliseconds before and after, if they were measured."""
    if race is None or not race.is_known:
        return ()
    before, after = race.milliseconds
    return (Effect(amount="latency_ms", before=before, after=after),)


def node_count(model: ir.Model) -> int:
    """Nodes of the graph and of its subgraphs."""
    return sum(1 for _ in model.graph.all_nodes())


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, each once."""
    tensors = (
        value.const_value for graph in model.graphs() for value in graph.initializers.values()
    )
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
