"""Embeddings that are also the weight of a product, stored once as its integers.

    W_q [width, tokens]   int8, a scale for each token
    logits = product(x, W_q)                       row t = scale[t] · W_q[:, t]

A table of rows and the product behind the last norm often hold the same numbers (Press & Wolf 2017,
arXiv 1608.05859). As dynamic INT8 the product stores them as integers of its own; the look-up then
picks columns of those. Tied weights are found by their numbers: exporters and folding write the
table a second time, transposed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, names_beside
from compressor.quantization.weights import channel_axis


def tied_tables(model: ir.Model, products: Collection[str], least: int = 0) -> dict[str, str]:
    """Look-ups whose table a product multiplies with: Gather → product.

    Args:
        model: The float graph.
        products: Names of MatMul and Gemm nodes that could share their integers.
        least: Numbers of a table from which it counts.
    """
    weights: dict[tuple[int, ...], list[ir.Node]] = {}
    for node in model.graph:
        tensor = constant(node.inputs[1]) if node.name in products else None
        if tensor is not None and len(tensor.shape) == 2:
            weights.setdefault(_wide(node, tuple(tensor.shape.numpy())), []).append(node)
    found: dict[str, str] = {}
    for node in model.graph:
        table = _table(node)
        if table is None or table.size < least:
            continue
        for product in weights.get(tuple(table.shape.numpy())[::-1], ()):
            if np.array_equal(table.numpy().T, _oriented(product)):
                found[node.name or ""] = product.name or ""
                break
    return found


def _table(node: ir.Node) -> ir.TensorProtocol | None:
    """The table that rows are looked up in, of a Gather that could pick columns instead."""
    if node.op_type != "Gather" or node.domain != "" or node.attributes.get_int("axis", 0) != 0:
        return None
    tensor, tokens = constant(node.inputs[0]), node.inputs[1]
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 2:
        return None
    return None if tokens is None or tokens.shape is None else tensor


def _wide(product: ir.Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a weight as (inputs, outputs)."""
    return shape if channel_axis(product) else shape[::-1]


def _oriented(product: ir.Node) -> np.ndarray:
    """The weight of a product as (inputs, outputs)."""
    tensor = constant(product.inputs[1])
    assert tensor is not None, "it was looked at"
    array: np.ndarray = tensor.numpy()
    return array if channel_axis(product) else array.T


@dataclass(frozen=True)
class Tables:
    """Look-ups of one graph that will read the integers of a product.

    Attributes:
        model: The graph.
        nodes: The Gather → name of the product.
    """

    model: ir.Model
    nodes: Mapping[ir.Node, str]

    @classmethod
    def of(cls, model: ir.Model, tied: Mapping[str, str]) -> "Tables":
        """Find the nodes, before products are rewritten.

        Raises:
            RecipeError: There is no such look-up, or its table is not the product's weight.
        """
        if not tied:
            return cls(model, {})
        known = tied_tables(model, set(tied.values()))
        nodes = {node.name or "": node for node in model.graph}
        for name, product in tied.items():
            if known.get(name) != product:
                raise RecipeError(
                    f"the plan does not fit the graph: {name!r} looks up nothing that {product!r} "
                    "multiplies with",
                    hint="Replay a plan with the model and the options that it was made with.",
                )
        return cls(model, {nodes[name]: product for name, product in tied.items()})

    def read_from(self, stored: Mapping[str, tuple[ir.Value, ir.Value]]) -> None:
        """Rewrite the look-ups, in place.

        Args:
            stored: Product → its integers (inputs, outputs) and their scales.
        """
        for node, product in self.nodes.items():
            _look_up(self.model.graph, node, *stored[product])


def _look_up(graph: ir.Graph, node: ir.Node, integers: ir.Value, scale: ir.Value) -> None:
    """Gather of columns, tokens in front, times their scales."""
    tokens, name, names = node.inputs[1], node.name or "", names_beside(graph)
    assert tokens is not None, "it was looked at"
    assert tokens.shape is not None, "likewise"
    rank, output = len(tokens.shape), node.outputs[0]

    def made(operator: str, inputs: list[ir.Value], **attributes: int | list[int]) -> ir.Value:
        one = ir.node(operator, inputs, attributes)
        one.name = one.outputs[0].name = names.take(f"{name}_{operator}")
        graph.insert_before(node, one)
        return one.outputs[0]

    columns = made("Gather", [integers, tokens], axis=1)
    rows = made("Transpose", [columns], perm=[*range(1, rank + 1), 0])
    real = made("Cast", [rows], to=int(ir.DataType.FLOAT))
    factor = scale
    if scale.const_value is not None and scale.const_value.size > 1:
        last = add_initializer(graph, names.take(f"{name}_last"), np.array([-1], np.int64))
        factor = made("Unsqueeze", [made("Gather", [scale, tokens], axis=0), last])
    result = made("Mul", [real, factor])
    result.shape, result.type = output.shape, output.type
    ir.convenience.replace_nodes_and_values(graph, node, [node], [], [output], [result])
    last_node = result.producer()
    assert last_node is not None, "it was just made"
    last_node.name = name
