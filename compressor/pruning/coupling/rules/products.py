"""Matrix products: what is summed over is joined, batch dimensions are joined, the rest passes."""

import onnx_ir as ir

from compressor.pruning.coupling.dimensions import Dimensions, UnknownShapeError, Walk, broadcast
from compressor.pruning.coupling.labels import Ints


def gemm(walk: Walk, node: ir.Node) -> None:
    """Y = α A′ B′ + β C, with C broadcast to Y."""
    a, b, *c = walk.inputs(node)
    if node.attributes.get_int("transA", 0):
        a = a[::-1]
    if node.attributes.get_int("transB", 0):
        b = b[::-1]
    walk.join(a[1], b[0])
    walk.give(node.outputs[0], broadcast(walk, [[a[0], b[1]], *c]))


def matmul(walk: Walk, node: ir.Node) -> None:
    """Rows and columns are joined as in `numpy.matmul`: a vector is a matrix of one of them."""
    a, b = walk.inputs(node)
    left, (a_rows, a_inner) = _matrix(a, first=True)
    right, (b_inner, b_columns) = _matrix(b, first=False)
    walk.join(a_inner, b_inner)
    free = [labels for labels in (a_rows, b_columns) if labels is not None]
    walk.give(node.outputs[0], broadcast(walk, [left, right]) + free)


def _matrix(operand: Dimensions, first: bool) -> tuple[Dimensions, tuple[Ints, Ints]]:
    if len(operand) > 1:
        return operand[:-2], (operand[-2], operand[-1])
    none: Ints = None  # type: ignore[assignment]
    return [], (none, operand[0]) if first else (operand[0], none)


def einsum(walk: Walk, node: ir.Node) -> None:
    """Every occurrence of a letter is one dimension; an ellipsis broadcasts."""
    terms, result = _letters(walk, node)
    found: dict[str, Ints] = {}
    for term, operand in zip(terms, walk.inputs(node), strict=True):
        for letter, labels in zip(term, operand, strict=True):
            (found[letter],) = broadcast(walk, [[found.get(letter, labels)], [labels]])
    walk.give(node.outputs[0], [found[letter] for letter in result])


def _letters(walk: Walk, node: ir.Node) -> tuple[list[list[str]], list[str]]:
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, right = equation.partition("->")
    ranks = [len(operand) for operand in walk.inputs(node)]
    terms = [_expanded(term, rank) for term, rank in zip(left.split(","), ranks, strict=True)]
    if arrow:
        return terms, _expanded(right, len(walk.shape(node.outputs[0])))
    if "." in left:  # the order of an implicit result with an ellipsis is not worth a rule
        raise UnknownShapeError
    every = [letter for term in terms for letter in term]
    return terms, sorted(letter for letter in set(every) if every.count(letter) == 1)


def _expanded(term: str, rank: int) -> list[str]:
    """The letters of a term; the dimensions of an ellipsis are numbered from the right."""
    before, dots, after = term.partition("...")
    if not dots:
        return list(term)
    hidden = rank - len(before) - len(after)
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]
