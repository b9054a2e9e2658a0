"""The form of a graph that groups are found in and cut from."""

import onnx_ir as ir
from onnx_ir.passes.common import (
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
)

from compressor.graph.chatter import silenced
from compressor.graph.inlining import inline
from compressor.graph.names import make_unique
from compressor.pruning.coupling.sharing import separate


def canonical(model: ir.Model) -> ir.Model:
    """A copy with functions inlined, constants as initializers, and nothing shared by accident.

    Copies of vectors are called `<name>#2` and so on, over the same data; all other values keep
    their names.
    """
    with silenced():
        copy = model.clone()
        inline(copy)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
        LiftSubgraphInitializersToMainGraphPass()(copy)
    make_unique(copy)
    separate(copy.graph)
    return copy
