"""Where Q/DQ stands for TensorRT: what the linter says to the quantized graph, and the numbers."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from trt_graphs import attention, feeds_for, quantized, unet

from compressor.quantization.placement import place, quantized_uses, quantized_values, restricted
from compressor.quantization.static import quantize_static
from exporters.lint.trt.rules import RULES
from exporters.trt.graph import is_integer, layers, prepared
from exporters.trt.policy import trt_policy
from exporters.trt.target import TARGET as TRT

POLICY = trt_policy()


@pytest.mark.parametrize("build", [residual, unet, attention])
def test_the_linter_has_nothing_against_it(build: Callable[[], ir.Model]):
    ready = prepared(quantized(build()))
    found = [f for rule in RULES for f in rule(ready) if f.severity != "note"]
    assert found == []
    assert any(is_integer(node) for node in layers(ready))


@pytest.mark.parametrize("build", [residual, unet, attention])
def test_the_numbers_stay_near(build: Callable[[], ir.Model]):
    graph = build()
    feeds = feeds_for(graph)
    with TRT.open(graph) as whole, TRT.open(quantized(graph)) as rounded:
        expected, found = whole.run(feeds)["y"], rounded.run(feeds)["y"]
    assert not np.array_equal(expected, found)
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_the_shortcut_alone_is_quantized_at_a_residual_add():
    graph = residual()
    placed = place(graph, POLICY)
    assert placed.integer == ("Conv_0", "Conv_2", "Add_3", "GlobalAveragePool_5", "Gemm_7")
    values = {value.name: value for value in quantized_values(graph, placed.integer, POLICY)}
    assert set(values) == {"x", "r1", "r2", "f"}, "not what the convolution hands to the Add"
    uses = quantized_uses(values["r1"], set(placed.integer), POLICY)
    assert [(node.name, index) for node, index in uses] == [("Conv_2", 0), ("Add_3", 1)]


def test_of_two_convolutions_the_cheaper_is_the_shortcut():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,1,1] w1, float[32,32,3,3] w2) => (float[n,32,8,8] y)
        { a = Conv(x, w1)
          b = Conv<pads=[1,1,1,1]>(x, w2)
          y = Add(a, b) }""",
        w1=[32, 32, 1, 1], w2=[32, 32, 3, 3],
    )  # fmt: skip
    values = quantized_values(graph, place(graph, POLICY).integer, POLICY)
    assert [value.name for value in values] == ["x", "a"]


def test_without_its_convolution_the_add_is_float_too():
    graph = residual()
    placed = place(graph, POLICY)
    assert restricted(graph, placed.integer, {"Gemm_7"}, POLICY) == ("Gemm_7",)


def test_values_that_a_concat_joins_have_one_scale():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,1,1] w1, float[32,32,1,1] w2, float[32,64,1,1] w3)
             => (float[n,32,8,8] y, float[n,32,8,8] z)
        { a = Conv(x, w1)
          b = Conv(a, w2)
          c = Concat<axis=1>(a, b)
          y = Conv(c, w3)
          z = Relu(b) }""",
        w1=[32, 32, 1, 1], w2=[32, 32, 1, 1], w3=[32, 64, 1, 1],
    )  # fmt: skip
    integer = place(graph, POLICY).integer
    ranges = {"x": (-1.0, 1.0), "a": (-1.0, 1.0), "c": (-3.0, 3.0)}
    result = quantize_static(graph, integer, ranges, POLICY, weight_bits=8)
    scales = {
        node.inputs[0].name: node.inputs[1].const_value.numpy()
        for node in result.graph
        if node.op_type == "QuantizeLinear"
    }
    assert scales["a"] == scales["c"] == np.float32(3 / 127)
    assert scales["x"] == np.float32(1 / 127)


@pytest.mark.parametrize(
    ("body", "weight", "words"),
    [
        ("y = Conv(x, w)", [32, 8, 1, 1], "8 channels in and 32 out"),
        ("y = Conv(x, w)", [8, 32, 1, 1], "32 channels in and 8 out"),
        ("y = MatMul(x, w)", [32, 1], "matrix-vector"),
        ("y = ConvTranspose<group=2>(x, w)", [32, 16, 1, 1], "of all groups"),
    ],
)
def test_what_does_not_pay_stays_float_with_a_reason(body: str, weight: list[int], words: str):
    channels = weight[1] if body.startswith("y = Conv(") else 32
    size = f"n,{channels},8,8" if len(weight) == 4 else "n,32"
    rank = ",".join(map(str, weight))
    graph = model(f"g (float[{size}] x, float[{rank}] w) => (y) {{ {body} }}", w=weight)
    placed = place(graph, POLICY)
    assert placed.integer == ()
    assert words in next(iter(placed.float_reasons.values()))


def test_a_product_of_two_activations_is_left_to_the_compiler():
    placed = place(attention(), POLICY)
    assert placed.integer == ("MatMul_1", "MatMul_2", "MatMul_3")


def test_nothing_is_quantized_on_its_way_out():
    result = quantized(residual())
    assert result.graph.outputs[0].producer().op_type == "Gemm"


def test_a_transposed_convolution_has_its_scales_along_axis_1():
    result = quantized(unet())
    weight = next(n for n in result.graph if n.op_type == "ConvTranspose").inputs[1].producer()
    assert weight.attributes.get_int("axis") == 1
    assert weight.inputs[1].const_value.shape.numpy() == (16,)
