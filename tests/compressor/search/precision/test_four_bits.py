"""When a decoder's weights get 4 bits: a budget allows them, and a use is faster."""

import pytest
from cached_decoder import calls, decoder
from seams import Clock, Timed, Verdicts, always, session_of

from compressor.plan.realize import realize
from compressor.quantization.dynamic import place_dynamic
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.four_bits import with_four_bits
from compressor.search.replay import replay
from compressor.search.session import Session


def quantized(ratio: float, mode: str = "int8") -> tuple[Session, Outcome]:
    """A decoder with its products in 8 bits."""
    recipe = Recipe(
        quantize=QuantizeOptions.model_validate({"cpu": "vnni", "batch": 4, "mode": mode}),
        measure=MeasureOptions(seconds=0.05, context=16),
    )
    timer: Clock = Timed(always(ratio))
    session = session_of(decoder(), recipe, timer, calibration=calls(samples=8))
    start = undecided(session)
    dynamic = place_dynamic(start.graph, session.target.policy("vnni")).integer
    plan = start.plan.model_copy(update={"ship": "int8", "dynamic": dynamic})
    return session, start.then(plan=plan, shipped=realize(start.graph, plan, session.target))


@pytest.mark.parametrize(
    ("ratio", "accepted", "asked", "ship"),
    [
        (1.3, True, "1%", "int4"),
        (1.3, False, "1%", "int8"),
        (1.0, True, "1%", "int8"),
        (1.3, True, None, "int8"),
    ],
)
def test_a_budget_and_the_speed_of_a_use_decide(ratio, accepted, asked, ship):
    session, found = quantized(ratio)
    data = session.prepared.calibration
    made = with_four_bits(session, found, data, Verdicts(data, [accepted], asked=asked))
    assert made.plan.ship == ship
    operators = [node.op_type for node in made.shipped.graph]
    assert ("MatMulNBits" in operators) is (ship == "int4")
    if ship == "int4":
        assert made.plan.stored is not None
        assert made.plan.stored.accuracy_level == 4
        assert {one.block for one in made.plan.stored.matrices.values()} == {128}
        again = replay(session, made.plan)
        assert [node.op_type for node in again.shipped.graph] == operators


def test_who_asks_for_ranges_found_at_run_time_gets_no_others():
    session, found = quantized(1.3, "int8-dynamic")
    data = session.prepared.calibration
    made = with_four_bits(session, found, data, Verdicts(data, [True], asked="1%"))
    assert made is found
