"""What a rule is."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from compressor.pruning.coupling.cutting import Cutting
from compressor.pruning.coupling.dimensions import Walk


@dataclass(frozen=True)
class Rule:
    """A coupling rule: what an operator means for pruning.

    Attributes:
        label: Joins and freezes the labels of a node's inputs and gives its outputs theirs.
        rewrite: Adapts attributes and constants of a node to what is kept; None where slicing
            the weights is enough.
        contracts: Whether it sums over a dimension, so that what is dropped has to be zero there
            for the smaller graph to compute the same.
        sizes: Inputs that hold sizes, bounds or indices, which the rule interprets itself.
    """

    label: Callable[[Walk, ir.Node], None]
    rewrite: Callable[[Cutting, ir.Node], None] | None = None
    contracts: bool = False
    sizes: tuple[int, ...] = ()
