"""Values from node to node over a data set, with what later nodes read kept."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import open_dataset
from calibration.frontier import Frontier
from compressor.graph.session import open_session


def deep(depth: int = 6) -> ir.Model:
    """A chain whose every third value is read again at its end."""
    body = [f"h{i + 1} = Tanh(h{i})" for i in range(depth)]
    sums = [f"s{i} = Add({'h' + str(depth) if i == 0 else 's' + str(i - 3)}, h{i})"
            for i in range(0, depth, 3)]  # fmt: skip
    lines = "\n".join(["h0 = Neg(x)", *body, *sums, f"y = Relu(s{(depth - 1) // 3 * 3})"])
    return model(f"g (float[n,4] x) => (float[n,4] y) {{ {lines} }}")


def arrays(samples: int = 10) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((samples, 4)).astype(np.float32)


@pytest.mark.parametrize("room", [0, 10**6])
def test_values_are_those_of_the_whole_from_wherever_they_are_run(room):
    graph, x = deep(), arrays()
    expected = open_session(graph).run(["y"], {"x": x})[0]
    front = Frontier(graph, open_dataset({"x": x}), batch=4, room=room)
    for node in [one.name for one in graph.graph]:
        front.advance(node)
        found = np.concatenate([one["y"] for one in front.batches(["y"])])
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert list(front.counts()) == [4, 4, 2]


def test_only_what_is_read_ahead_is_known():
    graph = deep()
    front = Frontier(graph, open_dataset({"x": arrays()}), batch=4, room=10**6)
    front.advance(next(node.name for node in graph.graph if node.outputs[0].name == "h5"))
    assert {name for feeds in front.feeds() for name in feeds} == {"h0", "h3", "h4"}
    assert [node.op_type for node in front.part(["h5"]).graph] == ["Tanh"]


def test_another_model_is_run_from_the_same_place():
    graph = deep()
    front = Frontier(graph, open_dataset({"x": arrays()}), batch=4, room=10**6)
    front.advance(next(node.name for node in graph.graph if node.outputs[0].name == "h5"))
    shorter = graph.clone()
    last = next(node for node in shorter.graph if node.outputs[0].name == "h5")
    last.outputs[0].replace_all_uses_with(last.inputs[0])
    expected = open_session(shorter).run(["y"], {"x": arrays()})[0]
    found = np.concatenate([one["y"] for one in front.of(shorter).batches(["y"])])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_integers_are_kept_in_place_of_what_they_stand_for():
    graph = model(
        """g (float[n,4] x) => (float[n,4] y)
        {
            s = Constant<value_float = 0.1>()
            z = Constant<value = uint8 {128}>()
            q = QuantizeLinear(x, s, z)
            d = DequantizeLinear(q, s, z)
            y = Relu(d)
        }"""
    )
    for node in graph.graph:
        for value in node.outputs:
            value.dtype = ir.DataType.UINT8 if value.name in "qz" else ir.DataType.FLOAT
    weights = {"s": np.float32(0.1), "z": np.uint8(128)}
    for node in [one for one in graph.graph if one.op_type == "Constant"]:
        value = node.outputs[0]
        held = ir.Value(name=f"{value.name}_held", const_value=ir.tensor(weights[value.name]))
        graph.graph.register_initializer(held)
        value.replace_all_uses_with(held)
        graph.graph.remove(node, safe=True)
    front = Frontier(graph, open_dataset({"x": arrays()}), batch=4, room=10**6)
    front.advance(next(node.name for node in graph.graph if node.op_type == "Relu"))
    kept = next(iter(front.feeds()))
    assert {name: array.dtype for name, array in kept.items()} == {"q": np.uint8}
    expected = open_session(graph).run(["y"], {"x": arrays()[:4]})[0]
    np.testing.assert_array_equal(next(front.batches(["y"]))["y"], expected)
