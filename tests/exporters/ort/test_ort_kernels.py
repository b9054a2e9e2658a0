"""What the policy treats as integer, against the runtime, operator by operator.

Each operator runs between DequantizeLinear and QuantizeLinear over the attributes that it has, once
by whatever integer kernel the runtime has for it and once in float, and every element must be the
same integer, one off at most. What is not must be what the policy leaves in float, and no more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import onnx_ir as ir
import pytest

from compressor.errors import GraphError
from compressor.graph.session import open_session
from exporters.ort.target import TARGET, why_not_integer

POLICY = TARGET.policy("vnni")
IMAGE = (1, 3, 9, 10)
UINT8 = ir.DataType.UINT8


@dataclass(frozen=True)
class Case:
    """An operator with attributes, shapes of what it reads, and constants behind those."""

    operator: str
    attributes: dict[str, object] = field(default_factory=dict)
    shapes: Sequence[tuple[int, ...]] = (IMAGE,)
    constants: Sequence[np.ndarray | None] = ()
    outputs: int = 1
    opset: int = 20
    zero: int = 128
    out: tuple[float, int] | None = None

    @property
    def name(self) -> str:
        told = [f"{key}={value}" for key, value in self.attributes.items()]
        told += ["x".join(map(str, shape)) for shape in self.shapes if shape != IMAGE]
        return f"{self.operator}-{self.opset}-{','.join(told)}"


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def pools() -> Iterator[Case]:
    for pads, strides, ceil, opset in product(
        ([0] * 4, [1, 1, 1, 1], [0, 0, 1, 1]), ([1, 1], [2, 2]), (0, 1), (13, 20)
    ):
        common = {"kernel_shape": [3, 3], "pads": pads, "strides": strides, "ceil_mode": ceil}
        for inside in (0, 1):
            yield Case("AveragePool", common | {"count_include_pad": inside}, opset=opset)
        for dilations in ([1, 1], [2, 2]):
            if opset > 18:
                yield Case("AveragePool", common | {"dilations": dilations}, opset=opset)
            yield Case("MaxPool", common | {"dilations": dilations}, opset=opset)
        yield Case("MaxPool", common | {"storage_order": 1}, outputs=2, opset=opset)
    for operator, auto in product(("AveragePool", "MaxPool"), ("SAME_UPPER", "SAME_LOWER")):
        yield Case(operator, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": auto})
    for shape in ((1, 3, 9), (1, 3, 4, 5, 6)):
        kernel = {"kernel_shape": [2] * (len(shape) - 2)}
        yield Case("AveragePool", kernel, (shape,))
        yield Case("MaxPool", kernel, (shape,))
        yield Case("GlobalAveragePool", {}, (shape,))
    yield Case("GlobalAveragePool", out=(0.03, 100))


def arithmetic() -> Iterator[Case]:
    for operator in ("Add", "Mul"):
        for other in (IMAGE, (1, 3, 1, 1), (10,), ()):
            yield Case(operator, shapes=(IMAGE, other))
        yield Case(operator, shapes=(IMAGE, IMAGE), out=(0.2, 120))
    for axis in (0, 1, -1):
        yield Case("Concat", {"axis": axis}, (IMAGE, IMAGE, IMAGE))
        yield Case("Concat", {"axis": axis}, (IMAGE, IMAGE), out=(0.08, 100))
    for alpha in (0.0, 0.01, 0.3, 1.0):
        yield Case("LeakyRelu", {"alpha": alpha})
        yield Case("LeakyRelu", {"alpha": alpha}, out=(0.03, 40))
    yield Case("LeakyRelu")
    yield Case("Sigmoid", out=(1 / 255, 0))
    yield Case("Relu", zero=0)
    bounds = [np.array(0, np.float32), np.array(6, np.float32)]
    yield Case("Clip", constants=bounds, zero=0)
    yield Case("Clip", constants=[bounds[0], np.array(3, np.float32)], zero=0)


def movers() -> Iterator[Case]:
    coordinates = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for mode, place in product(("nearest", "linear", "cubic"), coordinates):
        attributes = {"mode": mode, "coordinate_transformation_mode": place}
        for factor in (2.0, 0.6):
            scales = np.array([1, 1, factor, factor], np.float32)
            yield Case("Resize", attributes, constants=[None, scales])
    for nearest in ("round_prefer_ceil", "floor", "ceil"):
        scales = np.array([1, 1, 1.7, 0.7], np.float32)
        yield Case("Resize", {"nearest_mode": nearest}, constants=[None, scales])
    for mode in ("constant", "reflect", "edge", "wrap"):
        for pads in (ints(0, 0, 1, 2, 0, 0, 2, 1), ints(0, 0, -1, 2, 0, 0, 2, -1)):
            yield Case("Pad", {"mode": mode}, constants=[pads])
    yield Case("Pad", constants=[ints(0, 0, 1, 1, 0, 0, 1, 1), np.array(1.5, np.float32)])
    yield Case("Pad", constants=[ints(1, 2, 2, 1), np.array(1.5, np.float32), ints(2, 3)])
    yield Case("Slice", constants=[ints(1, -1), ints(8, -9), ints(2, 3), ints(2, -2)])
    yield Case("Split", {"axis": 1}, constants=[ints(1, 2)], outputs=2)
    yield Case("Split", {"axis": -1, "num_outputs": 2}, shapes=((1, 4, 5, 5),), outputs=2)
    yield Case("Gather", {"axis": 1}, constants=[ints(2, 0, -1)])
    yield Case("Gather", {"axis": 2}, constants=[np.array(-1)])
    yield Case("Reshape", constants=[ints(0, -1)])
    yield Case("Transpose", {"perm": [0, 2, 3, 1]})
    for mode in ("DCR", "CRD"):
        yield Case("DepthToSpace", {"blocksize": 2, "mode": mode}, ((1, 12, 5, 6),))
    yield Case("Flatten", {"axis": 2})
    yield Case("Squeeze", shapes=((1, 3, 1, 4),), constants=[ints(0, 2)])
    yield Case("Unsqueeze", shapes=((3, 4),), constants=[ints(0, 2)])
    yield Case("Tile", constants=[ints(1, 2, 1, 3)])
    yield Case("Expand", shapes=((1, 3, 1, 4),), constants=[ints(2, 3, 5, 4)])


CASES = [*pools(), *arithmetic(), *movers()]


def graph(case: Case) -> ir.Model:
    """Integers → DequantizeLinear → the operator → QuantizeLinear."""
    made = ir.Graph([], [], nodes=[], opset_imports={"": case.opset}, name="one")

    def constant(name: str, array: np.ndarray) -> ir.Value:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), const_value=tensor)
        value.shape = ir.Shape(array.shape)
        made.register_initializer(value)
        return value

    def append(node: ir.Node, name: str) -> ir.Node:
        for index, value in enumerate(node.outputs):
            value.name = f"{name}{index}"
        made.append(node)
        return node

    def parameters(name: str, scale: float, zero: int) -> list[ir.Value]:
        return [
            constant(f"{name}_scale", np.array(scale, np.float32)),
            constant(f"{name}_zero", np.array(zero, np.uint8)),
        ]

    read: list[ir.Value | None] = []
    for index, shape in enumerate(case.shapes):
        value = ir.Value(name=f"q{index}", shape=ir.Shape(shape), type=ir.TensorType(UINT8))
        made.inputs.append(value)
        own = parameters(f"x{index}", 0.05, case.zero)
        read.append(append(ir.node("DequantizeLinear", [value, *own]), f"x{index}_").outputs[0])
    read += [None if a is None else constant(f"c{i}", a) for i, a in enumerate(case.constants)]
    node = ir.node(case.operator, read, case.attributes, num_outputs=case.outputs, name="node")
    append(node, "y")
    scale, zero = case.out or (0.05, case.zero)
    own = parameters("y", scale, zero)
    for index, value in enumerate(node.outputs):
        if case.operator == "MaxPool" and index:
            value.type = ir.TensorType(ir.DataType.INT64)
            made.outputs.append(value)
            continue
        quantized = append(ir.node("QuantizeLinear", [value, *own]), f"z{index}_").outputs[0]
        quantized.type = ir.TensorType(UINT8)
        made.outputs.append(quantized)
    return ir.Model(made, ir_version=9)


def runs(case: Case, *, integers: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    feeds = {
        f"q{i}": np.asarray(rng.integers(0, 256, shape)).astype(np.uint8)
        for i, shape in enumerate(case.shapes)
    }
    return open_session(graph(case), integers=integers).run(None, feeds)


def disagrees(case: Case) -> bool:
    """Whether the runtime refuses the graph with integers, or computes something else."""
    expected = runs(case, integers=False)
    try:
        found = runs(case, integers=True)
    except GraphError:
        return True
    pairs = zip(expected, found, strict=True)
    return any(a.shape != b.shape or np.abs(a.astype(int) - b).max(initial=0) > 1 for a, b in pairs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_integers_are_those_of_float_or_the_policy_says_so(case: Case) -> None:
    node = ir.node(case.operator, [], case.attributes, num_outputs=case.outputs)
    for value in node.outputs:
        value.name = "written"
    refused = why_not_integer(node) is not None
    is_of_ones = case.attributes.get("dilations") == [1, 1] and case.operator == "AveragePool"
    if case.operator == "MaxPool" and case.outputs > 1:
        assert refused, "a kernel with indices stays float, and right"
    elif is_of_ones:
        assert disagrees(case), "the attribute is dropped where Q/DQ is inserted"
    else:
        assert disagrees(case) == refused


def test_every_operator_of_the_policy_is_held_against_the_runtime() -> None:
    held = {case.operator for case in CASES}
    assert held >= POLICY.elementwise | POLICY.passthrough | POLICY.absorbed
