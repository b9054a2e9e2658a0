"""A decoder of any size with random weights, written a layer at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

HEADS = 8


class Writer:
    """Appends weights to a file, and has the graph refer to them."""

    def __init__(self, path: Path, seed: int) -> None:
        """Nothing is written yet."""
        self._path, self._rng = path, np.random.default_rng(seed)
        self.weights: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        path.write_bytes(b"")

    def weight(self, name: str, *shape: int, scale: float | None = None) -> ir.Value:
        """Normal numbers of a variance of 1 over the inputs, or ones where the scale is 0."""
        spread = shape[0] ** -0.5 if scale is None else scale
        array = (
            np.ones(shape, np.float32)
            if scale == 0
            else self._rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)
        )
        if array.ndim == 2 and scale is None:  # some inputs count more, as in real models
            array *= np.exp(self._rng.standard_normal((shape[0], 1)) / 2).astype(np.float32)
        offset = self._path.stat().st_size
        with self._path.open("ab") as file:
            array.tofile(file)
        value = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        value.const_value = ir.ExternalTensor(
            self._path.name, offset, array.nbytes, ir.DataType.FLOAT,
            shape=ir.Shape(shape), name=name, base_dir=str(self._path.parent),
        )  # fmt: skip
        self.weights.append(value)
        return value

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        """A small constant, inside the graph."""
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        value.const_value = ir.tensor(array, name=name)
        self.weights.append(value)
        return value

    def node(self, name: str, operator: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """A node; its output."""
        made = ir.node(operator, list(inputs), attributes, name=name)
        made.outputs[0].name = f"{name}_out"
        self.nodes.append(made)
        return made.outputs[0]


def write_decoder(
    path: Path, *, layers: int, width: int, inner: int, vocabulary: int, seed: int = 0
) -> int:
    """Write ids (batch, seq) → logits (batch, seq, vocabulary); the bytes of its weights.

    Layers are those of Llama but for angles of positions: norm, causal attention, norm, SwiGLU.
    """
    data = path.with_name(f"{path.name}.data")
    made = Writer(data, seed)
    ids = ir.val("input_ids", ir.DataType.INT64, ["batch", "seq"])
    x = made.node("embed", "Gather", made.weight("embed.weight", vocabulary, width, scale=1.0), ids)
    shape = made.node("shape", "Shape", ids)
    length = made.node("length", "Gather", shape, made.constant("one", np.array(1, np.int64)))
    square = made.node(
        "square", "Concat",
        *[made.node(f"side{i}", "Unsqueeze", length, made.constant(f"axis{i}", np.array([0])))
          for i in (0, 1)], axis=0,
    )  # fmt: skip
    full = made.node("full", "Expand", made.constant("least", np.array(-1e9, np.float32)), square)
    mask = made.node("mask", "Trilu", full, made.constant("above", np.array(1, np.int64)), upper=1)
    split = made.constant("split", np.array([0, 0, HEADS, width // HEADS]))
    merge = made.constant("merge", np.array([0, 0, width]))
    root = made.constant("root", np.array((width // HEADS) ** -0.5, np.float32))
    for index in range(layers):
        x = _layer(made, f"layer{index}", x, (split, merge, root, mask), width, inner)
    x = _norm(made, "norm", x, width)
    logits = made.node("head", "MatMul", x, made.weight("head.weight", width, vocabulary))
    logits.name, logits.type = "logits", ir.TensorType(ir.DataType.FLOAT)
    logits.shape = ir.Shape(["batch", "seq", vocabulary])
    graph = ir.Graph(
        [ids], [logits], nodes=made.nodes, initializers=made.weights, opset_imports={"": 20}
    )
    ir.save(ir.Model(graph, ir_version=10), path)
    return data.stat().st_size


def _norm(made: Writer, name: str, x: ir.Value, width: int) -> ir.Value:
    return made.node(name, "LayerNormalization", x, made.weight(f"{name}.weight", width, scale=0))


def _layer(
    made: Writer, name: str, x: ir.Value, shared: tuple[ir.Value, ...], width: int, inner: int
) -> ir.Value:
    split, merge, root, mask = shared
    h = _norm(made, f"{name}.norm1", x, width)
    heads = []
    for part in "qkv":
        y = made.node(f"{name}.{part}", "MatMul", h, made.weight(f"{name}.{part}.weight", width, width))  # fmt: skip # noqa: E501
        y = made.node(f"{name}.{part}.split", "Reshape", y, split)
        perm = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
        heads.append(made.node(f"{name}.{part}.heads", "Transpose", y, perm=perm))
    q = made.node(f"{name}.scaled", "Mul", heads[0], root)
    scores = made.node(f"{name}.masked", "Add", made.node(f"{name}.scores", "MatMul", q, heads[1]), mask)  # fmt: skip # noqa: E501
    y = made.node(f"{name}.read", "MatMul", made.node(f"{name}.softmax", "Softmax", scores, axis=-1), heads[2])  # fmt: skip # noqa: E501
    y = made.node(f"{name}.merge", "Reshape", made.node(f"{name}.turn", "Transpose", y, perm=[0, 2, 1, 3]), merge)  # fmt: skip # noqa: E501
    x = made.node(f"{name}.add1", "Add", x, made.node(f"{name}.o", "MatMul", y, made.weight(f"{name}.o.weight", width, width)))  # fmt: skip # noqa: E501
    h = _norm(made, f"{name}.norm2", x, width)
    gate = made.node(f"{name}.gate", "MatMul", h, made.weight(f"{name}.gate.weight", width, inner))
    up = made.node(f"{name}.up", "MatMul", h, made.weight(f"{name}.up.weight", width, inner))
    act = made.node(f"{name}.act", "Mul", gate, made.node(f"{name}.sigmoid", "Sigmoid", gate))
    y = made.node(f"{name}.down", "MatMul", made.node(f"{name}.gated", "Mul", act, up), made.weight(f"{name}.down.weight", inner, width))  # fmt: skip # noqa: E501
    return made.node(f"{name}.add2", "Add", x, y)
