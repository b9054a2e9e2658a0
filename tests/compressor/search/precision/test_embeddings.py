"""What is done around INT8: embeddings in integers where that is no slower and keeps the budget."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, Timed, Verdicts, always, session_of

from compressor.graph.files import initializer_bytes, serialize
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import Verdict
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.search import with_precision
from compressor.search.replay import replay
from compressor.search.session import Session

RNG = np.random.default_rng(0)
TABLES = {"words": 2048, "places": 1024, "kinds": 2}
WORDS = {f"of_{name}": RNG.integers(0, rows, (64, 8)) for name, rows in TABLES.items()}


def encoder() -> ir.Model:
    """Two large embeddings and a small one, and products that can be integer."""
    return model(
        """g (int64[n,8] of_words, int64[n,8] of_places, int64[n,8] of_kinds,
              float[2048,64] words, float[1024,64] places, float[2,64] kinds,
              float[64] gain, float[64] shift, float[64,64] w1, float[64,64] w2)
            => (float[n,8,64] y)
        <float[n,8,64] a, float[n,8,64] b, float[n,8,64] c, float[n,8,64] s,
         float[n,8,64] t, float[n,8,64] m, float[n,8,64] h, float[n,8,64] g>
        {
            a = Gather<axis=0>(words, of_words)
            b = Gather<axis=0>(places, of_places)
            c = Gather<axis=0>(kinds, of_kinds)
            s = Add(a, b)
            t = Add(s, c)
            m = LayerNormalization(t, gain, shift)
            h = MatMul(m, w1)
            g = Tanh(h)
            y = MatMul(g, w2)
        }""",
        words=[2048, 64], places=[1024, 64], kinds=[2, 64],
        gain=[64], shift=[64], w1=[64, 64], w2=[64, 64],
    )  # fmt: skip


def run(
    timer: Clock, search: Sequence[bool] = (), *, budget: bool = False
) -> tuple[Outcome, Session]:
    recipe = Recipe(
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
    )
    session = session_of(encoder(), recipe, timer, calibration=WORDS)
    acceptance = Verdicts(session.prepared.calibration, search, asked="5%" if budget else None)
    start = undecided(session)
    return with_precision(session, start, session.prepared.calibration, acceptance), session


def operators(found: Outcome) -> list[str]:
    return [node.op_type for node in found.shipped.graph]


def at_speed(verdict: Verdict, ratio: float) -> Clock:
    """All comparisons of speed end so, but for the regions, which are timed."""
    return Timed(always(ratio), verdict=verdict)


def test_large_embeddings_become_integers_and_are_replayed():
    found, session = run(at_speed("no significant difference", 1.01))
    plan = found.plan
    assert plan.plain_norms, "what costs nothing needs no proof"
    assert plan.tables is not None
    assert set(plan.tables.matrices) == {"words", "places"}
    assert plan.integer
    assert operators(found).count("GatherBlockQuantized") == 2
    assert operators(found).count("Gather") == 1
    assert initializer_bytes(found.shipped) < 0.4 * initializer_bytes(encoder())
    again = replay(session, plan)
    assert serialize(again.shipped) == serialize(found.shipped)


def test_embeddings_stay_float_where_integers_are_slower():
    found, _ = run(at_speed("slower", 0.99))
    assert found.plan.integer
    assert not found.plan.plain_norms
    assert found.plan.tables is None
    assert "GatherBlockQuantized" not in operators(found)


@pytest.mark.parametrize("holds", [True, False])
def test_embeddings_are_held_to_the_budget(holds: bool):
    found, _ = run(at_speed("no significant difference", 1.0), [True, holds], budget=True)
    assert found.plan.integer
    assert (found.plan.tables is not None) == holds
    assert ("GatherBlockQuantized" in operators(found)) == holds
