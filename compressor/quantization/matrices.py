"""The constant matrices of a graph, and the products and look-ups that read them.

Weights that several nodes share, such as an embedding that is also the matrix of the last product,
are one matrix with several readers, so that they stay stored once.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.stretches import LOOKED_UP
from compressor.graph.tensor_bytes import forget_pages
from compressor.quantization.blocks import Matrix

ROWS = 2**19
"""Bytes of a matrix that are looked at together: what is computed on the way fits into a cache."""
READERS = frozenset({"MatMul", "Gemm", "Gather"})


@dataclass(frozen=True)
class MatrixReader:
    """A node that reads a matrix.

    Attributes:
        node: MatMul, Gemm or Gather.
        transpose: The Transpose in between; None where it reads the matrix as it is stored.
    """

    node: ir.Node
    transpose: ir.Node | None = None

    @property
    def looks_up(self) -> bool:
        """Whether it picks rows and multiplies nothing."""
        return self.node.op_type == "Gather"


@dataclass(frozen=True)
class ConstantMatrix:
    """A weight of rank 2 all of whose readers are understood.

    Attributes:
        value: The initializer.
        stored_transposed: Whether it is stored as (k, n), inputs by outputs.
        readers: The nodes that read it, in graph order.
        looked_up: Whether its rows are looked up by what is not in this graph.
    """

    value: ir.Value
    stored_transposed: bool
    readers: tuple[MatrixReader, ...]
    looked_up: bool = False

    @property
    def name(self) -> str:
        """Name of the initializer."""
        return self.value.name or ""

    @property
    def products(self) -> tuple[ir.Node, ...]:
        """The readers that multiply."""
        return tuple(reader.node for reader in self.readers if not reader.looks_up)

    @property
    def is_table(self) -> bool:
        """Whether rows of it are looked up."""
        return self.looked_up or any(reader.looks_up for reader in self.readers)

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs n and inputs k; of a table rows and their width."""
        assert self.value.const_value is not None
        rows, columns = self.value.const_value.shape.numpy()
        return (columns, rows) if self.stored_transposed else (rows, columns)

    def matrix(self) -> Matrix:
        """(n, k)."""
        assert self.value.const_value is not None
        array = self.value.const_value.numpy()
        return array.T if self.stored_transposed else array

    def rows(self, start: int, stop: int) -> Matrix:
        """Some rows of it, (stop - start, k), as an array of their own; memory is that of these."""
        assert self.value.const_value is not None
        found = np.ascontiguousarray(self.matrix()[start:stop])
        forget_pages([self.value.const_value])
        return found

    def parts(self, size: int = ROWS) -> list[slice]:
        """All rows in parts of about so many bytes of float32."""
        count, width = self.shape
        step = max(1, size // (4 * max(width, 1)))
        return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def find_matrices(
    model: ir.Model, leave: tuple[str, ...] = ()
) -> tuple[list[ConstantMatrix], dict[str, str]]:
    """The matrices that can be stored in blocks, and why the others cannot.

    Args:
        model: The float graph.
        leave: Patterns of names of nodes or initializers that stay float.

    Returns:
        The matrices in the order of their first readers, and for each product or look-up with
        another constant matrix the reason, by node.
    """
    found: list[ConstantMatrix] = []
    reasons: dict[str, str] = {}
    for value in _weights(model):
        nodes = [node for node in readers_behind(value) if node.op_type in READERS]
        made = _matrix(value, leave)
        if isinstance(made, str):
            reasons |= {node.name or "": made for node in nodes}
        else:
            found.append(replace(made, looked_up=LOOKED_UP in value.metadata_props))
    return found, reasons


def _weights(model: ir.Model) -> list[ir.Value]:
    """The float matrices that products and look-ups read, in the order of first use."""
    seen: dict[ir.Value, None] = {}
    for node in model.graph.all_nodes():
        for index, value in enumerate(node.inputs):
            source = _source(value)
            if source is None or node.op_type not in READERS:
                continue
            if index == (0 if node.op_type == "Gather" else 1):
                seen.setdefault(source)
    return list(seen)


def _source(value: ir.Value | None) -> ir.Value | None:
    """The float matrix behind a value: itself, or what a Transpose turns round."""
    if value is None:
        return None
    made_by = value.producer()
    if made_by is not None and made_by.op_type == "Transpose" and made_by.inputs[0] is not None:
        value = made_by.inputs[0]
    tensor = constant(value) if value.is_initializer() else None
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
        return None
    return value


def readers_behind(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a weight, those behind a Transpose in its place."""
    found = []
    for node in dict.fromkeys(value.consumers()):
        is_turned = node.op_type == "Transpose"
        found += list(dict.fromkeys(node.outputs[0].consumers())) if is_turned else [node]
    return found


def _matrix(value: ir.Value, leave: tuple[str, ...]) -> ConstantMatrix | str:
    """The matrix, or why it cannot be one."""
    readers: list[MatrixReader] = []
    ways: set[bool] = set()
    if value.is_graph_output() or value.is_graph_input():
        return "its weight is an input or an output of the graph"
    for node in dict.fromkeys(value.consumers()):
        turned = node if node.op_type == "Transpose" else None
        if turned is not None and turned.outputs[0].is_graph_output():
            return "its weight is an output of the graph"
        if turned is not None and list(turned.attributes.get_ints("perm", (1, 0))) != [1, 0]:
            return "its weight is read through a Transpose that turns nothing"
        nodes = [node] if turned is None else list(dict.fromkeys(turned.outputs[0].consumers()))
        for reader in nodes:
            read = value if turned is None else turned.outputs[0]
            way = _way(reader, read)
            if isinstance(way, str):
                return way
            ways.add(way == (turned is None))
            readers.append(MatrixReader(reader, turned))
    if len(ways) != 1:
        return "its weight is read by rows and by columns"
    names = [value.name or "", *(reader.node.name or "" for reader in readers)]
    if any(fnmatchcase(name, pattern) for name in names for pattern in leave):
        return "it was left in float as asked"
    return ConstantMatrix(value, ways.pop(), tuple(readers))


def _way(node: ir.Node, value: ir.Value) -> bool | str:
    """Whether a node reads the value as (inputs, outputs), or why it cannot be replaced."""
    where = [index for index, one in enumerate(node.inputs) if one is value]
    if node.op_type == "Gather" and where == [0]:
        if node.attributes.get_int("axis", 0) != 0:
            return "it does not look up rows"
        return False
    if node.op_type not in ("MatMul", "Gemm") or where != [1]:
        return f"its weight is read by {node.op_type} {node.name!r} too, which cannot unpack it"
    if node.op_type == "MatMul":
        return True
    numbers = (node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0))
    turned: int = node.attributes.get_int("transA", 0)
    if numbers != (1.0, 1.0) or turned:
        return "a Gemm with alpha, beta or transA has no packed form"
    transposed: int = node.attributes.get_int("transB", 0)
    return not transposed
