"""First-order importance: what the loss really does when units fade, and whose loss it is."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="gradients are of torch modules")

import torch
from torch import nn

from calibration.dataset import CalibrationSet, open_dataset
from compressor import Recipe, compress
from compressor.capture import capture
from compressor.checkpoint import source_of
from compressor.errors import RecipeError
from compressor.folding import fold, tidied
from compressor.graph.shapes import input_specs
from compressor.module.gradients import LossBatch, cross_entropy, find_loss, first_order
from compressor.pruning import Grouping, find_groups
from compressor.pruning.sources import scores_over
from compressor.training.importance import first_order_of_graph

SAMPLES, CLASSES = 12, 3
DEAD = (1, 4)
"""Hidden channels that nothing reads."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1)
        self.linear = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        logits: torch.Tensor = self.linear(torch.relu(self.conv2(x)).mean((2, 3)))
        return logits


def network() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Net()
        module.bn1.weight.data.uniform_(0.5, 1.5)
        module.bn1.bias.data.normal_(0, 0.3)
        module.conv2.weight.data[:, list(DEAD)] = 0
    return module


def samples(labels: bool = True) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {"x": rng.standard_normal((SAMPLES, 3, 6, 6)).astype(np.float32)}
    return found | ({"label": rng.integers(0, CLASSES, SAMPLES)} if labels else {})


@cache
def captured() -> ir.Model:
    feeds = {"x": samples()["x"][:4]}
    return capture(source_of(network()), inputs=None, examples=feeds, opset=20).model


def prepared(labels: bool = True) -> tuple[Grouping, CalibrationSet]:
    data = open_dataset(samples(labels)).bind(input_specs(captured()))
    return find_groups(tidied(captured()), {"x": samples()["x"][:2]}), data


def loss_of(module: nn.Module, part: slice) -> float:
    given = samples()
    with torch.no_grad():
        logits = module.eval()(torch.from_numpy(given["x"][part]))
    labels = torch.from_numpy(given["label"][part])
    return float(cross_entropy(logits.double(), LossBatch({}, labels)))


HIDDEN = {"conv1.weight": 0, "bn1.weight": 0, "bn1.bias": 0, "conv2.weight": 1}
"""The parameters that the hidden channels of `Net` are in, and the axis."""


def faded(unit: int, share: float) -> nn.Module:
    """The network with a hidden channel's parameters made smaller by a share."""
    module = network()
    for name, axis in HIDDEN.items():
        module.get_parameter(name).data.transpose(0, axis)[unit] *= 1 - share
    return module


def hidden(found: Any, grouping: Grouping) -> np.ndarray:
    (name,) = (g.name for g in grouping.groups if g.units == 6)
    return found[name]


def test_a_score_is_the_slope_of_the_loss_as_a_unit_fades():
    grouping, data = prepared()
    found = first_order(network(), grouping, data, cross_entropy, batch=5)
    step = 1e-3
    for unit in range(6):
        slopes = [
            len(range(*part.indices(SAMPLES)))
            / SAMPLES
            * abs(loss_of(faded(unit, step), part) - loss_of(faded(unit, -step), part))
            / (2 * step)
            for part in (slice(0, 5), slice(5, 10), slice(10, 15))
        ]
        expected = sum(slopes)
        assert hidden(found, grouping)[unit] == pytest.approx(expected, rel=0.02, abs=2e-4)
    assert (hidden(found, grouping)[list(DEAD)] < 1e-9).all()
    assert hidden(found, grouping).max() > 1e-2


def test_the_module_stays_as_it_is():
    module = network().train()
    module.conv1.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    grouping, data = prepared()
    found = first_order(module, grouping, data, cross_entropy, batch=6)
    assert module.training
    assert not module.conv1.weight.requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    thawed = first_order(network(), grouping, data, cross_entropy, batch=6)
    np.testing.assert_allclose(hidden(found, grouping), hidden(thawed, grouping), rtol=1e-5)


def test_scores_are_told_for_the_folded_graph():
    grouping, data = prepared()
    found = first_order(network(), grouping, data, cross_entropy, batch=6)
    feeds = {"x": samples()["x"][:2]}
    folded = find_groups(fold(captured(), feeds)[0], feeds)
    told = scores_over(found, grouping, folded)
    assert {len(one) for one in told.values()} == {6, 4}
    np.testing.assert_array_equal(hidden(told, folded), hidden(found, grouping))


def options(**prune: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "prune": {"macs": "20%", "method": "taylor", "round": 1, "repair": False} | prune,
            "quantize": {"mode": "none", "keep_slower": True},
            "measure": {"seconds": 0.05},
        }
    )


@pytest.mark.usefixtures("quick")
def test_a_run_removes_what_the_loss_does_not_need(tmp_path: Path):
    report = compress(
        network(),
        calibration=samples(),
        evaluation=samples(),
        recipe=options(),
        output=tmp_path / "out",
    )
    pruning = report.graphs["model"].pruning
    assert pruning is not None
    assert pruning.method == "taylor"
    kept = report.graphs["model"]
    assert kept.goal is not None
    assert kept.goal.met
    removed = next(group for group in pruning.groups if group.units_before == 6)
    assert removed.damage == pytest.approx(0, abs=1e-9)


def test_without_labels_a_loss_has_to_be_named():
    with pytest.raises(RecipeError, match="no class labels") as raised:
        find_loss(None, prepared(labels=False)[1])
    assert "--prune-loss" in str(raised.value.hint)


def test_labels_that_do_not_fit_the_outputs_are_refused():
    with pytest.raises(RecipeError, match=r"does not fit outputs of shape \[2, 2\]"):
        cross_entropy(torch.zeros(2, 2), LossBatch({}, torch.tensor([0, 2])))


def test_a_graph_has_the_scores_of_the_module_that_it_came_from():
    grouping, data = prepared()
    expected = first_order(network(), grouping, data, cross_entropy, batch=6)
    found = first_order_of_graph(captured(), grouping, data, cross_entropy, batch=6)
    assert set(found) == set(expected)
    for name, score in expected.items():
        np.testing.assert_allclose(found[name], score, rtol=1e-3, atol=1e-7)


LOSSES = """
def outputs_squared(outputs, batch):
    assert batch.labels is None and set(batch.inputs) == {"x"}
    return outputs.square().mean()

def no_scalar(outputs, batch):
    return outputs

def broken(outputs, batch):
    raise KeyError("weight of class 7")
"""


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    path = tmp_path / "losses.py"
    path.write_text(LOSSES)
    return path


def test_the_users_loss_is_told_outputs_and_inputs(losses: Path):
    grouping, data = prepared(labels=False)
    loss = find_loss(f"{losses}:outputs_squared", data)
    found = first_order(network(), grouping, data, loss, batch=6)
    assert (hidden(found, grouping)[list(DEAD)] < 1e-9).all()
    assert hidden(found, grouping).max() > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [("no_scalar", r"returned a tensor of shape \[6, 3\]"), ("broken", "weight of class 7")],
)
def test_a_loss_that_fails_is_named(losses: Path, name: str, said: str):
    grouping, data = prepared(labels=False)
    loss = find_loss(f"{losses}:{name}", data)
    with pytest.raises(RecipeError, match=said):
        first_order(network(), grouping, data, loss, batch=6)
