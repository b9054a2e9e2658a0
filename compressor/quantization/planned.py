"""The matrices of a graph that a plan stores in blocks, each with what it is stored as."""

from collections.abc import Callable, Iterator, Mapping

import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.quantization.blocks import BlockFormat, Packed
from compressor.quantization.matrices import ConstantMatrix, find_matrices

Fits = Callable[[ConstantMatrix, Packed, BlockFormat], bool]


def planned_matrices(
    model: ir.Model,
    forms: Mapping[str, BlockFormat],
    packed: Mapping[str, Packed],
    fits: Fits,
) -> Iterator[tuple[ConstantMatrix, Packed, BlockFormat]]:
    """Each matrix that a plan names, in the plan's order.

    Args:
        model: The graph.
        forms: Initializer → how it is stored.
        packed: Initializer → what is stored.
        fits: Whether a matrix can be stored so.

    Raises:
        RecipeError: A matrix is not in this graph, or what is stored does not fit it.
    """
    matrices = {matrix.name: matrix for matrix in find_matrices(model)[0]}
    for name, form in forms.items():
        matrix, stored = matrices.get(name), packed.get(name)
        if matrix is None or stored is None or not fits(matrix, stored, form):
            raise RecipeError(
                f"the plan does not fit the graph: {name!r} is not the matrix that it stores",
                hint="Replay a plan with the model and the options that it was made with.",
            )
        yield matrix, stored, form
