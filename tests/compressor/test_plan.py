"""A plan with repaired weights, written and read."""

from pathlib import Path

import numpy as np
import pytest

from compressor.errors import RecipeError
from compressor.plan import GraphPlan, Plan, PrunePlan

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
