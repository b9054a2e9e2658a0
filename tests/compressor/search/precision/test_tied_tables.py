"""When an embedding reads the integers of its product: no slower, and within the budget."""

import pytest
from cached_decoder import calls, decoder
from seams import Timed, Verdicts, always, session_of

from compressor.graph.files import initializer_bytes
from compressor.plan.realize import realize
from compressor.quantization.dynamic import place_dynamic
from compressor.recipe.recipe import MeasureOptions, QuantizeOptions, Recipe
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision import tied_tables
from compressor.search.precision.tied_tables import with_tied_tables
from compressor.search.replay import replay
from compressor.search.session import Session


def quantized(ratio: float | None, *, tied: bool = True) -> tuple[Session, Outcome]:
    """A decoder with its products in 8 bits."""
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="vnni", batch=4),
        measure=MeasureOptions(seconds=0.05, context=16),
    )
    timer = Timed(always(ratio))
    session = session_of(decoder(tied=tied), recipe, timer, calibration=calls(samples=8))
    start = undecided(session)
    dynamic = place_dynamic(start.graph, session.target.policy("vnni")).integer
    plan = start.plan.model_copy(update={"ship": "int8", "dynamic": dynamic})
    return session, start.then(plan=plan, shipped=realize(start.graph, plan, session.target))


@pytest.mark.parametrize(
    ("ratio", "verdicts", "asked", "kept"),
    [
        (1.0, [], None, True),
        (1.0, [True], "1%", True),
        (1.0, [False], "1%", False),
        (0.9, [], None, False),
        (None, [], None, True),
    ],
)
def test_speed_and_the_budget_decide(monkeypatch, ratio, verdicts, asked, kept):
    monkeypatch.setattr(tied_tables, "LEAST", 0)
    session, found = quantized(ratio)
    data = session.prepared.calibration
    made = with_tied_tables(session, found, Verdicts(data, verdicts, asked=asked))
    assert bool(made.plan.tied) is kept
    saved = initializer_bytes(found.shipped) - initializer_bytes(made.shipped)
    assert (saved > 70_000) is kept
    if kept:
        again = replay(session, made.plan)
        assert initializer_bytes(again.shipped) == initializer_bytes(made.shipped)


def test_small_tables_and_those_of_other_numbers_stay(monkeypatch):
    session, found = quantized(1.0)
    acceptance = Verdicts(session.prepared.calibration, asked=None)
    assert with_tied_tables(session, found, acceptance) is found
    monkeypatch.setattr(tied_tables, "LEAST", 0)
    session, found = quantized(1.0, tied=False)
    assert with_tied_tables(session, found, acceptance) is found
