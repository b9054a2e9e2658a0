"""Pairs of 8-bit weights that fit into 16-bit sums, in the order in which kernels sum."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given
from hypothesis import strategies as st

from calibration.scheme import Scheme, dequantize, quantize
from compressor.graph.session import open_session
from compressor.quantization.dynamic import insert_dynamic
from compressor.quantization.pair_sums import LIMIT, limited, partners, summed
from compressor.quantization.static import quantize_static
from compressor.quantization.weights import JUDGED, SHRINK, nearest_integers, weight_params
from compressor.system.hardware import has_int8_dot
from exporters.ort.target import TARGET

PAIRS = Scheme("int8", symmetric=True, per_channel=True, pairs=True)
POLICY = TARGET.policy("avx2")
SHAPES = [
    ((5, 6), 0),
    ((6, 5), 1),
    ((7, 3), 1),
    ((4, 3, 3, 3), 0),
    ((4, 2, 3), 0),
    ((3, 1, 2, 2), 0),
]


def sums(codes: np.ndarray, axis: int) -> np.ndarray:
    """Magnitudes of pairs with one sign."""
    rows = summed(codes, axis).astype(int)
    rows = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2)
    alike = rows.prod(axis=2) > 0
    return np.where(alike, np.abs(rows).sum(axis=2), 0)


def test_channels_are_summed_within_each_tap() -> None:
    weight = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    assert summed(weight, 0)[0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    assert partners(weight.shape, 0).tolist() == [4, 8, 6, 10, 0, 9, 2, 11, 1, 5, 3, 7]
    assert partners((3, 9), 1).tolist() == [1, 0, 2], "the last of an odd number is alone"


@given(st.sampled_from(SHAPES), st.integers(0, 2**32 - 1), st.sampled_from([20.0, 60.0, 300.0]))
def test_only_pairs_that_are_too_large_change_and_as_little_as_can_be(
    shape: tuple[tuple[int, ...], int], seed: int, spread: float
) -> None:
    sizes, axis = shape
    reals = np.random.default_rng(seed).normal(0, spread, sizes).astype(np.float32)
    codes = np.clip(np.rint(reals), -127, 127).astype(np.int8)
    found = limited(codes, reals, axis)
    assert found.dtype == codes.dtype
    assert sums(found, axis).max(initial=0) <= LIMIT
    over = np.repeat(sums(codes, axis) > LIMIT, 2, axis=1)
    before, after = (summed(one, axis)[:, : over.shape[1]].astype(int) for one in (codes, found))
    np.testing.assert_array_equal(before[~over], after[~over])
    assert (before * after >= 0).all(), "no weight changes its sign"
    exact = np.clip(summed(reals, axis), -127, 127)[:, : over.shape[1]]
    for row, pair in zip(*np.nonzero(over[:, ::2]), strict=True):
        u, v = np.abs(exact[row, 2 * pair : 2 * pair + 2])
        best = min((u - q) ** 2 + (v - (LIMIT - q)) ** 2 for q in range(1, LIMIT))
        q, p = np.abs(after[row, 2 * pair : 2 * pair + 2])
        assert (u - q) ** 2 + (v - p) ** 2 <= best + 1e-3


@pytest.mark.parametrize("kind", ["normal", "equal", "one large"])
def test_eight_bits_with_pairs_lose_no_more_than_seven_bits(kind: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(32, 16, 3, 3)).astype(np.float32)
    if kind == "equal":
        weight = np.abs(rng.normal(size=(32, 1, 1, 1)) + 0.01 * weight).astype(np.float32)
    elif kind == "one large":
        weight[:, 0, 0, 0] = 30

    def error(scheme: Scheme) -> float:
        params = weight_params(weight, 0, scheme)
        codes = nearest_integers(weight, params, 0)
        return float(np.square(dequantize(codes, params) - weight).sum())

    seven = Scheme("int8", symmetric=True, per_channel=True, bits=7)
    free = Scheme("int8", symmetric=True, per_channel=True)
    assert error(free) * 0.98 <= error(PAIRS) <= error(seven) * 1.02
    if kind == "normal":
        assert error(PAIRS) < 0.5 * error(seven), "two to three dB of six"


def test_seven_bits_need_no_limit() -> None:
    weight = np.full((2, 8), 1.0, np.float32)
    seven = Scheme("int8", symmetric=True, per_channel=True, bits=7, pairs=True)
    params = weight_params(weight, 0, seven)
    np.testing.assert_array_equal(nearest_integers(weight, params, 0), quantize(weight, params))


@pytest.mark.parametrize(("shape", "axis"), [((4, 512, 3, 3), 0), ((5001, 3), 1)])
@pytest.mark.parametrize("per_channel", [True, False])
def test_scales_without_pairs_are_those_that_earlier_plans_were_made_with(
    shape: tuple[int, ...], axis: int, per_channel: bool
) -> None:
    """A plan keeps integers and no scales: long rows are judged by the same weights as ever."""
    scheme = Scheme("int8", symmetric=True, per_channel=per_channel, bits=7)
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rows = np.moveaxis(weight, axis, 0) if per_channel else weight
    rows = rows.reshape(shape[axis] if per_channel else 1, -1)
    picked = rows[:, :: rows.shape[1] // JUDGED]
    whole = (np.abs(rows).max(axis=1).astype(np.float64) / scheme.qmax).astype(np.float32)

    def lost(ratio: float) -> np.ndarray:
        scale = (whole * np.float32(ratio))[:, None]
        codes = np.clip(np.rint(picked / scale), -scheme.qmax, scheme.qmax).astype(np.float32)
        return np.square(codes * scale - picked).sum(axis=1)

    best = np.argmin([lost(ratio) for ratio in SHRINK], axis=0)
    expected = whole * SHRINK[best].astype(np.float32)
    np.testing.assert_array_equal(
        np.atleast_1d(weight_params(weight, axis, scheme).scale), expected
    )


LAYERS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], str, str]] = {
    "1x1": ("Conv", (8, 5, 5), (6, 8, 1, 1), "", "n,6,5,5"),
    "3x3 of three channels": ("Conv", (3, 6, 6), (6, 3, 3, 3), "", "n,6,4,4"),
    "strided": ("Conv", (5, 6, 6), (6, 5, 2, 2), "strides=[2,2]", "n,6,3,3"),
    "groups": ("Conv", (6, 6, 6), (8, 3, 3, 3), "group=2", "n,8,4,4"),
    "depthwise": ("Conv", (16, 6, 6), (16, 1, 3, 3), "group=16", "n,16,4,4"),
    "1-D": ("Conv", (7, 9), (6, 7, 3), "", "n,6,7"),
    "wide": ("Conv", (600, 3, 3), (16, 600, 3, 3), "", "n,16,1,1"),
    "product": ("MatMul", (1001,), (1001, 20), "", "n,20"),
    "Gemm": ("Gemm", (33,), (20, 33), "transB=1", "n,20"),
}


def layer(name: str) -> tuple[ir.Model, tuple[int, ...]]:
    """A graph of one layer with weights of one sign, and the size of a sample."""
    kind, sample, shape, attributes, output = LAYERS[name]
    taken, weights = (",".join(map(str, sizes)) for sizes in (sample, shape))
    attributes = f"<{attributes}>" if attributes else ""
    made = model(
        f"g (float[n,{taken}] x, float[{weights}] w) => (float[{output}] y)"
        f"{{ y = {kind}{attributes}(x, w) }}",
        w=list(shape),
    )
    numbers = np.random.default_rng(0).uniform(0.2, 1, shape).astype(np.float32)
    made.graph.initializers["w"].const_value = ir.tensor(numbers, name="w")
    made.graph[0].name = "layer"
    return made, sample


def run(graph: ir.Model, x: np.ndarray) -> np.ndarray:
    (found,) = open_session(graph).run(None, {"x": x})
    return np.asarray(found)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", [1, 3])
def test_no_kernel_cuts_a_sum_off(name: str, batch: int) -> None:
    """All inputs at their largest: the integers sum up to what they are."""
    graph, sample = layer(name)
    x = np.ones((batch, *sample), np.float32)
    exact = run(graph, x)
    largest = float(exact.max())
    ranges = {"x": (0.0, 1.0), "y": (0.0, largest)}

    def error(pairs: bool) -> float:
        policy = POLICY.with_schemes(pairs=pairs)
        made = quantize_static(graph, ("layer",), ranges, policy, weight_bits=8)
        return float(np.abs(run(made, x) - exact).max()) / largest

    assert error(pairs=True) < 0.02
    if not has_int8_dot("host") and name != "depthwise":
        assert error(pairs=False) > 0.1, "else nothing needs a limit"


@pytest.mark.parametrize("name", ["product", "Gemm"])
def test_ranges_found_at_run_time_are_summed_in_the_same_order(name: str) -> None:
    graph, sample = layer(name)
    x = np.ones((2, *sample), np.float32)
    exact = run(graph, x)
    insert_dynamic(graph, ["layer"], POLICY)
    assert np.abs(run(graph, x) - exact).max() < 0.02 * exact.max()
