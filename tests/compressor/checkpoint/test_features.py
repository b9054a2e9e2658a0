"""Feature models in every form that --features takes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import model

from compressor.checkpoint.features import asked_metric, feature_space
from compressor.errors import RecipeError, UsageError
from compressor.evaluation.distributions import DistributionMetric
from compressor.evaluation.metrics import find_metric
from compressor.graph.files import save_model
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.metrics import require_features
from compressor.recipe.requirements.sense import require_sense
from exporters.base import find_target

IMAGES = np.random.default_rng(0).standard_normal((5, 3, 4, 4)).astype(np.float32)
EXPECTED = IMAGES.mean(axis=(2, 3))
CODE = """
import numpy as np
import torch

def pooled(images):
    return images.mean(axis=(2, 3))

class Net(torch.nn.Module):
    def forward(self, x):
        return {"features": x.mean(dim=(2, 3)), "logits": x.sum(dim=(2, 3))}

def build():
    return Net()

def fails(images):
    raise ValueError("no such size")
"""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x.mean(dim=(2, 3))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def features(given: object) -> np.ndarray:
    return feature_space(given, ModelOptions()).features(IMAGES)


def test_every_form_gives_the_same(tmp_path: Path, code: Path):
    graph = model(
        "g (float[n,3,4,4] x) => (float[n,3] y) { p = GlobalAveragePool(x) y = Flatten(p) }"
    )
    save_model(graph, tmp_path / "net.onnx")
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(Net(), (torch.ones(2, 3, 4, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "net.pt2")
    torch.save(Net().state_dict(), tmp_path / "net.pt")
    (tmp_path / "own.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.scale = torch.nn.Parameter(torch.zeros(1))\n"
        "    def forward(self, x):\n        return self.scale * x.mean(dim=(2, 3))\n"
    )
    forms: list[object] = [
        str(tmp_path / "net.onnx"),
        tmp_path / "net.pt2",
        f"{tmp_path}/net.pt@{tmp_path}/own.py:Net",
        f"{code}:pooled",
        f"{code}:Net",
        Net(),
        program,
        graph,
        lambda images: torch.from_numpy(images).mean(dim=(2, 3)),
    ]
    for form in forms:
        np.testing.assert_allclose(features(form), EXPECTED, atol=1e-6, err_msg=str(form))


def test_doubles_are_taken_as_floats():
    found = feature_space(Net(), ModelOptions()).features(IMAGES.astype(np.float64))
    np.testing.assert_allclose(found, EXPECTED, atol=1e-6)


def test_a_size_that_a_graph_does_not_take_is_told(tmp_path: Path):
    graph = model("g (float[n,3,8,8] x) => (float[n,3,8,8] y) { y = Relu(x) }")
    save_model(graph, tmp_path / "net.onnx")
    with pytest.raises(UsageError, match=r"net.onnx take x:float32.*judged is float32\[5, 3, 4, 4"):
        features(str(tmp_path / "net.onnx"))


def test_a_function_that_fails_is_told_by_its_line(code: Path):
    with pytest.raises(UsageError, match=r"net.py:\d+: ValueError: no such size"):
        features(f"{code}:fails")


def test_a_thing_that_is_no_model_is_refused():
    with pytest.raises(UsageError, match="features int"):
        features(3)


def recipe(metric: str | None, given: object = None, budget: str | None = None) -> Recipe:
    measure = MeasureOptions(metric=metric, features=given)
    return Recipe(measure=measure, budget=BudgetOptions(max_drop=budget))


def test_the_metric_of_a_recipe_is_in_its_space(code: Path):
    found = asked_metric(recipe("fid", f"{code}:pooled"))
    assert isinstance(found, DistributionMetric)
    assert found.space is not None
    assert find_metric("fid").space is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (recipe("fid"), "metric fid is taken in the features of a model, and none is given"),
        (recipe("cosine", "a.onnx"), "metric cosine takes none"),
        (recipe(None, "a.onnx"), "no metric is named"),
        (recipe("fid", "nowhere.onnx"), "features nowhere.onnx: there is no file nowhere.onnx"),
    ],
)
def test_what_is_missing_is_refused_before_any_work(asked: Recipe, said: str):
    with pytest.raises(RecipeError, match=said) as caught:
        require_features(asked, find_metric)
    assert caught.value.hint


def test_a_share_of_nothing_is_refused(code: Path):
    with pytest.raises(RecipeError, match="5% of the original's kid allows nothing") as caught:
        require_sense(recipe("kid", f"{code}:pooled", "5%"), find_target("ort"), find_metric)
    assert "pt" in str(caught.value.hint)


def test_a_live_model_is_told_by_its_name_in_the_manifest():
    assert recipe("fid", Net()).model_dump(mode="json")["measure"]["features"] == "Net"
