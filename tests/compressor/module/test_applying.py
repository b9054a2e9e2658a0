"""A plan on the module it was made for: smaller, the same as the cut graph, and trainable."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx_ir as ir
import pytest

pytest.importorskip("torch", reason="plans are applied to torch modules")

import torch
from networks import ZOO
from networks.build import observe, randomize
from torch import nn

from compressor import apply_plan
from compressor.capture import capture
from compressor.checkpoint import source_of
from compressor.errors import PruningError
from compressor.folding import fold
from compressor.graph.session import open_session
from compressor.layerwise.layers import layers_of
from compressor.module.provenance import Provenance
from compressor.module.slicing import slice_module
from compressor.plan.decisions import PrunePlan
from compressor.plan.plan import GraphPlan, Plan
from compressor.pruning import Grouping, Keep, cut, find_groups
from compressor.pruning.reconstruction.patching import patch_of
from compressor.pruning.reconstruction.writing import write
from compressor.results.records import StageRecord

RELATIVE = 1e-4
"""Of the largest magnitude of the output: float32, summed in another order."""


class Net(nn.Module):
    """Residual, depthwise and grouped convolutions, with BatchNorm, GroupNorm and neither."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.a = nn.Sequential(nn.Conv2d(8, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.b = nn.Conv2d(6, 8, 1)
        self.wise = nn.Sequential(
            nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.BatchNorm2d(8, affine=False), nn.PReLU(8)
        )
        self.parts = nn.Sequential(nn.Conv2d(8, 16, 3, groups=4), nn.GroupNorm(4, 16), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 10, 2, stride=2), nn.BatchNorm2d(10))
        self.hidden = nn.Sequential(nn.Linear(10, 12, bias=False), nn.ReLU())
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.wise(torch.relu(x + self.b(torch.relu(self.a(x)))))
        x = torch.relu(self.up(self.parts(x))).mean((2, 3))
        return self.head(self.hidden(x))


class Sized(nn.Module):
    """A convolution whose channels forward counts itself."""

    def __init__(self, forward) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3)
        self.c = nn.Conv2d(8, 4, 1)
        self.between = forward

    def forward(self, x):
        return self.c(self.between(torch.relu(self.b(torch.relu(self.a(x))))))


@dataclass(frozen=True)
class Case:
    """A module, inputs, its captured and its folded graph."""

    module: nn.Module
    feeds: dict[str, np.ndarray]
    captured: ir.Model
    folded: ir.Model
    grouping: Grouping

    @classmethod
    def of(cls, module: nn.Module, feeds: dict[str, np.ndarray]) -> Self:
        captured = capture(source_of(module), inputs=None, examples=feeds, opset=20).model
        folded = fold(captured, feeds=feeds)[0]
        return cls(module, feeds, captured, folded, find_groups(folded, feeds))

    def planned(self, *, repaired: bool = False, seed: int = 0) -> tuple[Plan, ir.Model]:
        """A plan with random keep-sets, and random new weights, and the graph that it makes."""
        rng = np.random.default_rng(seed)
        keep = {}
        for group in self.grouping.groups:
            mask = rng.random(group.units) < 0.6
            mask[rng.permutation(group.units)[:2]] = True, False
            keep[group.name] = mask
        assert keep
        smaller = cut(self.folded, self.grouping, keep)
        made = smaller.clone()
        for layer in list(layers_of(made).values()) if repaired else ():
            matrix = layer.matrix()
            noise = rng.standard_normal(matrix.shape)
            shift = 0.1 * rng.standard_normal(matrix.shape[:2])
            write(made, layer, matrix * (1 + 0.1 * noise), layer.bias() + shift)
        kept = {name: tuple(np.flatnonzero(mask).tolist()) for name, mask in keep.items()}
        prune = PrunePlan(kept=kept, weights=patch_of(smaller, made))
        return plan_of(self.traced(prune, keep, smaller)[0]), made

    def traced(
        self, prune: PrunePlan, keep: Keep, smaller: ir.Model
    ) -> tuple[PrunePlan, StageRecord]:
        provenance = Provenance(self.captured, self.folded, self.feeds)
        return provenance.traced(prune, self.grouping, keep, smaller)


def ready(module: nn.Module, shape: Sequence[int] = (3, 8, 8)) -> Case:
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    randomize(module)
    observe(module.eval(), {"x": x})
    return Case.of(module.eval(), {"x": x})


def plan_of(prune: PrunePlan | None) -> Plan:
    graph = GraphPlan(graph="", baseline="folded", ship="float", prune=prune)
    return Plan(target="ort", seed=0, graphs={"model": graph})


def prune_of(plan: Plan) -> PrunePlan:
    prune = plan.graphs["model"].prune
    assert prune is not None
    return prune


def assert_same(module: nn.Module, model: ir.Model, feeds: dict[str, np.ndarray]) -> None:
    (expected,) = open_session(model).run(None, feeds)
    with torch.no_grad():
        found = module(**{name: torch.from_numpy(array) for name, array in feeds.items()}).numpy()
    assert np.abs(expected - found).max() <= RELATIVE * np.abs(expected).max()


@pytest.fixture(scope="module")
def net() -> Case:
    torch.manual_seed(0)
    return ready(Net())


def test_the_smaller_module_is_the_cut_graph_and_says_its_sizes(net):
    module, x = net.module, net.feeds["x"]
    plan, made = net.planned()
    before = copy.deepcopy(module.state_dict())
    smaller = apply_plan(module, plan, example=x)
    assert_same(smaller, made, {"x": x})
    assert all(torch.equal(before[name], t) for name, t in module.state_dict().items())
    prune = prune_of(plan)
    assert {"a.1.running_mean", "a.1.weight", "stem.0.bias", "wise.2.weight"} <= set(prune.slices)
    narrow = len(prune.slices["a.0.weight"][0])
    assert smaller.a[0].out_channels == smaller.a[1].num_features == smaller.b.in_channels == narrow
    stem = smaller.stem[0].out_channels
    assert stem == smaller.wise[0].groups == smaller.wise[0].in_channels < 8
    assert smaller.wise[1].num_features == smaller.wise[2].num_parameters == stem
    assert smaller.parts[0].out_channels == smaller.parts[1].num_channels
    assert smaller.up[0].out_channels == smaller.hidden[0].in_features
    assert smaller.hidden[0].out_features == smaller.head.in_features
    assert smaller.head.out_features == 5


@pytest.mark.parametrize("seed", range(3))
def test_repaired_weights_go_back_through_batch_norm(net, seed):
    module, x = net.module, net.feeds["x"]
    plan, made = net.planned(repaired=True, seed=seed)
    prune = prune_of(plan)
    assert prune.homes.keys() == {name.rpartition("/")[0] for name in prune.weights}
    smaller = apply_plan(module, plan, example=x)
    assert_same(smaller, made, {"x": x})
    for name in ("a.1.weight", "a.1.bias", "a.1.running_var"):
        kept = list(prune.slices[name][0])
        assert torch.equal(smaller.state_dict()[name], module.state_dict()[name][kept])
    assert smaller.hidden[0].bias is not None, "repair gave one to a layer without"


def test_a_scale_of_nothing_makes_no_huge_weights():
    module = Net()
    randomize(module)
    with torch.no_grad():
        module.a[1].weight[:] = torch.tensor([1, 1e-9, 1, 0, 1, 1e-7])
    case = Case.of(module.eval(), {"x": np.ones((4, 3, 8, 8), np.float32)})
    plan, made = case.planned(repaired=True)
    prune = prune_of(plan)
    for name in [key for key in prune.weights if key.startswith("node_conv2d_1/")]:
        rng = np.random.default_rng(1)
        prune.weights[name] = rng.standard_normal(prune.weights[name].shape).astype(np.float32)
    smaller = apply_plan(module, plan, example=case.feeds)
    assert smaller.a[0].weight.abs().max() < 100
    layer = layers_of(made)["node_conv2d_1"]
    weight, bias = (prune.weights[f"node_conv2d_1/{what}"] for what in ("weight", "bias"))
    write(made, layer, weight.reshape(1, len(weight), -1).astype(float), bias[None].astype(float))
    assert_same(smaller, made, case.feeds)


def test_it_can_be_saved_and_trained_on(net, tmp_path: Path):
    module, x = net.module, net.feeds["x"]
    plan, made = net.planned(repaired=True)
    plan.save(tmp_path / "plan.json")
    smaller = apply_plan(module, tmp_path / "plan.json", example={"x": x})
    assert_same(smaller, made, {"x": x})
    smaller.train()
    loss = smaller(torch.from_numpy(x)).square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in smaller.parameters())


@pytest.mark.parametrize("name", ["squeeze_excite", "shufflenet_v1"])
def test_networks_of_the_zoo(name):
    network = next(network for network in ZOO if network.name == name)
    case = Case.of(network.module(), network.feeds(2))
    plan, made = case.planned(repaired=True)
    assert_same(apply_plan(case.module, plan, example=case.feeds), made, case.feeds)


def test_a_module_used_twice_stays_one_and_keeps_its_own_weights():
    class Twin(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 8)
            self.also = self.a
            self.b = nn.Linear(16, 3)

        def forward(self, x):
            y = torch.relu(self.a(x)), torch.relu(self.also(x + 1))
            return self.b(torch.cat(y, 1))

    case = ready(Twin(), (6,))
    plan, made = case.planned()
    smaller = apply_plan(case.module, plan, example=case.feeds)
    assert smaller.also is smaller.a
    assert smaller.a.out_features < 8
    assert_same(smaller, made, case.feeds)
    repaired, _ = case.planned(repaired=True)
    assert [home.weight for home in prune_of(repaired).homes.values()] == ["b.weight"]


def test_tied_parameters_stay_tied():
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    module[1].weight = module[0].weight
    slice_module(module, {"0.weight": {0: (0, 2), 1: (0, 2)}})
    assert module[1].weight is module[0].weight
    assert module[1].weight.shape == (2, 2)
    assert module[1].in_features == 2


VIEWS = {
    "fails": (lambda x: x.view(-1, 8, 6, 6) * 1.5, "fails on the example"),
    "differs": (lambda x: x / x.shape[1], "differs by"),
}


@pytest.mark.parametrize("what", VIEWS)
def test_a_forward_with_sizes_of_its_own_is_found_out_by_the_example(what):
    forward, said = VIEWS[what]
    case = ready(Sized(forward))
    plan, _ = case.planned()
    apply_plan(case.module, plan)
    with pytest.raises(PruningError, match=said) as caught:
        apply_plan(case.module, plan, example=(case.feeds["x"],))
    assert "sizes of its own" in (caught.value.hint or "")


def test_blocks_cannot_be_removed_from_outside(net):
    plan = plan_of(PrunePlan(kept={}, blocks=("node_add_4", "node_add_9")))
    with pytest.raises(PruningError, match="node_add_4, node_add_9") as caught:
        apply_plan(net.module, plan)
    assert "--no-prune-blocks" in (caught.value.hint or "")


def test_a_plan_that_could_not_be_traced_says_why(net):
    group = net.grouping.groups[0]
    last = np.arange(group.units) == group.units - 1
    other = cut(net.folded, net.grouping, {group.name: last})
    prune, record = net.traced(PrunePlan(kept={group.name: (0,)}), {group.name: last[::-1]}, other)
    assert not prune.slices
    assert "differs in 'output'" in record.notices[0]
    with pytest.raises(PruningError, match="differs in 'output'"):
        apply_plan(net.module, plan_of(prune))


def test_a_plan_of_another_module_is_refused(net):
    module, (plan, _) = net.module, net.planned()
    with pytest.raises(PruningError, match=r"which the module does not have"):
        apply_plan(nn.Linear(3, 3), plan)
    with pytest.raises(PruningError, match=r"is of shape .* the plan was made for"):
        apply_plan(apply_plan(module, plan), plan)
    with pytest.raises(PruningError, match="no graph 'encoder', but model"):
        apply_plan(module, plan, graph="encoder")


def test_a_wider_module_with_the_same_names_is_refused(net):
    plan, _ = net.planned(repaired=True)
    wider = copy.deepcopy(net.module)
    wider.a = nn.Sequential(nn.Conv2d(8, 9, 3, padding=1, bias=False), nn.BatchNorm2d(9))
    wider.b = nn.Conv2d(9, 8, 1)
    unrepaired, _ = net.planned()
    with pytest.raises(PruningError, match=r"is of shape .* the plan was made for"):
        apply_plan(wider, unrepaired)
    slices = {k: v for k, v in prune_of(plan).slices.items() if not k.startswith(("a.", "b."))}
    other = prune_of(plan).model_copy(update={"slices": slices})
    with pytest.raises(PruningError, match=r"repaired 'a\.1\.\w+' is of shape"):
        apply_plan(wider, plan_of(other))


def test_attention_of_torch_is_refused_by_name():
    module = nn.ModuleDict({"attend": nn.MultiheadAttention(8, 2)})
    with pytest.raises(PruningError, match="attend is a MultiheadAttention"):
        slice_module(module, {"attend.in_proj_weight": {1: (0, 1)}})


def test_a_plan_that_prunes_nothing_gives_a_copy(net):
    module = net.module
    same = apply_plan(module, plan_of(None))
    assert same is not module
    assert same.state_dict().keys() == module.state_dict().keys()
