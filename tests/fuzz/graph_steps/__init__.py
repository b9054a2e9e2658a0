"""What only somebody does to a graph who knows what graphs are; the breaking and the odd."""

from collections.abc import Callable
from random import Random

from fuzz.graph_steps import bombs, nodes, signature, weights, words
from fuzz.messages import Model

Step = Callable[[Random, Model], None]


def broken_graph(rng: Random, model: Model) -> None:
    """What most often leaves no graph that can be run."""
    rng.choice(_BREAKING)(rng, model)


def odd_graph(rng: Random, model: Model) -> None:
    """What is right, and what nobody writes."""
    rng.choice(_ODD)(rng, model)


_BREAKING: tuple[Step, ...] = (
    nodes.other_operator, nodes.other_operator, nodes.contributed, nodes.foreign_domain,
    nodes.rewired, nodes.rewired, nodes.attribute, nodes.attribute, nodes.attribute, nodes.refers,
    weights.values, weights.values, weights.shape_of_weight, weights.type_of_weight, bombs.huge,
    weights.claims, bombs.deep, bombs.long, bombs.endless, bombs.recursive, bombs.growing,
    signature.opset, signature.opset, signature.sizes, signature.sizes, signature.no_tensor,
    signature.outputs, signature.inputs, words.renamed, words.all_renamed, words.all_renamed,
    weights.scales, words.told, weights.swapped_type,
)  # fmt: skip

_ODD: tuple[Step, ...] = (
    words.all_renamed, words.renamed, weights.extreme, weights.extreme, weights.extreme,
    nodes.doubled, weights.shared, weights.unused, signature.passed_on, signature.baked,
    weights.values, weights.scales, words.told, weights.swapped_type, bombs.long, signature.opset,
    signature.outputs,
)  # fmt: skip
