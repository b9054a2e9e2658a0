"""Efficient attention in the search: kept where it pays and is good enough, replayed, and told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, Verdicts, always, looking, session_of

from compressor import Recipe
from compressor.errors import RecipeError
from compressor.evaluation.metrics import find_metric
from compressor.graph.files import save_model
from compressor.plan.plan import Plan
from compressor.recipe.requirements.sense import require_sense
from compressor.recipe.requirements.training import require_same_form
from compressor.report.attended import headline
from compressor.results.attention import AttentionResult
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.attention import with_efficient_attention
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.replay import replay
from compressor.search.session import Race, Session
from exporters.base import find_target

WIDTH, HEADS, TOKENS = 8, 2, 64
ROWS = np.random.default_rng(0).standard_normal((56, TOKENS, WIDTH)).astype(np.float32)
RECIPE = Recipe.model_validate(
    {
        "train": {"attention": "window:16", "length": "3steps", "threads": 1, "batch": 8},
        "quantize": {"mode": "none", "keep_ruined": True},
    }
)


def encoder(layers: int = 2) -> ir.Model:
    """Layers of self-attention with residual sums."""
    lines, names, x = ["sizes = Constant<value_ints=[0,0,2,4]>()"], list[str](), "x"
    lines.append("joined = Constant<value_ints=[0,0,8]>()\nc = Constant<value=float {0.5}>()")
    for i in range(layers):
        for n in "qkv":
            names.append(f"w{n}{i}")
            lines.append(f"{n}{i} = MatMul({x}, w{n}{i})\n{n}{i}_r = Reshape({n}{i}, sizes)")
            lines.append(f"{n}{i}_h = Transpose<perm=[0,2,1,3]>({n}{i}_r)")
        lines.append(f"k{i}_t = Transpose<perm=[0,1,3,2]>(k{i}_h)\nd{i} = MatMul(q{i}_h, k{i}_t)")
        lines.append(f"p{i} = Mul(d{i}, c)\nm{i} = Softmax<axis=-1>(p{i})")
        lines.append(f"o{i} = MatMul(m{i}, v{i}_h)\no{i}_t = Transpose<perm=[0,2,1,3]>(o{i})")
        lines.append(f"o{i}_r = Reshape(o{i}_t, joined)\ns{i} = Add({x}, o{i}_r)")
        x = f"s{i}"
    weights = ", ".join(f"float[8,8] {name}" for name in names)
    body = "\n".join([*lines, f"y = Identity({x})"])
    text = f"g (float[n,t,8] x, {weights}) => (float[n,t,8] y) {{ {body} }}"
    return model(text, **{name: [8, 8] for name in names})


def prepared(clock: Clock, recipe: Recipe = RECIPE) -> tuple[Session, DataSplit]:
    feeds = {"x": ROWS}
    session = session_of(encoder(), recipe, clock, calibration=feeds, evaluation={"x": ROWS[:8]})
    calibration, evaluation = session.prepared.calibration, session.prepared.evaluation
    assert calibration is not None
    assert evaluation is not None
    used, held = calibration.split(0.75, 0)
    data = DataSplit(used, evaluation, search=evaluation, training=used, held_out=held)
    return looking(session, evaluation), data


def tried(
    ratio: Callable[[Race], float | None],
    search: list[bool] | None = None,
    confirm: list[bool] | None = None,
    recipe: Recipe = RECIPE,
) -> tuple[Session, Outcome, AttentionResult]:
    session, data = prepared(Clock(ratio), recipe)
    assert data.search is not None
    acceptance: Acceptance = NoBudget(session, data.search, "evaluation data")
    if search is not None:
        acceptance = _judging(session, Verdicts(data.search, search, confirm or []))
    found = with_efficient_attention(session, undecided(session), data, acceptance)
    assert found.attention is not None
    return session, found, found.attention


def _judging(session: Session, verdicts: Verdicts) -> Acceptance:
    """Verdicts beside which graphs can be measured."""
    verdicts.judge = NoBudget(session, verdicts.samples, "").judge  # type: ignore[attr-defined]
    return verdicts


def softmaxes(found: Outcome) -> list[int]:
    """Sizes that each softmax runs over, by the rank of its input."""
    return [len(n.inputs[0].shape) for n in found.shipped.graph if n.op_type == "Softmax"]


def test_layers_that_pay_are_rewritten_trained_told_and_replayed(tmp_path: Path) -> None:
    session, found, result = tried(always(1.5))
    assert result.kept, result.reason
    assert [one.form for one in result.layers] == ["window:16", "window:16"]
    assert all(one.tokens == TOKENS and (one.damage or 0) > 0 for one in result.layers)
    assert result.trained is not None
    assert softmaxes(found) == [5, 5]
    assert found.training is not None
    assert "train" in {record.name for record in found.records}
    assert "in 2 of 2 layers" in headline(result)
    Plan(target="ort", seed=0, graphs={"model": found.plan}).save(tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json").graphs["model"]
    again = replay(session, plan)
    assert again.attention is not None
    assert again.attention.kept
    for made, name in ((found.shipped, "one.onnx"), (again.shipped, "other.onnx")):
        save_model(made, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


def test_a_budget_takes_as_many_layers_as_it_accepts_those_that_lose_least_first() -> None:
    _, found, result = tried(always(1.5), [False, True, True], [True])
    assert result.kept, result.reason
    damages = [one.damage for one in result.layers]
    least = damages.index(min(damages))
    assert [one.form is not None for one in result.layers] == [i == least for i in range(2)]
    assert sorted(softmaxes(found)) == [4, 5]


@pytest.mark.parametrize(
    ("ratio", "search", "confirm", "why"),
    [
        (1.0, None, None, "it pays in no layer at 64 tokens"),
        (None, None, None, "it pays in no layer at 64 tokens"),
        (1.5, [False] * 3, None, "no number of layers was good enough"),
        (1.5, [True, True], [False], "refused"),
    ],
)
def test_what_does_not_pay_leaves_the_graph_and_is_said(
    ratio: float | None, search: list[bool] | None, confirm: list[bool] | None, why: str
) -> None:
    _, found, result = tried(always(ratio), search, confirm)
    assert not result.kept
    assert why in result.reason
    assert found.plan.attention is None
    assert softmaxes(found) == [4, 4]
    assert any(
        "no efficient attention" in said for record in found.records for said in record.notices
    )


def test_without_a_budget_what_is_ruined_does_not_ship() -> None:
    careful = RECIPE.model_copy(
        update={"quantize": RECIPE.quantize.model_copy(update={"keep_ruined": False})}
    )
    _, found, result = tried(always(1.5), recipe=careful)
    assert "its outputs are ruined" in result.reason
    assert found.plan.attention is None


def test_a_graph_that_is_not_faster_as_a_whole_is_not_trained() -> None:
    def ratio(asked: Race) -> float:
        return 1.5 if len(asked.baseline.graph) < 20 else 1.0

    _, found, result = tried(ratio)
    assert "the whole graph ran at 1.00" in result.reason
    assert found.training is None
    assert all(one.latency is not None for one in result.layers)


def test_a_window_as_long_as_the_data_gains_nothing() -> None:
    options = RECIPE.train.model_copy(update={"attention": "window:64"})
    _, _, result = tried(always(1.5), recipe=replace_train(options))
    assert "no more than its window" in result.layers[0].reason


def replace_train(options: object) -> Recipe:
    return RECIPE.model_copy(update={"train": options})


def test_linear_attention_is_one_of_the_forms() -> None:
    options = RECIPE.train.model_copy(update={"attention": "linear"})
    _, found, result = tried(always(1.5), recipe=replace_train(options))
    assert result.kept, result.reason
    assert softmaxes(found) == []


@pytest.mark.parametrize("text", ["window", "window:1", "sparse", "window:-4"])
def test_a_form_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="is not understood"):
        Recipe.model_validate({"train": {"attention": text, "length": "1m"}})


def test_attention_without_training_or_in_other_commands_is_refused() -> None:
    bare = Recipe.model_validate({"train": {"attention": "linear"}})
    with pytest.raises(RecipeError, match="--attention changes what is computed"):
        require_sense(bare, find_target("ort"), find_metric)
    with pytest.raises(RecipeError, match="`compress train` gives no layer another one"):
        require_same_form(bare, "compress train")
    loop = replace_train(RECIPE.train).model_copy(
        update={"pipeline": RECIPE.pipeline.model_copy(update={"loop": "sample.py:run"})}
    )
    with pytest.raises(RecipeError, match="--attention is of single models"):
        require_sense(loop, find_target("ort"), find_metric)
