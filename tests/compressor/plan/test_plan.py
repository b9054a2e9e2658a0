"""A plan with repaired weights, written and read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compressor import compress
from compressor.errors import RecipeError
from compressor.plan.decisions import PrunePlan
from compressor.plan.plan import GraphPlan, Plan

WEIGHTS = {
    "Conv_0/weight": np.random.default_rng(0).standard_normal((3, 2, 1, 1)).astype(np.float32),
    "a/b/bias": np.array([1.5, -0.0, np.inf], np.float32),
}


def plan(prune: PrunePlan | None) -> Plan:
    graph = GraphPlan(graph="abc", baseline="folded", ship="float", prune=prune)
    return Plan(target="ort", seed=0, graphs={"model": graph})


PRUNED = PrunePlan(kept={"Conv_0": (0, 2)}, blocks=("Add_3",), weights=WEIGHTS)


def test_weights_lie_beside_the_json_and_come_back_bit_for_bit(tmp_path: Path):
    path = tmp_path / "plan.json"
    assert plan(PRUNED).save(path) == (path, tmp_path / "plan.safetensors")
    found = Plan.load(path).graphs["model"].prune
    assert found is not None
    assert (found.kept, found.blocks) == (PRUNED.kept, PRUNED.blocks)
    assert found.weights.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert found.weights[name].dtype == array.dtype
        assert found.weights[name].tobytes() == array.tobytes()
    assert "weights" not in path.read_text()


def test_who_reads_the_json_reads_the_weights(tmp_path: Path):
    path, beside = plan(PRUNED).save(tmp_path / "plan.json")
    assert beside.stat().st_mode == path.stat().st_mode


def test_what_was_read_is_written_the_same(tmp_path: Path):
    plan(PRUNED).save(tmp_path / "plan.json")
    (tmp_path / "again").mkdir()
    Plan.load(tmp_path / "plan.json").save(tmp_path / "again" / "plan.json")
    for name in ("plan.json", "plan.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("prune", [None, PrunePlan(kept={"Conv_0": (0,)})])
def test_without_weights_there_is_one_file(prune: PrunePlan | None, tmp_path: Path):
    path = tmp_path / "plan.json"
    assert plan(prune).save(path) == (path,)
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]
    assert Plan.load(path) == plan(prune)


def test_missing_weights_are_named(tmp_path: Path):
    plan(PRUNED).save(tmp_path / "plan.json")
    (tmp_path / "plan.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"plan\.safetensors, which cannot be read") as error:
        Plan.load(tmp_path / "plan.json")
    assert "beside plan.json" in (error.value.hint or "")


def test_weights_of_another_run_are_refused(tmp_path: Path):
    plan(PRUNED).save(tmp_path / "plan.json")
    other = PRUNED.model_copy(update={"weights": {"Conv_0/weight": np.zeros(3, np.float32)}})
    (tmp_path / "other").mkdir()
    plan(other).save(tmp_path / "other" / "plan.json")
    (tmp_path / "other" / "plan.safetensors").replace(tmp_path / "plan.safetensors")
    with pytest.raises(RecipeError, match=r"is not the file that plan\.json was saved with"):
        Plan.load(tmp_path / "plan.json")


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a plan as with an editor."""
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def rounded_plan(path: Path) -> Plan:
    """A plan with rounded integers, written."""
    graph = GraphPlan(
        graph="abc",
        baseline="folded",
        ship="int8",
        weight_bits=7,
        integer=("Conv_0", "Conv_1"),
        ranges={"x": (-1.0, 1.0)},
        smooth={"x": b"1234"},
        rounded={"Conv_0": np.arange(6, dtype=np.int8)},
    )
    made = Plan(target="ort", seed=0, graphs={"model": graph})
    made.save(path)
    return made


@pytest.mark.parametrize(
    "change",
    [{"weight_bits": 8}, {"granularity": "tensor"}, {"smooth": {}}, {"baseline": "captured"}],
    ids=lambda change: next(iter(change)),
)
def test_integers_of_other_scales_are_refused(change: dict[str, object], tmp_path: Path):
    path = tmp_path / "plan.json"
    rounded_plan(path)
    edited(path, lambda told: told["graphs"]["model"].update(change))
    with pytest.raises(RecipeError, match=next(iter(change))):
        Plan.load(path)


def test_what_rounded_integers_do_not_depend_on_may_be_edited(tmp_path: Path):
    path = tmp_path / "plan.json"
    rounded_plan(path)
    change = {"integer": ["Conv_0"], "ranges": {"x": [-2.0, 2.0]}}
    edited(path, lambda told: told["graphs"]["model"].update(change))
    found = Plan.load(path).graphs["model"]
    assert found.integer == ("Conv_0",)
    np.testing.assert_array_equal(found.rounded["Conv_0"], np.arange(6))


def test_weights_beside_a_plan_that_tells_of_none_are_not_passed_over(tmp_path: Path):
    path = tmp_path / "plan.json"
    rounded_plan(path)
    edited(path, lambda told: told.pop("digest"))
    with pytest.raises(RecipeError, match=r"plan\.safetensors is there"):
        Plan.load(path)


def test_weights_of_a_graph_that_the_plan_lacks_are_refused(tmp_path: Path):
    path = tmp_path / "plan.json"
    rounded_plan(path)
    edited(path, lambda told: told["graphs"].update(other=told["graphs"].pop("model")))
    with pytest.raises(RecipeError, match="the graph 'model', of which"):
        Plan.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ranges": {"x": [1.0, -1.0]}}, r"ranges\.x: .*begins at 1, behind its end at -1"),
        ({"ranges": {"x": [float("nan"), 1.0]}}, r"ranges\.x.*finite"),
        ({"ranges": {"x": [0.0, float("inf")]}}, r"ranges\.x.*finite"),
        ({"weight_bits": 1}, "weight_bits: .*7 or 8"),
    ],
)
def test_what_no_run_decides_is_refused(change: dict[str, object], said: str, tmp_path: Path):
    path = tmp_path / "plan.json"
    plan(None).save(path)
    edited(path, lambda told: told["graphs"]["model"].update(change))
    with pytest.raises(RecipeError, match=said):
        Plan.load(path)


def test_a_replay_says_which_graph_a_plan_lacks(tiny_model: Path, tmp_path: Path):
    empty = Plan(target="ort", seed=0, graphs={})
    with pytest.raises(RecipeError, match="has no graph 'model', but none"):
        compress(tiny_model, plan=empty, output=tmp_path / "out")
