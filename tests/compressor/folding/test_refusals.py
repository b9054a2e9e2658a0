"""A rule that does not fire says why: the reason that applies, not the same for all."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
import pytest
from onnxscript.rewriter import MatchingTracer, MatchStatus, RewriteRule, RewriteRuleSet

from compressor.folding import affine_after, affine_before, gemm, no_ops, pooling
from compressor.graph.chatter import silenced

W = np.ones((6, 4, 3, 3), np.float32)
MATRIX = np.ones((4, 6), np.float32)
NORM = {name: np.ones(6, np.float32) for name in ("gamma", "beta", "mean", "var")}
IMAGE = "float[N,4,5,5] x"


def reasons(rules: Iterable[RewriteRule], text: str, **arrays: np.ndarray) -> set[str]:
    """What the rules say of a graph whose nodes they match and then leave."""
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    model = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["": 18]> g {text}', initializers=tensors
    )
    tracer = MatchingTracer()
    with silenced():
        RewriteRuleSet(list(rules)).apply_to_model(model, tracer=tracer)
    return {
        match.match_result.reason
        for matches in tracer.best_matches_map.values()
        for match in matches
        if match.status != MatchStatus.NO_MATCH and not match.match_result
    }


@pytest.mark.parametrize(
    ("text", "arrays", "reason"),
    [
        (
            f"({IMAGE}, float[6,4,3,3] v) => (float y) {{ h = Conv(x, v) y = Mul(h, k) }}",
            {"k": np.float32(2)},
            "the weight is not a constant",
        ),
        (
            f"({IMAGE}, float[6] b) => (float y) {{ h = Conv(x, w, b) y = Mul(h, k) }}",
            {"w": W, "k": np.float32(2)},
            "the bias is not a constant",
        ),
        (
            f"({IMAGE}) => (float y) {{ h = Conv(x, w) y = Mul(h, k) }}",
            {"w": W, "k": np.ones((6, 3, 3), np.float32)},
            "the constant is not one number per channel",
        ),
        (
            f"({IMAGE}, float[6,1,1] k) => (float y) {{ h = Conv(x, w) y = Mul(k, h) }}",
            {"w": W},
            "not one operand is a constant, and the other data",
        ),
        (
            f"({IMAGE}) => (float y) {{ h = Conv(x, w) y, m, v = BatchNormalization"
            "<training_mode=1>(h, gamma, beta, mean, var) }",
            {"w": W, **NORM},
            "BatchNormalization is in training mode",
        ),
        (
            "(float[N,T,4] x) => (float y) { h = MatMul(x, w) y = Add(h, k) }",
            {"w": MATRIX, "k": np.ones(6, np.float32)},
            "a bias behind MatMul stays an Add",
        ),
        (
            "(float16[N,4,5,5] x) => (float16 y) { h = Conv(x, w) y = Mul(h, k) }",
            {"w": np.full(W.shape, 400, np.float16), "k": np.float16(400)},
            "the folded numbers overflow their type",
        ),
    ],
)
def test_an_affine_operator_behind_a_linear_one(
    text: str, arrays: dict[str, np.ndarray], reason: str
) -> None:
    assert reasons(affine_after.rules(), text, **arrays) == {reason}


@pytest.mark.parametrize(
    ("body", "arrays", "reason"),
    [
        (
            "h = Add(x, k) y = Conv<pads=[1,1,1,1]>(h, w)",
            {"w": W, "k": np.float32(1)},
            "outputs at the border see less of a shift",
        ),
        (
            "h = Mul(x, k) y = Conv(h, w)",
            {"w": np.ones((6, 8, 3, 3), np.float32), "k": np.float32(2)},
            "the constant may give the data its rank or its channels",
        ),
        (
            "h = Mul(x, k) y = Gemm<transA=1>(h, w)",
            {"w": MATRIX, "k": np.float32(2)},
            "Gemm transposes its left operand",
        ),
    ],
)
def test_an_affine_operator_in_front_of_a_linear_one(
    body: str, arrays: dict[str, np.ndarray], reason: str
) -> None:
    found = reasons(affine_before.rules(), f"({IMAGE}) => (float y) {{ {body} }}", **arrays)
    assert reason in found


def test_a_product_of_rank_3_is_no_gemm() -> None:
    text = "(float[N,T,4] x) => (float y) { h = MatMul(x, w) y = Add(h, b) }"
    assert reasons(gemm.rules(), text, w=MATRIX, b=np.ones(6, np.float32)) == {"x is not of rank 2"}


def test_a_constant_that_is_not_neutral_and_one_that_enlarges() -> None:
    text = "(float[N,1] x) => (float y) { h = Mul(x, two) y = Add(h, wide) }"
    found = reasons(no_ops.rules(), text, two=np.float32(2), wide=np.zeros((1, 3), np.float32))
    assert "the constant is not 1 throughout" in found
    assert "the constant may enlarge the data" in found


@pytest.mark.parametrize(
    ("declared", "axes", "reason"),
    [
        ("float[N,4,5,5]", [1, 2], "the axes [1, 2] are not those of space"),
        ("float[N,4]", [1], "data of rank 2 have no space behind their channels"),
        ("int32[N,4,5,5]", [2, 3], "the data are INT32"),
    ],
)
def test_a_mean_that_is_no_pooling(declared: str, axes: list[int], reason: str) -> None:
    text = f"({declared} x) => (float y) {{ y = ReduceMean(x, a) }}"
    assert reasons(pooling.rules(), text, a=np.array(axes)) == {reason}


def test_a_rule_keeps_nothing_of_what_it_checked() -> None:
    """One rule at two places gives what two rules give."""
    for rules in (affine_after, affine_before, gemm, no_ops, pooling):
        for rule in rules.rules():
            owner = rule._condition_function.__self__
            assert not any(isinstance(v, ir.Value | ir.Node) for v in vars(owner).values())
