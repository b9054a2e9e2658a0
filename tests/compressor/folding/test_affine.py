"""Affine operators behind and in front of linear ones: folded when exact, left alone otherwise."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.folding import equal_outputs, fold

RNG = np.random.default_rng(0)


def numbers(*shape: int, dtype: str = "float32", positive: bool = False) -> np.ndarray:
    array = RNG.standard_normal(shape).astype(dtype)
    return (np.abs(array) + 0.5).astype(dtype) if positive else array


def model(body: str, inputs: str, outputs: str = "float[N,K] y", **arrays: np.ndarray) -> ir.Model:
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    text = f'<ir_version: 8, opset_import: ["": 18]> g ({inputs}) => ({outputs}) {{ {body} }}'
    return ir.from_onnx_text(text, initializers=tensors)


def ops(m: ir.Model) -> list[str]:
    return [node.op_type for node in m.graph]


def normalization(channels: int, dtype: str = "float32") -> dict[str, np.ndarray]:
    return {
        "gamma": numbers(channels, dtype=dtype, positive=True),
        "beta": numbers(channels, dtype=dtype),
        "mean": numbers(channels, dtype=dtype),
        "var": numbers(channels, dtype=dtype, positive=True),
    }


BN = "y = BatchNormalization(h, gamma, beta, mean, var)"
CONV_IN = "float[N,4,5,5] x"
CONV_OUT = "float[N,6,H,W] y"


def assert_folds(m: ir.Model, expected: list[str], rule: str, shape: tuple[int, ...]) -> ir.Model:
    feeds = {"x": numbers(*shape)}
    folded, record = fold(m)
    assert ops(folded) == expected
    assert record.changed.get(rule) == 1, record.changed
    assert equal_outputs(m, folded, feeds, rtol=1e-5, atol=1e-6).equal
    return folded


def assert_stays(m: ir.Model, *rules: str) -> ir.Model:
    before = ops(m)
    folded, record = fold(m)
    assert ops(folded) == before
    assert not any("+" in rule for rule in record.changed), record.changed
    return folded


class TestBehind:
    @pytest.mark.parametrize("bias", [False, True])
    def test_batch_normalization_after_conv(self, bias: bool) -> None:
        extra = {"b": numbers(6)} if bias else {}
        m = model(
            f"h = Conv<pads=[1,1,1,1]>(x, w{', b' if bias else ''}) {BN}",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            **extra,
            **normalization(6),
        )
        folded = assert_folds(m, ["Conv"], "Conv+BatchNormalization", (2, 4, 5, 5))
        assert "w" not in folded.graph.initializers
        assert "w_folded" in folded.graph.initializers

    def test_grouped_conv_transpose(self) -> None:
        m = model(
            f"h = ConvTranspose<group=2, strides=[2,2]>(x, w, b) {BN}",
            CONV_IN,
            CONV_OUT,
            w=numbers(4, 3, 3, 3),
            b=numbers(6),
            **normalization(6),
        )
        assert_folds(m, ["ConvTranspose"], "ConvTranspose+BatchNormalization", (2, 4, 5, 5))

    @pytest.mark.parametrize("transposed", [0, 1])
    @pytest.mark.parametrize("bias_shape", [(6,), (1, 6), (1,), ()])
    def test_gemm_with_alpha_and_beta(self, transposed: int, bias_shape: tuple[int, ...]) -> None:
        m = model(
            f"h = Gemm<alpha=0.5, beta=2.0, transB={transposed}>(x, w, b) {BN}",
            "float[N,4] x",
            w=numbers(6, 4) if transposed else numbers(4, 6),
            b=numbers(*bias_shape),
            **normalization(6),
        )
        assert_folds(m, ["Gemm"], "Gemm+BatchNormalization", (3, 4))

    @pytest.mark.parametrize(
        ("op", "k"),
        [
            ("y = Mul(h, k)", (6, 1, 1)),
            ("y = Mul(k, h)", (1, 6, 1, 1)),
            ("y = Add(h, k)", (6, 1, 1)),
            ("y = Sub(k, h)", ()),
            ("y = Sub(h, k)", (1,)),
            ("y = Div(h, k)", (6, 1, 1)),
        ],
    )
    def test_arithmetic_after_conv(self, op: str, k: tuple[int, ...]) -> None:
        m = model(
            f"h = Conv(x, w) {op}",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            k=numbers(*k, positive=True),
        )
        rule = f"Conv+{op.split(' ')[2].split('(', maxsplit=1)[0]}"
        assert_folds(m, ["Conv"], rule, (2, 4, 5, 5))

    def test_layer_scale_after_matmul_and_bias_of_unknown_rank(self) -> None:
        m = model(
            "a = MatMul(x, w) h = Add(b, a) y = Mul(h, k)",
            "float[N,T,4] x",
            "float[N,T,6] y",
            w=numbers(4, 6),
            b=numbers(6),
            k=numbers(6),
        )
        assert_folds(m, ["MatMul", "Add"], "MatMul+Mul", (2, 3, 4))

    def test_a_chain_collapses_and_a_shift_leaves_the_weight_alone(self) -> None:
        m = model(
            "h = Conv(x, w) i = Add(h, k) j = Sub(i, k) y = Add(j, k)",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            k=numbers(6, 1, 1),
        )
        folded, _ = fold(m)
        assert ops(folded) == ["Conv"]
        assert "w" in folded.graph.initializers
        assert equal_outputs(m, folded, {"x": numbers(2, 4, 5, 5)}, atol=1e-6).equal

    def test_one_weight_shared_by_two_convolutions_with_different_norms(self) -> None:
        norms = {f"{k}{i}": v for i in (1, 2) for k, v in normalization(6).items()}
        body = " ".join(
            f"h{i} = Conv(x, w) y{i} = BatchNormalization(h{i}, gamma{i}, beta{i}, mean{i}, var{i})"
            for i in (1, 2)
        )
        m = model(
            f"{body} h3 = Conv(x, w) y = Concat<axis=1>(y1, y2, h3)",
            CONV_IN,
            "float[N,18,H,W] y",
            w=numbers(6, 4, 3, 3),
            **norms,
        )
        folded, record = fold(m)
        assert record.changed["Conv+BatchNormalization"] == 2
        assert ops(folded) == ["Conv", "Conv", "Conv", "Concat"]
        assert equal_outputs(m, folded, {"x": numbers(2, 4, 5, 5)}, atol=1e-6).equal

    def test_a_large_shared_weight_is_not_copied(self) -> None:
        def tied(width: int) -> ir.Model:
            return model(
                "e = Gather(w, ids) h = MatMul(x, w) y = Mul(h, k)",
                "float[N,512] x, int64[N] ids",
                f"float[N,{width}] y, float[N,{width}] e",
                w=numbers(512, width),
                k=np.float32(0.5),
            )

        assert ops(fold(tied(512))[0]) == ["Gather", "MatMul"]
        assert ops(fold(tied(1024))[0]) == ["Gather", "MatMul", "Mul"]

    def test_batch_normalization_after_matmul_of_rank_2(self) -> None:
        m = model(f"h = MatMul(x, w) {BN}", "float[N,4] x", w=numbers(4, 6), **normalization(6))
        assert_folds(m, ["Gemm"], "MatMul+BatchNormalization", (3, 4))

    @pytest.mark.parametrize(
        "op", ["BatchNormalization(x, gamma, beta, mean, var)", "Add(x, beta)"]
    )
    def test_bfloat16(self, op: str) -> None:
        norm = {k: v for k, v in normalization(4).items() if k in op}
        m = model(
            f"h = {op} i = Gemm(h, w) y = Mul(i, k)",
            "bfloat16[N,4] x",
            "bfloat16[N,6] y",
            **{
                k: v.astype(ml_dtypes.bfloat16)
                for k, v in {"w": numbers(4, 6), "k": numbers(6), **norm}.items()
            },
        )
        folded, _ = fold(m)
        assert ops(folded) == ["Gemm"]
        assert folded.graph.initializers["w_folded"].dtype == ir.DataType.BFLOAT16

    def test_half_precision(self) -> None:
        m = model(
            f"h = Conv(x, w) {BN}",
            "float16[N,4,5,5] x",
            "float16[N,6,H,W] y",
            w=numbers(6, 4, 3, 3, dtype="float16"),
            **normalization(6, "float16"),
        )
        folded, record = fold(m)
        assert ops(folded) == ["Conv"]
        assert folded.graph.initializers["w_folded"].dtype == ir.DataType.FLOAT16
        feeds = {"x": numbers(2, 4, 5, 5, dtype="float16")}
        assert equal_outputs(m, folded, feeds, rtol=1e-2).equal
        assert record.changed["Conv+BatchNormalization"] == 1

    def test_the_names_of_nodes_and_outputs_stay(self) -> None:
        m = model(
            f"h = Conv(x, w) {BN}", CONV_IN, CONV_OUT, w=numbers(6, 4, 3, 3), **normalization(6)
        )
        m.graph[0].name = "stem"
        folded, _ = fold(m)
        assert folded.graph[0].name == "stem"
        assert folded.graph.outputs[0].name == "y"


class TestLeftAlone:
    def test_training_mode(self) -> None:
        m = model(
            "h = Conv(x, w) y, rm, rv = BatchNormalization<training_mode=1>(h, gamma, beta, mean, "
            "var)",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            **normalization(6),
        )
        assert_stays(m)

    def test_an_intermediate_output(self) -> None:
        m = model(
            f"h = Conv(x, w) {BN}",
            CONV_IN,
            f"{CONV_OUT}, float[N,6,H,W] h",
            w=numbers(6, 4, 3, 3),
            **normalization(6),
        )
        assert_stays(m)

    def test_another_reader(self) -> None:
        m = model(
            "h = Conv(x, w) i = BatchNormalization(h, gamma, beta, mean, var) y = Add(i, h)",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            **normalization(6),
        )
        assert_stays(m)

    @pytest.mark.parametrize("k", [(6,), (6, 6), (6, 1, 6), (1, 1, 6, 1, 1), (2, 6, 1, 1)], ids=str)
    def test_an_operand_that_is_not_one_number_per_channel(self, k: tuple[int, ...]) -> None:
        m = model(
            "h = Conv(x, w) y = Mul(h, k)",
            "float[N,4,8,8] x",
            "float y",
            w=numbers(6, 4, 3, 3),
            k=numbers(*k),
        )
        m.graph.outputs[0].shape = None
        assert_stays(m)

    def test_one_channel_and_an_operand_that_adds_channels(self) -> None:
        m = model(
            "h = Conv(x, w) y = Mul(h, k)",
            CONV_IN,
            "float[N,6,H,W] y",
            w=numbers(1, 4, 3, 3),
            k=numbers(6, 1, 1),
        )
        assert_stays(m)

    def test_weights_that_a_caller_can_override(self) -> None:
        m = model(
            f"h = Conv(x, w) {BN}",
            f"{CONV_IN}, float[6,4,3,3] w",
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            **normalization(6),
        )
        folded = assert_stays(m)
        assert folded.graph.inputs[1].is_initializer()
        assert folded.graph.inputs[1].const_value is not None

    def test_a_division_by_zero(self) -> None:
        zero = np.zeros((6, 1, 1), np.float32)
        m = model("h = Conv(x, w) y = Div(h, k)", CONV_IN, CONV_OUT, w=numbers(6, 4, 3, 3), k=zero)
        assert_stays(m)

    def test_half_precision_that_would_overflow(self) -> None:
        m = model(
            "h = Conv(x, w) y = Mul(h, k)",
            "float16[N,4,5,5] x",
            "float16[N,6,H,W] y",
            w=np.full((6, 4, 3, 3), 400, np.float16),
            k=np.full((6, 1, 1), 400, np.float16),
        )
        assert_stays(m)

    def test_a_bare_bias_behind_matmul(self) -> None:
        m = model(
            "h = MatMul(x, w) y = Add(h, b)",
            "float[N,T,4] x",
            "float[N,T,6] y",
            w=numbers(4, 6),
            b=numbers(6),
        )
        assert_stays(m)


class TestInFront:
    def test_batch_normalization_before_conv_without_padding(self) -> None:
        m = model(
            "h = BatchNormalization(x, gamma, beta, mean, var) y = Conv<group=2>(h, w, b)",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 2, 3, 3),
            b=numbers(6),
            **normalization(4),
        )
        assert_folds(m, ["Conv"], "BatchNormalization+Conv", (2, 4, 5, 5))

    def test_a_shift_before_a_padded_conv_stays(self) -> None:
        m = model(
            "h = Add(x, k) y = Conv<pads=[1,1,1,1]>(h, w)",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            k=numbers(4, 1, 1),
        )
        assert_stays(m)

    def test_a_scale_before_a_padded_conv_folds(self) -> None:
        m = model(
            "h = Div(x, k) y = Conv<pads=[1,1,1,1]>(h, w)",
            CONV_IN,
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            k=np.float32(255),
        )
        assert_folds(m, ["Conv"], "Div+Conv", (2, 4, 5, 5))

    def test_a_scale_before_a_grouped_conv_transpose(self) -> None:
        m = model(
            "h = Mul(k, x) y = ConvTranspose<group=2>(h, w)",
            CONV_IN,
            CONV_OUT,
            w=numbers(4, 3, 3, 3),
            k=numbers(4, 1, 1),
        )
        assert_folds(m, ["ConvTranspose"], "Mul+ConvTranspose", (2, 4, 5, 5))

    def test_a_shift_before_conv_transpose_stays(self) -> None:
        m = model(
            "h = Sub(x, k) y = ConvTranspose(h, w)",
            CONV_IN,
            CONV_OUT,
            w=numbers(4, 6, 3, 3),
            k=numbers(4, 1, 1),
        )
        assert_stays(m)

    @pytest.mark.parametrize("transposed", [0, 1])
    def test_batch_normalization_before_gemm(self, transposed: int) -> None:
        m = model(
            "h = BatchNormalization(x, gamma, beta, mean, var) "
            f"y = Gemm<alpha=0.5, beta=3.0, transB={transposed}>(h, w, b)",
            "float[N,4] x",
            w=numbers(6, 4) if transposed else numbers(4, 6),
            b=numbers(6),
            **normalization(4),
        )
        assert_folds(m, ["Gemm"], "BatchNormalization+Gemm", (3, 4))

    def test_an_operand_that_gives_the_data_its_channels_stays(self) -> None:
        m = model(
            "h = Mul(x, k) y = Conv(h, w)",
            "float[N,1,5,5] x",
            CONV_OUT,
            w=numbers(6, 4, 3, 3),
            k=numbers(4, 1, 1),
        )
        assert_stays(m)

    def test_a_transposed_left_operand_stays(self) -> None:
        m = model(
            "h = Mul(x, k) y = Gemm<transA=1>(h, w)",
            "float[4,4] x",
            "float[4,6] y",
            w=numbers(4, 6),
            k=numbers(4),
        )
        assert_stays(m)

    def test_between_two_convolutions_the_first_takes_it(self) -> None:
        m = model(
            "g = Conv(x, w) h = BatchNormalization(g, gamma, beta, mean, var) y = Conv(h, v)",
            CONV_IN,
            CONV_OUT,
            w=numbers(4, 4, 3, 3),
            v=numbers(6, 4, 1, 1),
            **normalization(4),
        )
        assert_folds(m, ["Conv", "Conv"], "Conv+BatchNormalization", (2, 4, 5, 5))


@settings(max_examples=40, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 3]),
    per_group=st.integers(1, 3),
    inputs=st.integers(1, 3),
    pad=st.integers(0, 1),
    behind=st.sampled_from(["Mul", "Add", "Sub", "Div"]),
    front=st.sampled_from(["Mul", "Add", "Sub", "Div"]),
    transpose=st.booleans(),
)
def test_folding_never_changes_the_outputs(
    groups: int,
    per_group: int,
    inputs: int,
    pad: int,
    behind: str,
    front: str,
    transpose: bool,
) -> None:
    c_in, c_out = groups * inputs, groups * per_group
    shape = (c_in, per_group, 3, 3) if transpose else (c_out, inputs, 3, 3)
    op = "ConvTranspose" if transpose else "Conv"
    m = model(
        f"h = {front}(x, k) i = {op}<group={groups}, pads=[{pad},{pad},{pad},{pad}]>(h, w) "
        f"y = {behind}(i, l)",
        f"float[N,{c_in},5,5] x",
        "float[N,C,H,W] y",
        w=numbers(*shape),
        k=numbers(c_in, 1, 1, positive=True),
        l=numbers(c_out, 1, 1, positive=True),
    )
    folded, _ = fold(m)
    assert len(folded.graph) < len(m.graph)
    assert equal_outputs(m, folded, {"x": numbers(2, c_in, 5, 5)}, rtol=1e-5, atol=1e-6).equal


def test_a_body_takes_in_nothing_that_is_computed_once_outside() -> None:
    """A Loop would compute it in every turn."""
    m = model(
        "h = MatMul(x, w) y = If(c) <"
        "then_branch = then () => (float[3,6] t) { k = Constant<value_float=2.0>() t = Mul(h, k) },"
        "else_branch = other () => (float[3,6] e) { e = Identity(z) }>",
        "float[3,4] x, bool c, float[3,6] z",
        "float[3,6] y",
        w=numbers(4, 6),
    )
    folded, record = fold(m)
    assert ops(folded) == ["MatMul", "If"]
    assert not any("+" in rule for rule in record.changed), record.changed
