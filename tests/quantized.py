"""Q/DQ graphs as ONNX text: layers that share a few constants, to be put together."""

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

CHANNELS = 32

SHARED: dict[str, npt.NDArray[np.generic]] = {
    "s": np.array(0.1, np.float32),
    "z": np.array(0, np.int8),
    "wq": np.random.default_rng(0).integers(-127, 128, (32, 32, 3, 3)).astype(np.int8),
    "mq": np.random.default_rng(1).integers(-127, 128, (32, 32)).astype(np.int8),
    "wf": np.random.default_rng(2).normal(size=(32, 32, 3, 3)).astype(np.float32),
    "mf": np.random.default_rng(3).normal(size=(32, 32)).astype(np.float32),
    "ws": np.full(CHANNELS, 0.01, np.float32),
    "wz": np.zeros(CHANNELS, np.int8),
    "b": np.zeros(CHANNELS, np.float32),
}
"""Scale and zero point of activations; weights of a convolution and of a product; their scales."""


def graph(
    text: str, *, opset: int = 20, domain: str = "", **tensors: npt.NDArray[np.generic]
) -> ir.Model:
    """A graph in ONNX text; names it reads and does not define come from `tensors` or `SHARED`."""
    domains = f', "{domain}" : 1' if domain else ""
    header = f'<ir_version: 10, opset_import: ["" : {opset}{domains}]>'
    proto = onnx.parser.parse_model(f"{header}\n{text}")
    read = {name for node in proto.graph.node for name in node.input}
    for name, array in {**SHARED, **tensors}.items():
        if name in read and name not in {value.name for value in proto.graph.input}:
            proto.graph.initializer.append(ir.to_proto(ir.tensor(array, name=name)))
    return ir.from_proto(proto)


def images(body: str, *, result: str = "float[1,32,8,8] y") -> str:
    """A graph from x (1, 32, 8, 8)."""
    return f"g (float[1,32,8,8] x) => ({result}) {{\n{body}\n}}"


def rows(body: str, *, count: int | str = 64) -> str:
    """A graph from x (count, 32)."""
    return f"g (float[{count},32] x) => (float[{count},32] y) {{\n{body}\n}}"


def qdq(value: str, result: str, name: str = "") -> str:
    """QuantizeLinear `NAMEq` and DequantizeLinear `NAMEd` of an activation."""
    return (
        f"[{name}q] {result}_q = QuantizeLinear({value}, s, z)\n"
        f"[{name}d] {result} = DequantizeLinear({result}_q, s, z)\n"
    )


def conv(value: str, result: str, name: str = "conv", operator: str = "Conv", axis: int = 0) -> str:
    """An integer convolution: Q/DQ on its input, `NAMEw` on its weight, float bias."""
    return (
        qdq(value, f"{result}_x", name)
        + f"[{name}w] {result}_w = DequantizeLinear<axis={axis}>(wq, ws, wz)\n"
        + f"[{name}] {result} = {operator}<pads=[1,1,1,1]>({result}_x, {result}_w, b)\n"
    )


def product(
    value: str, result: str, name: str = "mm", operator: str = "MatMul", axis: int = 1
) -> str:
    """An integer matrix product: Q/DQ on its input, `NAMEw` on its weight."""
    return (
        qdq(value, f"{result}_x", name)
        + f"[{name}w] {result}_w = DequantizeLinear<axis={axis}>(mq, ws, wz)\n"
        + f"[{name}] {result} = {operator}({result}_x, {result}_w)\n"
    )
