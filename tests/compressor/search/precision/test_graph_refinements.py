"""What is done around INT8: embeddings in integers where that is no slower and keeps the budget."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor import Recipe, compress
from compressor.graph.files import load_model, save_model
from compressor.plan.plan import GraphPlan, Plan
from compressor.recipe.recipe import BudgetOptions, MeasureOptions, PruneOptions, QuantizeOptions
from compressor.results.measurements import LatencyResult
from compressor.search.acceptance import Judging
from compressor.search.session import Bench

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


@pytest.fixture
def source(tmp_path: Path, quick: None) -> Path:
    save_model(encoder(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def races_are(monkeypatch: pytest.MonkeyPatch, verdict: str, found: float = 1.0) -> None:
    """All comparisons of speed end so."""

    def race(self: Bench, *models: object, seconds: float, again: int = 0) -> LatencyResult:
        update = {"verdict": verdict, "ratio": found}
        return real(self, *models, seconds=seconds).model_copy(update=update)

    real = Bench.race
    monkeypatch.setattr(Bench, "race", race)


def run(source: Path, **budget: str) -> tuple[Path, GraphPlan]:
    recipe = Recipe(
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05, metric="cosine" if budget else None),
        budget=BudgetOptions(**budget),
        prune=PruneOptions(macs="none"),
    )
    out = source.parent / "out"
    compress(source, calibration=WORDS, recipe=recipe, output=out)
    return out, Plan.load(out / "plan.json").graphs["model"]


def operators(folder: Path) -> list[str]:
    return [node.op_type for node in load_model(folder / "model.onnx").graph]


def test_large_embeddings_become_integers_and_are_replayed_byte_for_byte(
    source: Path, monkeypatch: pytest.MonkeyPatch
):
    races_are(monkeypatch, "no significant difference", 1.01)
    out, plan = run(source)
    assert plan.plain_norms, "what costs nothing needs no proof"
    assert plan.tables is not None
    assert set(plan.tables.matrices) == {"words", "places"}
    assert plan.integer
    assert operators(out).count("GatherBlockQuantized") == 2
    assert operators(out).count("Gather") == 1
    floats = 4 * 64 * (2048 + 1024)
    assert (out / "model.onnx").stat().st_size < 0.4 * floats
    again = source.parent / "again"
    compress(source, plan=out / "plan.json", output=again)
    for name in ("model.onnx", "plan.json", "plan.safetensors"):
        assert (again / name).read_bytes() == (out / name).read_bytes()


def test_embeddings_stay_float_where_integers_are_slower(
    source: Path, monkeypatch: pytest.MonkeyPatch
):
    races_are(monkeypatch, "slower", 0.99)
    out, plan = run(source)
    assert plan.integer
    assert not plan.plain_norms
    assert plan.tables is None
    assert "GatherBlockQuantized" not in operators(out)
    assert not any("codes" in name for name in Plan.load(out / "plan.json").weights)


@pytest.mark.parametrize("holds", [True, False])
def test_embeddings_are_held_to_the_budget(
    source: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
):
    races_are(monkeypatch, "no significant difference")
    verdicts = iter([True, holds])
    monkeypatch.setattr(Judging, "accepts", lambda self, judgement: next(verdicts))
    out, plan = run(source, max_drop="5%", accept="point")
    assert plan.integer
    assert (plan.tables is not None) == holds
    assert ("GatherBlockQuantized" in operators(out)) == holds
