"""Latency as a cost: what was timed at a few levels, and what lies between them."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual
from seams import Clock

from compressor.checkpoint.prepared import Prepared
from compressor.evaluation.attribution import NodeSeconds
from compressor.graph.macs import carries_macs
from compressor.pruning import find_groups
from compressor.pruning.selection.costs import Sizes
from compressor.recipe.data import DataOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.search.pruning import latency_model
from compressor.search.pruning.latency_model import KernelTimes
from compressor.search.session import Session
from compressor.system.progress import SILENT
from exporters.base import find_target

X = {"x": np.random.default_rng(0).standard_normal((2, 32, 8, 8)).astype(np.float32)}
REST = 5e-6
FIXED = 1e-6


def session() -> Session:
    prepared = Prepared(
        name="net", path=None, model=residual(), is_onnx=True, parity=(), records=(),
        calibration=None, evaluation=None,
    )  # fmt: skip
    return Session(prepared, Recipe(), find_target("ort"), SILENT, Channels())


def channels(model: ir.Model) -> int:
    return model.graph.initializers["w1"].const_value.shape[0]


@dataclass
class Channels(Clock):
    """Charges a convolution for its channels in eights, and a bit for being there."""

    profiled: list[ir.Model] = field(default_factory=list)

    def nodes(self, shipped: ir.Model, source: ir.Model, *_: object, **__: object) -> NodeSeconds:
        self.profiled.append(shipped)
        per = -(-channels(shipped) // 8) * 1e-5
        nodes = {n.name: per + FIXED for n in source.graph if carries_macs(n)}
        return NodeSeconds(nodes, REST)


@pytest.fixture
def times() -> tuple[KernelTimes, Sizes]:
    model = residual()
    grouping = find_groups(model, X)
    sizes = Sizes(model, grouping, X)
    return KernelTimes(session(), model, grouping, sizes, lambda one: one), sizes


def test_the_levels_that_were_timed_cost_what_they_took(times: tuple[KernelTimes, Sizes]):
    cost = times[0].cost(times[1])
    for share, units in ((1.0, 32), (0.75, 24), (0.5, 16), (0.25, 8)):
        expected = REST + 3 * (4e-5 * share + FIXED)
        assert cost({"Conv_0": units}) == pytest.approx(expected)
    assert cost({}) == cost({"Conv_0": 32})


def test_between_the_levels_the_cost_falls_with_the_work(times: tuple[KernelTimes, Sizes]):
    cost = times[0].cost(times[1])
    costs = [cost({"Conv_0": units}) for units in range(1, 33)]
    assert costs == sorted(costs)
    assert costs[15] < costs[19] < costs[23]
    assert costs[0] == costs[7], "below the least level nothing is known to be gained"


def test_every_level_is_shipped_and_keeps_multiples():
    model, shipped = residual(), []
    grouping = find_groups(model, X)

    def ship(made: ir.Model) -> ir.Model:
        shipped.append(channels(made))
        return made

    sizes = Sizes(model, grouping, X)
    KernelTimes(session(), model, grouping, sizes, ship, multiple=16)
    assert shipped == [32, 16, 16], "24 is rounded up to 32, which was timed; 8 to 16"


def profiled(ships: dict[str, str] | None, made: Session, **how: int) -> tuple[float, int]:
    """What half of the channels cost, and how many levels were timed for that."""
    model, clock = made.prepared.model, Channels()
    grouping = find_groups(model, X)
    sizes = Sizes(model, grouping, X)
    made = replace(made, timer=clock)
    found = KernelTimes(made, model, grouping, sizes, lambda one: one, ships=ships, **how)
    return found.cost(sizes)({"Conv_0": 16}), len(clock.profiled)


def cached(tmp_path: Path, model: ir.Model | None = None, **options: object) -> Session:
    recipe = Recipe(data=DataOptions(cache=tmp_path), measure=MeasureOptions(**options))
    prepared = session().prepared
    return replace(
        session(),
        recipe=recipe,
        prepared=prepared if model is None else replace(prepared, model=model),
    )


def test_a_later_run_times_nothing_and_finds_the_same(tmp_path):
    first = profiled({"ships": "float"}, cached(tmp_path))
    assert first[1] == 4
    assert profiled({"ships": "float"}, cached(tmp_path)) == (first[0], 0)
    (entry,) = (tmp_path / "latencies").iterdir()
    entry.write_text(entry.read_text()[:-20])
    assert profiled({"ships": "float"}, cached(tmp_path)) == first
    assert profiled(None, cached(tmp_path)) == first, "no key, no cache"


def other_weight() -> ir.Model:
    model = residual()
    bias = model.graph.initializers["b1"]
    bias.const_value = ir.tensor(bias.const_value.numpy() + 1)
    return model


def test_whatever_the_times_depend_on_times_anew(tmp_path, monkeypatch):
    profiled({"ships": "float"}, cached(tmp_path))

    def again(made: Session | None = None, ships: str = "float", **how: int) -> int:
        return profiled({"ships": ships}, made or cached(tmp_path), **how)[1]

    assert again() == 0
    assert again(ships="int8") == 4
    assert again(multiple=16) == 2 + 1
    assert again(cached(tmp_path, other_weight())) == 4
    assert again(cached(tmp_path, batch=2)) == 4
    assert again(cached(tmp_path, threads=2)) == 4
    assert again(cached(tmp_path, seconds=1.0)) == 4
    monkeypatch.setattr(latency_model, "machine", lambda runtime: {"processor": "another"})
    assert again() == 4
    assert again() == 0
