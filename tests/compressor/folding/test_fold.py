"""The folding stage as a whole: what it removes, what it must not touch, and how it checks."""

import re
from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from decoders import decoder, tokens

from compressor.errors import GraphError
from compressor.folding import equal_outputs, fold
from compressor.graph.session import open_session

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model(body: str, opset: int = 18, **arrays: np.ndarray) -> ir.Model:
    """A graph in ONNX text, with those of the arrays that it reads as initializers."""
    read = {name: array for name, array in arrays.items() if re.search(rf"\b{name}\b", body)}
    tensors = [ir.tensor(array, name=name) for name, array in read.items()]
    return ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": {opset}]> {body}', initializers=tensors
    )


def ops(m: ir.Model) -> list[str]:
    return [node.op_type for node in m.graph]


def run(m: ir.Model, **feeds: np.ndarray) -> list[np.ndarray]:
    return open_session(m).run(None, feeds)


class TestConstants:
    def test_slice_bounds_computed_from_constants_become_initializers(self) -> None:
        m = model(
            """g (float[N,4,8,8] x) => (float[N,4,4,4] y) {
              two = Constant<value_ints=[2]>()
              zero = Sub(two, two)
              axes = Constant<value_ints=[2,3]>()
              starts = Concat<axis=0>(zero, zero)
              ends = Constant<value_ints=[9223372036854775807,9223372036854775807]>()
              steps = Concat<axis=0>(two, two)
              y = Slice(x, starts, ends, axes, steps)
            }"""
        )
        folded, record = fold(m, {"x": numbers(2, 4, 8, 8)})
        assert ops(folded) == ["Slice"]
        assert all(value.is_initializer() for value in folded.graph[0].inputs[1:])
        assert record.changed["constants folded"] == 3
        assert record.changed["constant nodes to initializers"] == 3

    def test_a_transposed_weight_is_named_after_its_source(self) -> None:
        m = model(
            """g (float[N,T,4] x) => (float[N,T,6] y) {
              t = Transpose<perm=[1,0]>(fc.weight)
              y = MatMul(x, t)
            }""".replace("fc.weight", "w"),
            w=numbers(6, 4),
        )
        folded, _ = fold(m)
        assert ops(folded) == ["MatMul"]
        assert list(folded.graph.initializers) == ["w_folded"]

    @pytest.mark.parametrize("op", ["RandomNormal<shape=[4]>()", "RandomUniform<shape=[4]>()"])
    def test_random_numbers_stay_random(self, op: str) -> None:
        m = model(f"g (float[N,4] x) => (float[N,4] y) {{ r = {op} y = Add(x, r) }}")
        folded, record = fold(m, {"x": numbers(2, 4)})
        assert ops(folded) == ops(m)
        assert "random" in record.notices[0]

    def test_random_numbers_of_a_constant_stay_random(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,4] y) { r = Bernoulli(p) y = Add(x, r) }",
            p=np.full(4, 0.5, np.float32),
        )
        assert ops(fold(m)[0]) == ["Bernoulli", "Add"]

    def test_large_results_are_not_stored(self) -> None:
        m = model(
            """g (float[N,1] x) => (float[1000,1000] y) {
              s = Constant<value_ints=[1000,1000]>()
              e = Expand(one, s)
              y = Mul(e, x)
            }""",
            one=np.full((1, 1), 2, np.float32),
        )
        folded, _ = fold(m, {"x": numbers(1000, 1)})
        assert "Expand" in ops(folded)

    def test_quantized_weights_stay_quantized(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,6] y) { d = DequantizeLinear(w, s) y = MatMul(x, d) }",
            w=np.ones((4, 6), np.int8),
            s=np.float32(0.5),
        )
        assert ops(fold(m)[0]) == ["DequantizeLinear", "MatMul"]

    def test_an_output_that_is_constant(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,4] y, float[4] z) { y = Relu(x) z = Add(w, w) }",
            w=numbers(4),
        )
        folded, _ = fold(m, {"x": numbers(2, 4)})
        assert [v.name for v in folded.graph.outputs] == ["y", "z"]


class TestNoOps:
    def test_an_epsilon_is_not_zero(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,4] y) "
            "{ n = ReduceSum(x, a) s = Add(n, e) y = Div(x, s) }",
            a=np.array([1]),
            e=np.float32(1e-12),
        )
        folded, _ = fold(m, {"x": np.zeros((2, 4), np.float32)})
        assert ops(folded) == ["ReduceSum", "Add", "Div"]

    @pytest.mark.parametrize("op", ["Mul(x, one)", "Mul(one, x)", "Add(z, x)", "Sub(x, z)"])
    def test_neutral_arithmetic_goes(self, op: str) -> None:
        m = model(
            f"g (float[N,4] x) => (float[N,4] y) {{ h = {op} y = Relu(h) }}",
            one=np.ones(4, np.float32),
            z=np.zeros((1, 1), np.float32),
        )
        assert ops(fold(m, {"x": numbers(2, 4)})[0]) == ["Relu"]

    @pytest.mark.parametrize("op", ["Sub(z, x)", "Mul(x, wide)", "Add(x, z3)", "Div(one, x)"])
    def test_what_changes_sign_shape_or_value_stays(self, op: str) -> None:
        m = model(
            f"g (float[1,1] x) => (float y) {{ h = {op} y = Relu(h) }}",
            one=np.float32(1),
            z=np.float32(0),
            wide=np.ones((4, 4), np.float32),
            z3=np.zeros((1, 1, 1), np.float32),
        )
        m.graph.outputs[0].shape = None
        assert len(ops(fold(m, {"x": np.ones((1, 1), np.float32)})[0])) == 2

    def test_two_clips_of_one_value_keep_their_bounds(self) -> None:
        m = model(
            """g (float[N,4] x) => (float[N,4] y, float[N,4] z) {
              a = Relu(x) y = Clip(a, zero, six) b = Relu(x) z = Clip(b, zero, three)
            }""",
            zero=np.float32(0),
            six=np.float32(6),
            three=np.float32(3),
        )
        x = np.array([[-1, 2, 4, 9]], np.float32)
        folded, record = fold(m, {"x": x})
        assert ops(folded) == ["Clip", "Clip"]
        assert record.changed["Relu and Clip merged"] == 2
        assert record.decisions == ()
        y, z = run(folded, x=x)
        np.testing.assert_array_equal(y, [[0, 2, 4, 6]])
        np.testing.assert_array_equal(z, [[0, 2, 3, 3]])

    def test_zero_padding_goes_into_the_convolution(self) -> None:
        m = model(
            """g (float[N,4,5,5] x) => (float[N,6,7,7] y) {
              p = Pad(x, pads) y = Conv<pads=[1,1,1,1]>(p, w)
            }""",
            pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            w=numbers(6, 4, 3, 3),
        )
        folded, record = fold(m, {"x": numbers(2, 4, 5, 5)})
        assert ops(folded) == ["Conv"]
        assert record.changed["Pad+Conv"] == 1

    def test_padding_of_channels_stays(self) -> None:
        m = model(
            "g (float[N,2,5,5] x) => (float[N,6,3,3] y) { p = Pad(x, pads) y = Conv(p, w) }",
            pads=np.array([0, 1, 0, 0, 0, 1, 0, 0]),
            w=numbers(6, 4, 3, 3),
        )
        assert ops(fold(m, {"x": numbers(2, 2, 5, 5)})[0]) == ["Pad", "Conv"]


class TestPooling:
    @pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
    def test_a_mean_over_space(self, axes: list[int]) -> None:
        m = model(
            "g (float[N,4,5,5] x) => (float[N,4,1,1] y) { y = ReduceMean(x, a) }",
            a=np.array(axes),
        )
        folded, record = fold(m, {"x": numbers(2, 4, 5, 5)})
        assert ops(folded) == ["GlobalAveragePool"]
        assert record.changed["ReduceMean to GlobalAveragePool"] == 1

    def test_a_mean_over_space_that_drops_it(self) -> None:
        m = model(
            "g (float[N,4,5,5] x) => (float[N,4] y) { y = ReduceMean<keepdims=0>(x, a) }",
            a=np.array([-1, -2]),
        )
        folded, _ = fold(m, {"x": numbers(2, 4, 5, 5)})
        assert ops(folded) == ["GlobalAveragePool", "Flatten"]

    def test_a_mean_over_space_before_opset_18(self) -> None:
        m = model(
            "g (float[N,4,5] x) => (float[N,4,1] y) { y = ReduceMean<axes=[2]>(x) }", opset=13
        )
        assert ops(fold(m, {"x": numbers(2, 4, 5)})[0]) == ["GlobalAveragePool"]

    @pytest.mark.parametrize(
        ("axes", "keep", "shape"),
        [([1, 2, 3], 1, "N,1,1,1"), ([3], 1, "N,4,5,1"), ([3], 0, "N,4,5")],
    )
    def test_other_means(self, axes: list[int], keep: int, shape: str) -> None:
        m = model(
            f"g (float[N,4,5,5] x) => (float[{shape}] y) "
            f"{{ y = ReduceMean<keepdims={keep}>(x, a) }}",
            a=np.array(axes),
        )
        assert ops(fold(m, {"x": numbers(2, 4, 5, 5)})[0]) == ["ReduceMean"]


class TestGemm:
    @pytest.mark.parametrize("shape", [(6,), (1, 6)])
    @pytest.mark.parametrize("add", ["Add(h, b)", "Add(b, h)"])
    def test_matmul_and_bias_of_rank_2(self, shape: tuple[int, ...], add: str) -> None:
        m = model(
            f"g (float[N,4] x) => (float[N,6] y) {{ h = MatMul(x, w) y = {add} }}",
            w=numbers(4, 6),
            b=numbers(*shape),
        )
        folded, record = fold(m, {"x": numbers(3, 4)})
        assert ops(folded) == ["Gemm"]
        assert set(folded.graph.initializers) == {"w", "b"}
        assert record.changed["MatMul+Add to Gemm"] == 1

    def test_a_bias_that_enlarges_the_sum_stays(self) -> None:
        m = model(
            "g (float[1,4] x) => (float[3,6] y) { h = MatMul(x, w) y = Add(h, b) }",
            w=numbers(4, 6),
            b=numbers(3, 6),
        )
        assert ops(fold(m, {"x": numbers(1, 4)})[0]) == ["MatMul", "Add"]

    def test_rank_3_stays(self) -> None:
        m = model(
            "g (float[N,T,4] x) => (float[N,T,6] y) { h = MatMul(x, w) y = Add(h, b) }",
            w=numbers(4, 6),
            b=numbers(6),
        )
        assert ops(fold(m, {"x": numbers(2, 3, 4)})[0]) == ["MatMul", "Add"]


class TestEqualValues:
    @pytest.mark.parametrize("dtype", ["FLOAT", "BFLOAT16"])
    def test_equal_weights_and_nodes_become_one(self, dtype: str) -> None:
        kind = ir.DataType[dtype]
        w = numbers(40, 40).astype(kind.numpy())
        text = "bfloat16" if dtype == "BFLOAT16" else "float"
        m = model(
            f"""g ({text}[N,40] x) => ({text}[N,40] y) {{
              a = MatMul(x, w) b = MatMul(x, v) y = Add(a, b)
            }}""",
            w=w,
            v=w.copy(),
        )
        folded, record = fold(m)
        assert ops(folded) == ["MatMul", "Add"]
        assert record.changed["equal initializers merged"] == 1
        assert record.changed["equal nodes merged"] == 1

    def test_a_transposed_view_and_other_shapes_of_the_same_numbers(self) -> None:
        w = numbers(6, 6)
        m = model(
            """g (float[N,6] x) => (float[N,6] y) {
              a = MatMul(x, w) b = MatMul(x, v) c = Add(a, b) y = Add(c, u)
            }""",
            w=w.T,
            v=np.ascontiguousarray(w.T),
            u=np.zeros((6, 6), np.float32)[:1] + w.T[:1],
        )
        folded, record = fold(m, {"x": numbers(2, 6)})
        assert record.changed["equal initializers merged"] == 1
        assert len(folded.graph.initializers) == 2


class TestInterface:
    def test_two_outputs_that_are_one_value_keep_their_names(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Identity(y) }"
        )
        folded, _ = fold(m, {"x": numbers(2, 4)})
        assert [value.name for value in folded.graph.outputs] == ["y", "z"]

    def test_two_equal_nodes_that_are_outputs_keep_their_names(self) -> None:
        m = model("g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Relu(x) }")
        folded, _ = fold(m, {"x": numbers(2, 4)})
        assert [value.name for value in folded.graph.outputs] == ["y", "z"]

    def test_an_input_with_a_default_is_still_overridable(self) -> None:
        m = model(
            "g (float[N,4] x, float k) => (float[N,4] y) { s = Add(k, one) y = Mul(x, s) }",
            k=np.float32(2),
            one=np.float32(1),
        )
        x = numbers(2, 4)
        folded, _ = fold(m, {"x": x})
        np.testing.assert_allclose(run(folded, x=x)[0], 3 * x)
        np.testing.assert_allclose(run(folded, x=x, k=np.array(9, np.float32))[0], 10 * x)

    def test_the_given_model_stays_as_it_is(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,6] y) { h = MatMul(x, w) i = Mul(h, k) y = Add(i, k) }",
            w=numbers(4, 6),
            k=numbers(6),
        )
        before = ir.to_proto(m).SerializeToString()
        fold(m, {"x": numbers(2, 4)})
        assert ir.to_proto(m).SerializeToString() == before

    def test_nothing_to_fold_gives_the_model_itself(self) -> None:
        m = model("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
        folded, record = fold(m)
        assert folded is m
        assert record.changed == {}

    def test_control_flow_keeps_working(self) -> None:
        m = model(
            """g (float[N,4] x, bool c) => (float[N,4] y) {
              y = If (c) <
                then_branch = t () => (float[N,4] a) { h = MatMul(x, w) a = Mul(h, k) },
                else_branch = e () => (float[N,4] b) { b = Identity(x) }
              >
            }""",
            w=numbers(4, 4),
            k=numbers(4),
        )
        folded, _ = fold(m)
        x = numbers(2, 4)
        for c in (True, False):
            feeds = {"x": x, "c": np.array(c)}
            assert equal_outputs(m, folded, feeds, rtol=1e-5).equal

    def test_functions_are_inlined(self) -> None:
        m = ir.from_onnx_text(
            """<ir_version: 8, opset_import: ["": 18, "local": 1]>
            g (float[N,4] x) => (float[N,4] y) { y = local.twice(x) }
            <domain: "local", opset_import: ["": 18]>
            twice (a) => (b) { b = Add(a, a) }"""
        )
        folded, _ = fold(m, {"x": numbers(2, 4)})
        assert ops(folded) == ["Add"]
        assert not folded.functions

    @pytest.mark.parametrize("opset", [9, 11, 13])
    def test_older_opsets(self, opset: int) -> None:
        pad = "Pad<pads=[0,0,1,1,0,0,1,1]>(x)" if opset < 11 else "Pad(x, p)"
        clip = "Clip<min=0.0, max=6.0>(h)" if opset < 11 else "Clip(h, zero, six)"
        extra = {} if opset < 11 else {
            "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "zero": np.float32(0),
            "six": np.float32(6),
        }  # fmt: skip
        m = model(
            f"""g (float[N,4,5,5] x) => (float[N,6,5,5] y) {{
              q = {pad} h = Conv(q, w) c = {clip} r = Relu(c)
              y = BatchNormalization(r, k, k, k, k)
            }}""",
            opset,
            w=numbers(6, 4, 3, 3),
            k=np.abs(numbers(6)) + 1,
            **extra,
        )
        folded, record = fold(m, {"x": numbers(2, 4, 5, 5)})
        assert Counter(ops(folded))["Conv"] == 1
        assert record.decisions == ()


class TestChecking:
    def test_a_step_that_differs_is_left_out_and_said(self) -> None:
        # Upstream merges the two intervals to min 2, max 1, which Clip maps to 1 and not to 2.
        m = model(
            """g (float[N,6] x) => (float[N,6] y) {
              a = Clip(x, zero, one) b = Clip(a, two, three) h = MatMul(b, w) y = Mul(h, k)
            }""",
            zero=np.float32(0),
            one=np.float32(1),
            two=np.float32(2),
            three=np.float32(3),
            w=numbers(6, 6),
            k=numbers(6),
        )
        feeds = {"x": numbers(2, 6)}
        folded, record = fold(m, feeds)
        assert ops(folded) == ["Clip", "Clip", "MatMul"]
        assert record.changed == {"MatMul+Mul": 1}
        (decision,) = record.decisions
        assert decision.verdict == "left out"
        assert "'y' differs" in decision.reason
        assert equal_outputs(m, folded, feeds).equal

    def test_a_broken_model_is_refused(self) -> None:
        m = model("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
        m.graph[0].op_type = "Rleu"
        with pytest.raises(GraphError, match="Rleu"):
            fold(m)

    def test_a_difference_is_measured_against_the_output(self) -> None:
        a = model("g (float[N,2] x) => (float[N,2] y) { y = Mul(x, k) }", k=np.float32(1))
        b = model("g (float[N,2] x) => (float[N,2] y) { y = Mul(x, k) }", k=np.float32(1.01))
        feeds = {"x": np.array([[1, 100]], np.float32)}
        assert equal_outputs(a, b, feeds, rtol=0.011, atol=0).equal
        difference = equal_outputs(a, b, feeds, rtol=0.009, atol=0)
        assert not difference.equal
        assert difference.output == "y"
        assert difference.max_abs == pytest.approx(1.0, abs=1e-4)

    def test_nan_and_infinity_must_be_in_the_same_places(self) -> None:
        def divide(k: float) -> ir.Model:
            return model("g (float[N] x) => (float[N] y) { y = Div(x, k) }", k=np.float32(k))

        feeds = {"x": np.array([0, 1], np.float32)}
        assert equal_outputs(divide(0), divide(0), feeds).equal
        assert equal_outputs(divide(0), divide(1e-30), feeds).max_abs == np.inf

    def test_integers_must_be_identical(self) -> None:
        def top(axis: int) -> ir.Model:
            return model(
                f"g (float[2,2] x) => (int64[2] y) {{ y = ArgMax<axis={axis}, keepdims=0>(x) }}"
            )

        feeds = {"x": np.array([[1, 5], [0, 3]], np.float32)}
        assert equal_outputs(top(1), top(1), feeds).equal
        assert not equal_outputs(top(1), top(0), feeds).equal


class TestReturnedInput:
    def test_a_returned_input_keeps_its_name(self) -> None:
        m = model(
            "g (float[N,4] x) => (float[N,4] x, float[N,4] y) { a = Identity(x) y = Relu(a) }"
        )
        feeds = {"x": numbers(2, 4)}
        folded, record = fold(m, feeds)
        assert ops(folded) == ["Relu"]
        assert [value.name for value in folded.graph.inputs] == ["x"]
        assert [value.name for value in folded.graph.outputs] == ["x", "y"]
        assert not record.decisions
        np.testing.assert_array_equal(run(folded, **feeds)[0], feeds["x"])


class TestBias:
    def test_zeros_are_left_out(self) -> None:
        m = model(
            "g (float[N,4,8,8] x) => (float[N,4,8,8] y) "
            "{ a = Conv(x, w, zeros) b = Relu(a) y = Conv(b, w, ones) }",
            w=numbers(4, 4, 1, 1),
            zeros=np.zeros(4, np.float32),
            ones=np.ones(4, np.float32),
        )
        folded, record = fold(m, {"x": numbers(2, 4, 8, 8)})
        assert [len(node.inputs) for node in folded.graph if node.op_type == "Conv"] == [2, 3]
        assert "zeros" not in folded.graph.initializers
        assert record.changed["bias of zeros removed"] == 1


def test_a_tied_embedding_is_not_stored_twice():
    graph = decoder()
    folded, _ = fold(graph, feeds={"ids": tokens(2)})
    assert set(folded.graph.initializers) == {"table", "up", "b", "down"}
    assert [node.op_type for node in folded.graph].count("Transpose") == 1


@pytest.mark.parametrize("size", [8, 2**15])
def test_weights_are_brought_in_order_whatever_their_size(size: int) -> None:
    """As the gates of recurrent layers are, by exporters that keep torch's order."""
    w = np.arange(4 * size, dtype=np.float32).reshape(4, size)
    graph = model(
        """g (float[n,1] x) => (float[n,m] y) {
            zero = Constant<value_ints=[0]>() one = Constant<value_ints=[1]>()
            two = Constant<value_ints=[2]>() four = Constant<value_ints=[4]>()
            a = Slice(w, zero, one, zero) b = Slice(w, one, two, zero)
            c = Slice(w, two, four, zero)
            d = Concat<axis=0>(c, a, b)
            e, f = Split<axis=0>(d, s)
            g = Concat<axis=0>(f, e)
            h = Unsqueeze(g, zero)
            i = ReduceSum<keepdims=0>(h, zero)
            j = Transpose(i)
            k = ReduceSum<keepdims=1>(j, one)
            l = Transpose(k)
            y = MatMul(x, l)
        }""",
        w=w,
        s=np.array([1, 3], np.int64),
    )
    folded, _ = fold(graph, {"x": np.ones((2, 1), np.float32)})
    left = {node.op_type for node in folded.graph}
    assert not left & {"Slice", "Concat", "Split", "Unsqueeze"}, left
