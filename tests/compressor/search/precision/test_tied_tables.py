"""When an embedding reads the integers of its product: no slower, and within the budget."""

import numpy as np
import onnx_ir as ir
import pytest
from cached_decoder import calls, decoder
from graphs import tied_head
from seams import Timed, Verdicts, always, session_of

from compressor.graph.files import initializer_bytes
from compressor.plan.realize import realize
from compressor.quantization.dynamic import place_dynamic
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision import tied_tables
from compressor.search.precision.search import with_precision
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


def test_a_head_that_reads_the_table_turned_becomes_integers_with_it(monkeypatch) -> None:
    """As exporters write it: the table is one initializer, and a Transpose stands at the head."""
    monkeypatch.setattr(tied_tables, "LEAST", 0)
    rng = np.random.default_rng(0)
    recipe = Recipe(
        quantize=QuantizeOptions(mode="int8-dynamic", cpu="vnni"),
        measure=MeasureOptions(seconds=0.05),
    )
    data = {"ids": rng.integers(0, 300, (8, 5))}
    session = session_of(tied_head(), recipe, Timed(always(2.0)), calibration=data)
    start = undecided(session)
    assert "Transpose" in [node.op_type for node in start.graph.graph]
    samples = session.prepared.calibration
    found = with_precision(session, start, samples, Verdicts(samples, asked=None))
    assert len(found.plan.dynamic) == 2
    assert len(found.plan.tied) == 1
    assert initializer_bytes(found.shipped) < 0.3 * initializer_bytes(start.graph)
    again = replay(session, found.plan)
    made = [ir.to_proto(one.shipped).SerializeToString() for one in (found, again)]
    assert made[0] == made[1]
