"""Parameters by role, gradients, what is shared, what is rounded, and what is written back."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from compressor.graph.writing import with_weights
from compressor.training.executor import GraphModule
from compressor.training.parity import departure, torch_run, why_not_equal
from compressor.training.roles import find_trained
from compressor.training.types import to_tensor

HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 6)).astype(np.float32)


def with_initializers(text: str, **arrays: np.ndarray) -> ir.Model:
    model = ir.from_onnx_text(HEAD + text)
    for name, array in arrays.items():
        value = next(
            v for node in model.graph for v in node.inputs if v is not None and v.name == name
        )
        value.const_value = ir.tensor(array, name=name)
        value.dtype, value.shape = ir.DataType.from_numpy(array.dtype), ir.Shape(array.shape)
        model.graph.inputs[:] = [v for v in model.graph.inputs if v.name != name]
        model.graph.register_initializer(value)
    return model


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def shared() -> ir.Model:
    return with_initializers(
        "g (float[n,6] x, float[6,6] w, float[6] b, float[3,6] m) => (float[n,6] y) "
        "{ p = MatMul (x, w) q = Add (p, b) r = Relu (q) s = MatMul (r, w) y = Add (s, m) }",
        w=normal(6, 6),
        b=normal(6),
        m=normal(3, 6),
    )


def test_weights_are_told_by_what_reads_them_and_masks_are_none() -> None:
    assert find_trained(shared()).names == ("w", "b")
    left = find_trained(shared(), leave=("b*",))
    assert left.names == ("w",)
    assert left.frozen == {"b": "it was to be left"}


def test_tables_of_embeddings_are_trained_only_where_that_is_asked_for() -> None:
    model = with_initializers(
        "g (int64[n,2] i, float[5,4] t) => (float[n,2,4] y) { y = Gather (t, i) }", t=normal(5, 4)
    )
    assert find_trained(model).names == ()
    assert find_trained(model, embeddings=True).names == ("t",)


def test_a_weight_that_two_nodes_read_is_one_parameter_with_both_gradients() -> None:
    model = shared()
    module = GraphModule(model, find_trained(model).names)
    assert len(list(module.parameters())) == 2
    x = to_tensor(X)
    w, b = (torch.tensor(model.graph.initializers[n].const_value.numpy()) for n in "wb")
    w.requires_grad_(True)
    expected = torch.relu(x @ w + b) @ w
    expected.sum().backward()
    module({"x": x})["y"].sum().backward()
    torch.testing.assert_close(module.trained["w"].grad, w.grad)


def quantized(bits: int) -> tuple[ir.Model, np.ndarray]:
    most = 2 ** (bits - 1) - 1
    codes = RNG.integers(-most, most + 1, (6, 4)).astype(np.int8)
    codes[0, 0] = most
    scale = np.array([0.5, 0.25, 1.0, 0.125], dtype=np.float32)
    model = with_initializers(
        "g (float[n,6] x, int8[6,4] q, float[4] s) => (float[n,4] y) "
        "{ w = DequantizeLinear <axis=1> (q, s) y = MatMul (x, w) }",
        q=codes,
        s=scale,
    )
    return model, codes


def test_integers_are_trained_as_what_they_stand_for_and_come_back_as_integers() -> None:
    model, codes = quantized(4)
    module = GraphModule(model, find_trained(model).names)
    np.testing.assert_array_equal(module.weights()["q"], codes)
    module({"x": to_tensor(X)})["y"].sum().backward()
    gradient = module.trained["q"].grad
    torch.testing.assert_close(gradient, to_tensor(X).sum(0)[:, None].expand(6, 4))
    with torch.no_grad():
        module.trained["q"].add_(100.0)
    assert module.weights()["q"].dtype == np.int8
    assert module.weights()["q"].max() == 7  # four bits stay four bits


def test_written_back_without_training_the_graph_is_the_same() -> None:
    model, _ = quantized(8)
    module = GraphModule(model, find_trained(model).names)
    made = with_weights(model, module.weights())
    for name, value in model.graph.initializers.items():
        other = made.graph.initializers[name].const_value
        assert other is not None
        assert value.const_value is not None
        np.testing.assert_array_equal(value.const_value.numpy(), other.numpy())


def test_a_value_inside_a_range_has_a_gradient_and_one_outside_has_none() -> None:
    model = with_initializers(
        "g (float[n,6] x, float s, uint8 z) => (float[n,6] y) "
        "{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }",
        s=np.array(0.1, np.float32),
        z=np.array(128, np.uint8),
    )
    x = torch.tensor([[0.0, 1.0, 12.0, 13.0, -12.0, -13.0]], requires_grad=True)
    GraphModule(model)({"x": x})["y"].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, 1.0, 1.0, 0.0, 1.0, 0.0]]))


def test_parity_at_two_batch_sizes_and_the_node_that_departs() -> None:
    model = shared()
    model.graph.initializers["m"].const_value = ir.tensor(np.zeros((1, 6), np.float32), name="m")
    why, figures = why_not_equal(model, [{"x": X[:1]}, {"x": X}])
    assert why is None
    assert [one.batch for one in figures] == [1, 3]
    assert all(one.error < 1e-5 for one in figures)
    other = GraphModule(with_weights(model, {"b": np.ones(6, np.float32) * 9}))
    why, _ = why_not_equal(model, [{"x": X}], other)
    assert why is not None
    assert departure(model, {"x": X}, 1e-4) is None


def test_inner_values_can_be_returned_and_others_are_let_go() -> None:
    module = GraphModule(shared(), outputs=["y", "q"])
    found = torch_run(module, {"x": X})
    assert set(found) == {"y", "q"}
    assert found["q"].shape == (3, 6)


@pytest.mark.parametrize(("bits", "zeros"), [(4, False), (4, True), (8, False)])
def test_blocks_of_integers_are_trained_and_packed_again(bits: int, zeros: bool) -> None:
    per, blocks = 8 // bits, 2  # 40 columns in blocks of 32
    packed = RNG.integers(0, 256, (3, blocks, 32 // per)).astype(np.uint8)
    arrays = {"q": packed, "s": np.abs(normal(3 * blocks)) + np.float32(0.1)}
    declared, more = "", ""
    if zeros:
        arrays["z"] = RNG.integers(0, 256, 3).astype(np.uint8)
        declared, more = ", uint8[3] z", ", z"
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>\n'
        f"g (float[n,40] x, uint8[3,2,{32 // per}] q, float[6] s{declared}) => (float[n,3] y) {{ "
        f"y = com.microsoft.MatMulNBits <K=40, N=3, bits={bits}, block_size=32> (x, q, s{more}) }}"
    )
    for value in [v for v in model.graph.inputs if v.name in arrays]:
        value.const_value = ir.tensor(arrays[value.name or ""], name=value.name)
        model.graph.inputs.remove(value)
        model.graph.register_initializer(value)
    trained = find_trained(model).names
    assert trained == ("q",)
    module = GraphModule(model, trained)
    feeds = {"x": normal(2, 40)}
    assert why_not_equal(model, [feeds], module)[0] is None
    np.testing.assert_array_equal(module.weights()["q"], packed)
    module({"x": to_tensor(feeds["x"])})["y"].sum().backward()
    gradient = module.trained["q"].grad
    assert gradient is not None
    torch.testing.assert_close(gradient.flatten(1)[0, :40], to_tensor(feeds["x"]).sum(0))
