"""The spread of channels moves into weights, and the float graph computes the same."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, Verdicts, searching, session_of

from calibration.collect import collect
from calibration.dataset import CalibrationSet
from compressor.graph.session import open_session
from compressor.quantization.bias import restored
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision.channel_spread import cross_layer_equalization, smooth_quant
from compressor.search.precision.ptq_search import PtqSearch

SPREAD = np.geomspace(1, 0.01, 32).astype(np.float32)


def uneven(*, even: bool = False) -> ir.Model:
    """Two convolutions, the first of which writes channels of very different sizes, or not."""
    made = model(
        """g (float[n,32,6,6] x, float[32,32,1,1] w1, float[32,32,3,3] w2) => (float[n,32,6,6] y)
        {
            h = Conv(x, w1)
            r = Relu(h)
            y = Conv<pads=[1,1,1,1]>(r, w2)
        }""",
        w1=[32, 32, 1, 1], w2=[32, 32, 3, 3],
    )  # fmt: skip
    if not even:
        spread(made, "w1", SPREAD[:, None, None, None])
        spread(made, "w2", 1 / SPREAD[None, :, None, None])
    return made


def tokens() -> ir.Model:
    """A product that reads channels of very different sizes, from a norm."""
    made = model(
        """g (float[n,6,32] x, float[32] gain, float[32] shift, float[32,64] w)
            => (float[n,6,64] y)
        {
            h = LayerNormalization(x, gain, shift)
            y = MatMul(h, w)
        }""",
        gain=[32], shift=[32], w=[32, 64],
    )  # fmt: skip
    spread(made, "gain", 20 * SPREAD[::-1])
    return made


def spread(made: ir.Model, name: str, factor: np.ndarray) -> None:
    value = made.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.tensor(
        (value.const_value.numpy() * factor).astype(np.float32), name=name
    )


def inputs(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


X = {"uneven": inputs((16, 32, 6, 6)), "tokens": inputs((16, 6, 32))}


def search(made: ir.Model, data: dict[str, np.ndarray], **known: object) -> PtqSearch:
    recipe = Recipe(quantize=QuantizeOptions(batch=8, cpu="vnni"))
    session = session_of(made, recipe, Clock(), calibration=data)
    return searching(
        session, Verdicts(None), **({"calibrating": session.prepared.calibration} | known)
    )


def assert_same(one: ir.Model, other: ir.Model, data: dict[str, np.ndarray]) -> None:
    before, after = (open_session(made).run(None, data)[0] for made in (one, other))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize(
    ("step", "made", "data", "value", "stage"),
    [
        (cross_layer_equalization, uneven, X["uneven"], "r", "equalize layers"),
        (smooth_quant, tokens, X["tokens"], "h", "smooth activations"),
    ],
    ids=["between layers", "in front of a product"],
)
def test_what_lowers_the_error_is_moved(step, made, data, value, stage):
    found = search(made(), data)
    plan, plain = found.plan, found.start.plain
    step(found)
    assert set(restored(found.plan.smooth)) == {value}
    divisor = restored(found.plan.smooth)[value]
    assert divisor.max() / divisor.min() > 5, "as uneven as the channels"
    assert found.plan.model_copy(update={"smooth": {}}) == plan, "nothing else is decided"
    assert found.start.plan.smooth == found.plan.smooth
    assert found.start.plain is plain, "what ships where nothing is quantized is as it was"
    assert found.graph is found.start.graph is not plain
    assert_same(plain, found.graph, data)
    record = found.start.records[-1]
    assert (record.name, record.changed) == (stage, {"values": 1})


@pytest.mark.parametrize("step", [cross_layer_equalization, smooth_quant])
def test_without_samples_there_is_nothing_to_choose_by(step):
    blind = search(uneven(), X["uneven"], calibrating=None)
    start = blind.start
    step(blind)
    assert blind.start is start
    data = blind.session.prepared.calibration
    assert isinstance(data, CalibrationSet)
    stats = collect(blind.session.prepared.model, ["r"], data)
    known = search(uneven(), X["uneven"], stats=stats)
    start = known.start
    step(known)
    assert known.start is start, "the statistics are of the graph as it is"


def test_what_nothing_gains_by_is_told_and_left_alone():
    found = search(uneven(even=True), X["uneven"])
    graph = found.graph
    cross_layer_equalization(found)
    assert found.graph is graph
    assert found.plan.smooth == {}
    assert found.start.records[-1].decisions[0].verdict == "left alone"


def test_a_second_time_there_is_nothing_left_to_gain():
    found = search(uneven(), X["uneven"])
    cross_layer_equalization(found)
    graph, moved = found.graph, found.plan.smooth
    assert moved
    cross_layer_equalization(found)
    smooth_quant(found)
    assert found.graph is graph
    assert found.plan.smooth == found.start.plan.smooth == moved
