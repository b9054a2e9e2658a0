"""The precision of a float graph: which way is taken, and what is left where float ships."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import TARGET, Clock, Timed, Told, Verdicts, always, session_of

from compressor.errors import GraphError
from compressor.graph.files import serialize
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.search import with_precision
from compressor.search.session import Session
from exporters.base import Target
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

X = {"x": np.random.default_rng(0).standard_normal((16, 6, 64)).astype(np.float32)}


def tokens() -> ir.Model:
    """Products whose input channels differ much, so that some of that moves into weights."""
    made = model(
        """g (float[n,6,64] x, float[64] gain, float[64] shift, float[64,64] w, float[64,64] v)
            => (float[n,6,64] y)
        {
            h = LayerNormalization(x, gain, shift)
            m = MatMul(h, w)
            t = Tanh(m)
            y = MatMul(t, v)
        }""",
        gain=[64], shift=[64], w=[64, 64], v=[64, 64],
    )  # fmt: skip
    gain = made.graph.initializers["gain"]
    assert gain.const_value is not None
    uneven = gain.const_value.numpy() * np.geomspace(20, 0.2, 64)
    gain.const_value = ir.tensor(uneven.astype(np.float32), name="gain")
    return made


def session(
    clock: Clock, *, target: Target = TARGET, told: Told | None = None, **quantize: Any
) -> Session:
    options = QuantizeOptions(cpu="vnni", batch=8, **quantize)
    recipe = Recipe(quantize=options, measure=MeasureOptions(seconds=0.05))
    return session_of(
        tokens(), recipe, clock, calibration=X, target=target, progress=told or Told()
    )


def decided(
    made: Session,
    acceptance: Acceptance | None = None,
    *,
    calibrated: bool = True,
    favoured: bool = False,
) -> Outcome:
    data = made.prepared.calibration if calibrated else None
    held = acceptance or NoBudget(made, None, "")
    return with_precision(made, undecided(made), data, held, favoured=favoured)


def test_8_bits_ship_where_they_are_faster():
    found = decided(session(Timed(always(1.5))))
    assert found.plan.ship == "int8"
    assert set(found.plan.quantized) == {"MatMul_1", "MatMul_3"}
    assert found.plan.smooth.keys() == {"h"}
    assert "it pays" in found.reason
    assert found.known_race is not None
    (candidate,) = found.considered
    assert (candidate.name, candidate.shipped) == ("INT8", True)
    assert [region.nodes for region in found.regions] == [("MatMul_1",), ("MatMul_3",)]


@pytest.mark.parametrize("favoured", [True, False])
def test_no_difference_is_enough_where_it_was_faster_on_the_whole(favoured: bool):
    made = session(Timed(always(1.0)))
    found = decided(made, favoured=favoured)
    assert (found.plan.ship == "int8") == favoured


def test_float_ships_as_it_was_without_what_served_the_integers():
    made = session(Timed(always(0.5)))
    start = undecided(made)
    found = decided(made)
    assert found.plan == start.plan
    assert (found.plan.smooth, found.plan.plain_norms) == ({}, False)
    assert serialize(found.shipped) == serialize(start.shipped)
    assert "so it was reverted" in found.reason
    assert found.quantized is not None
    assert found.quantized.plan.smooth, "the refused one had it"
    assert [one.shipped for one in found.considered] == [False]
    assert "smooth activations" in [record.name for record in found.records]


def test_with_a_budget_the_first_accepted_ships():
    made = session(Timed(always(1.5)))
    found = decided(made, Verdicts(made.prepared.calibration, [False, False, True]))
    assert found.plan.ship == "int8"
    told = [(one.accepted, one.shipped) for one in found.considered]
    assert told == [(False, False), (False, False), (True, True)]


@pytest.mark.parametrize(
    ("quantize", "target", "words"),
    [
        ({"mode": "none"}, TARGET, "switched off (--quantize none)"),
        ({}, TrtTarget(TrtOptions(precision="fp32")), "is asked to compute in float"),
    ],
    ids=["switched off", "by the target"],
)
def test_nothing_is_quantized_where_that_was_asked_for(quantize, target, words):
    clock = Clock(always(1.5))
    found = decided(session(clock, target=target, **quantize))
    assert (found.plan.ship, found.considered) == ("float", ())
    assert words in found.reason
    assert clock.races == []


def test_without_samples_only_ranges_of_run_time_make_integers():
    blind = decided(session(Timed(always(1.5))), calibrated=False)
    assert blind.plan.ship == "float"
    assert "needs calibration data" in blind.reason
    found = decided(session(Timed(always(1.5)), mode="int8-dynamic"), calibrated=False)
    assert found.plan.ship == "int8"
    assert set(found.plan.dynamic) == {"MatMul_1", "MatMul_3"}
    assert found.plan.integer == ()


def test_weights_in_fewer_bits_are_a_way_of_their_own():
    found = decided(session(Clock(always(1.0)), mode="fp16"))
    assert found.plan.ship == "fp16"
    assert found.plan.stored is not None
    assert "calibrate" not in [record.name for record in found.records]


def test_the_rest_is_half_where_the_target_computes_in_that():
    target = TrtTarget(TrtOptions(precision="fp16"))
    found = decided(session(Clock(always(1.5)), target=target))
    assert found.plan.ship == "fp16"
    assert found.plan.half == ()


class Refusing(Verdicts):
    """Stands for a runtime that refuses whatever it is given to judge."""

    def accepts(self, made: ir.Model):
        raise GraphError("ONNX Runtime refuses the model: so")


def test_a_runtime_that_refuses_what_is_made_leaves_float_and_says_so():
    told = Told()
    made = session(Timed(always(1.5)), told=told)
    start = undecided(made)
    found = decided(made, Refusing(made.prepared.calibration))
    assert found.plan == start.plan
    assert found.reason.startswith("float ships: quantization was left out: ONNX Runtime refuses")
    assert any("quantization was left out" in notice for notice in told.notices)
