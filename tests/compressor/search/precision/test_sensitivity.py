"""The error at the outputs, whatever they hold, and what each region costs of it alone."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import TARGET, Clock, Told, images, session_of

from compressor.graph.session import open_session
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.quantization.placement import place, quantized_values
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision.regions import FLOAT, STATIC, Mix, mixed
from compressor.search.precision.sensitivity import damages, noise, output_energies, told
from compressor.search.session import Session

ROWS = {"x": np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32)}
COARSE = GraphPlan(
    graph="", baseline="captured", ship="int8", cpu="avx2", weight_bits=7, dynamic=("MatMul_0",)
)
"""A product as integer, which moves what it writes a little."""


def product(outputs: str, rest: str) -> ir.Model:
    return model(
        f"g (float[n,64] x, float[64,16] w) => ({outputs}) {{ h = MatMul(x, w) {rest} }}",
        w=[64, 16],
    )


def session(made: ir.Model, data: dict[str, np.ndarray], progress: Told | None = None) -> Session:
    recipe = Recipe(quantize=QuantizeOptions(cpu="avx2", batch=4))
    return session_of(made, recipe, Clock(), calibration=data, progress=progress or Told())


def energies(made: ir.Model, plan: GraphPlan = COARSE) -> tuple[np.ndarray, list[Any], list[Any]]:
    """What is found in calls of four rows, and the first outputs of both in those."""
    start = session(made, ROWS)
    graph, data = start.prepared.model, start.prepared.calibration
    assert data is not None
    with TARGET.open(graph, threads=1) as original:
        found = output_energies(start, graph, original, plan, data)
    before, after = (
        [open_session(one).run(None, {"x": ROWS["x"][at : at + 4]})[0] for at in (0, 4, 8)]
        for one in (graph, realize(graph, plan, TARGET))
    )
    return found, before, after


def test_energy_of_each_sample():
    found, before, after = energies(product("float[n,16] y", "y = Tanh(h)"))
    one, other = (np.concatenate(part).astype(np.float64) for part in (before, after))
    assert (one != other).any()
    np.testing.assert_allclose(found[:, 0], np.square(one).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], np.square(one - other).sum(axis=1), rtol=1e-6)


def test_float_has_no_error():
    float_plan = COARSE.model_copy(update={"ship": "float", "dynamic": ()})
    found, _, _ = energies(product("float[n,16] y", "y = Tanh(h)"), float_plan)
    assert (found[:, 1] == 0).all()
    assert noise(found) == 0.0


def test_decisions_err_where_they_differ():
    made = product(
        "int64[n,16] y", "s = Constant<value_float=5.0>() m = Mul(h, s) y = Cast<to=7>(m)"
    )
    found, before, after = energies(made)
    differ = [int((one != other).sum()) for one, other in zip(before, after, strict=True)]
    assert sum(differ) > 0
    np.testing.assert_allclose(found, [[64, differ[0]], [64, differ[1]], [32, differ[2]]])


def test_rows_that_one_lacks_are_errors():
    made = product(
        "float[k] y", "c = Constant<value_float=0.3>() g = Greater(h, c) y = Compress(h, g)"
    )
    found, before, after = energies(made)
    assert any(len(one) != len(other) for one, other in zip(before, after, strict=True))
    for row, one, other in zip(found, before, after, strict=True):
        both = min(len(one), len(other))
        lost = np.square(one[:both].astype(np.float64) - other[:both]).sum()
        lost += np.square(one[both:]).sum() + np.square(other[both:]).sum()
        assert row[1] == pytest.approx(lost, rel=1e-5)
        assert row[0] == pytest.approx(np.square(one).sum(), rel=1e-5)


@pytest.mark.parametrize(
    ("found", "value"),
    [
        ([[4.0, 1.0], [4.0, 3.0]], 0.5),
        ([[0.0, 0.0]], 0.0),
        ([[0.0, 1.0]], np.inf),
        ([[1.0, np.nan]], np.inf),
        ([[np.inf, 1.0]], 0.0),
    ],
)
def test_noise_is_never_nan(found: list[list[float]], value: float):
    assert noise(np.array(found)) == value


# Region by region


@pytest.fixture(scope="module")
def mix() -> Mix:
    graph, policy = residual(), TARGET.policy("avx2")
    integer = place(graph, policy).integer
    names = [value.name or "" for value in quantized_values(graph, integer, policy)]
    ranges = dict.fromkeys(names, (-12.0, 12.0)) | {"x": (-4.0, 4.0)}
    plan = GraphPlan(
        graph="", baseline="captured", ship="int8", cpu="avx2", weight_bits=7, integer=integer,
        ranges=ranges,
    )  # fmt: skip
    return mixed(graph, plan, policy)


def test_each_region_is_charged_for_its_own_error_alone(mix: Mix):
    told_by = Told()
    start = session(mix.model, images(8, 0), told_by)
    data = start.prepared.calibration
    assert data is not None
    found = damages(start, mix, mix.whole, data)
    assert found is not None
    assert (found[:, FLOAT] == 0).all()
    assert np.isinf(found[~mix.possible]).all()
    assert (found[mix.possible] < 0.1).all()
    narrow = mix.whole.ranges | {"x": (-0.1, 0.1)}
    again = damages(start, mix, mix.whole.model_copy(update={"ranges": narrow}), data)
    assert again is not None
    assert again[0, STATIC] > 10 * found[0, STATIC]
    np.testing.assert_allclose(again[1:], found[1:])
    assert told_by.stages.count("rank layers") == 2


def test_time_that_is_over_gives_no_answer(mix: Mix):
    start = session(mix.model, images(8, 0))
    data = start.prepared.calibration
    assert data is not None
    assert damages(start, mix, mix.whole, data, lambda: True) is None


@pytest.mark.parametrize(("value", "words"), [(0.01, "20.0 dB"), (0.0, "no dB"), (np.inf, "no dB")])
def test_a_damage_is_told_in_decibels(value: float, words: str):
    assert told(value, "INT8") == f"{words} of signal to noise as INT8"
