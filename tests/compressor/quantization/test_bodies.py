"""Weights that bodies of control flow read: stored as integers, halved, multiplied as integers."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor.graph.names import make_unique
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes
from compressor.quantization import half, weight_only
from compressor.quantization.dynamic import insert_dynamic, place_dynamic
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.quantization.storing import store
from compressor.quantization.weight_only import StoringOptions
from exporters.ort.target import TARGET

POLICY = TARGET.policy("avx2")


def merged() -> ir.Model:
    """Two bodies that share a weight and a table; one of them multiplies a value from outside."""
    made = model(
        """g (int64[n,s] i, bool flag, float[64,32] table, float[32,64] w1, float[64,32] w2)
            => (float[n,s,32] y)
        <float[n,s,32] x>
        {
            x = Gather(table, i)
            y = If (flag) <
                then_branch = t () => (float[n,s,32] tz) {
                    ta = MatMul(x, w1) tb = Relu(ta) tz = MatMul(tb, w2)
                },
                else_branch = e () => (float[n,s,32] ez) {
                    ex = Gather(table, i) ea = MatMul(ex, w1) eb = Tanh(ea) ez = MatMul(eb, w2)
                }>
        }""",
        table=[64, 32], w1=[32, 64], w2=[64, 32],
    )  # fmt: skip
    make_unique(made)
    return infer_shapes(made)


def ratio(made: ir.Model) -> float:
    """Signal to noise over both branches, in dB."""
    indices = np.random.default_rng(0).integers(0, 64, (4, 3))
    expected, found = [], []
    for flag in (True, False):
        feeds = {"i": indices, "flag": np.array(flag)}
        expected += open_session(merged()).run(None, feeds)
        found += open_session(made).run(None, feeds)
    a, b = np.concatenate(expected), np.concatenate(found)
    return float(10 * np.log10(np.square(a).sum() / np.square(a - b).sum()))


def operators(made: ir.Model) -> list[str]:
    return [node.op_type for node in made.graph.all_nodes()]


@pytest.mark.parametrize(("bits", "least"), [(4, 12.0), (8, 38.0)])
def test_matrices_are_stored_once_for_all_bodies(bits: int, least: float) -> None:
    chosen = weight_only.choose(merged(), None, StoringOptions(bits, table_bits=bits))
    assert set(chosen.forms) == {"table", "w1", "w2"}
    assert not chosen.float_reasons
    made = store(merged(), chosen.forms, chosen.packed, accuracy_level=1)
    assert operators(made).count("MatMulNBits") == 4
    assert operators(made).count("GatherBlockQuantized") == 2
    assert not set(made.graph.initializers) & {"table", "w1", "w2"}
    assert ratio(made) > least


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_weights_are_halved(kind: half.Kind) -> None:
    chosen = half.choose(merged(), kind)
    assert set(chosen.weights) == {"table", "w1", "w2"}
    assert ratio(half.halve(merged(), chosen.weights, kind)) > 40


def test_products_find_their_ranges_at_run_time() -> None:
    placed = place_dynamic(merged(), POLICY)
    assert len(placed.integer) == 4
    made = merged()
    insert_dynamic(made, placed.integer, POLICY)
    assert operators(made).count("MatMulInteger") == 4
    assert operators(made).count("DynamicQuantizeLinear") == 4, "no body sees what others made"
    assert ratio(made) > 30


def test_calibration_leaves_bodies_to_the_run_time() -> None:
    values = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    graph = model(
        """g (float[n,4] x, float[4,4] w, bool[1] b) => (float[n,4] y) {
            a = MatMul(x, w)
            c = ReduceSum<keepdims=0>(a)
            z = Constant<value_float=0.0>()
            d = Greater(c, z)
            y = If (d) <then_branch = t () => (float[n,4] u) { u = MatMul(a, w) },
                        else_branch = e () => (float[n,4] v) { v = Neg(a) }>
        }""",
        w=[4, 4],
    )
    graph.graph.inputs.pop()
    make_unique(graph)
    data = open_dataset({"x": values})
    chosen = calibrate(infer_shapes(graph), data, POLICY, CalibrationOptions("minmax"))
    inside = [n.name for n in graph.graph.all_nodes() if n.graph is not graph.graph]
    assert [name for name in chosen.dynamic if name in inside] == [
        n.name for n in graph.graph.all_nodes() if n.name in inside and n.op_type == "MatMul"
    ]
