"""Weights in float16 and bfloat16: which become so, which stay, and what the runtime computes."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from decoders import decoder, tokens
from graphs import model, residual

from compressor.errors import RecipeError
from compressor.graph.cost import parameters
from compressor.graph.files import serialize
from compressor.graph.session import open_session
from compressor.quantization import half
from compressor.quantization.half import choose, halve
from compressor.results.effects import weight_bytes


def outputs(graph: ir.Model, **feeds: np.ndarray) -> np.ndarray:
    return open_session(graph).run(None, feeds)[0]


def with_weight(array: np.ndarray) -> ir.Model:
    graph = model(
        "g (float[n,16] x, float[16,8] w) => (float[n,8] y) { y = MatMul(x, w) }", w=[16, 8]
    )
    graph.graph.initializers["w"].const_value = ir.tensor(array.astype(np.float32), name="w")
    return graph


@pytest.mark.parametrize(("kind", "dtype"), [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16)])
def test_the_runtime_computes_in_float_with_rounded_weights(kind, dtype):
    graph = with_weight(np.random.default_rng(0).standard_normal((16, 8)))
    weight = graph.graph.initializers["w"].const_value.numpy()
    before = serialize(graph)
    made = halve(graph, choose(graph, kind).weights, kind)
    x = np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)
    np.testing.assert_allclose(
        outputs(made, x=x), x @ weight.astype(dtype).astype(np.float32), rtol=1e-5, atol=1e-6
    )
    assert made.graph.outputs[0].dtype == ir.DataType.FLOAT
    assert serialize(graph) == before, "the float graph is not touched"


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_shared_weights_stay_shared_and_the_file_halves(kind):
    graph, ids = decoder(), tokens(3)
    chosen = choose(graph, kind)
    made = halve(graph, chosen.weights, kind)
    assert set(chosen.weights) == {"table", "up", "b", "down"}
    assert weight_bytes(made) == weight_bytes(graph) // 2
    assert parameters(made) == parameters(graph)
    assert sum(node.op_type == "Cast" for node in made.graph) == 4, "the tied weight is stored once"
    expected, found = outputs(graph, ids=ids), outputs(made, ids=ids)
    assert np.abs(found - expected).max() < (2e-3 if kind == "fp16" else 2e-2) * expected.std()


def test_convolutions_gain_too():
    graph = residual()
    made = halve(graph, choose(graph, "fp16").weights, "fp16")
    x = np.random.default_rng(0).standard_normal((2, 32, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(outputs(made, x=x), outputs(graph, x=x), atol=5e-3)
    assert {"b1", "b3"} <= set(made.graph.initializers), "small ones are not worth a Cast"


@pytest.mark.parametrize(
    ("scale", "kind", "why"),
    [(1e5, "fp16", "ends at 6.55e+04"), (1e-7, "fp16", "small"), (1e5, "bf16", None),
     (1e-7, "bf16", None)],
)  # fmt: skip
def test_what_the_range_does_not_hold_stays_float_with_a_reason(scale, kind, why):
    graph = with_weight(scale * np.random.default_rng(0).uniform(0.5, 1, (16, 8)))
    chosen = choose(graph, kind)
    if why is None:
        assert chosen.weights == ("w",)
        return
    assert chosen.weights == ()
    assert chosen.nodes == ()
    (reason,) = chosen.float_reasons.values()
    assert why in reason


def test_a_large_weight_is_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(half, "PART", 48)
    array = np.ones((16, 8))
    assert choose(with_weight(array), "fp16").weights == ("w",)
    array[-1, -1] = 1e5  # the part that is not whole
    (reason,) = choose(with_weight(array), "fp16").float_reasons.values()
    assert "reach 1e+05" in reason


def test_what_is_left_or_was_refused_by_data_stays():
    graph = decoder()
    assert "table" not in choose(graph, "fp16", leave=("tab*",)).weights
    refused = choose(graph, "fp16", refused={"MatMul_1": "too far off"})
    assert "up" not in refused.weights
    assert refused.float_reasons == {"MatMul_1": "too far off"}


def test_a_plan_of_another_graph_is_refused():
    with pytest.raises(RecipeError, match="'up' is no float32 weight"):
        halve(residual(), ["up"], "fp16")
