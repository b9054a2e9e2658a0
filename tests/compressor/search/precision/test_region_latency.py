"""The graphs that are profiled for regions, and what is fitted to those."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import residual
from seams import Clock

from compressor.checkpoint.prepared import Prepared
from compressor.evaluation.turns import kernel_seconds
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.quantization.placement import place
from compressor.recipe.data import DataOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision.region_latency import designs, fitted, measured_times
from compressor.search.precision.regions import DYNAMIC, FLOAT, STATIC, Mix, mixed
from compressor.search.session import Session
from compressor.system.progress import SILENT
from exporters.base import find_target

TARGET = find_target("ort")
RANGES = {"x": (-4.0, 4.0), "r1": (0.0, 6.0), "c2": (-6.0, 6.0), "r2": (0.0, 9.0)}
RANGES |= {"p": (0.0, 4.0), "f": (0.0, 4.0), "y": (-8.0, 8.0)}


@pytest.fixture
def mix() -> Mix:
    model, policy = residual(), TARGET.policy("avx2")
    plan = GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7,
        integer=place(model, policy).integer, ranges=RANGES,
    )  # fmt: skip
    return mixed(model, plan, policy)


def test_every_edge_is_profiled_with_either_side_as_integer(mix: Mix):
    found = designs(mix)
    assert found[:2] == [(FLOAT,) * 3, (STATIC,) * 3]
    for front, behind in mix.edges:
        seen = {(chosen[front] == STATIC, chosen[behind] == STATIC) for chosen in found}
        assert seen == {(False, False), (True, True), (True, False), (False, True)}


def test_few_graphs_part_all_edges_of_a_deep_residual_network(mix: Mix):
    """In a chain with shortcuts, whatever its depth, two cuts and their reverses."""
    count = 60
    edges = tuple((a, b) for a in range(count) for b in (a + 1, a + 2) if b < count)
    deep = replace(
        mix,
        regions=mix.regions[:1] * count,
        edges=edges,
        possible=np.repeat([[True, True, False]], count, axis=0),
    )
    found = designs(deep)
    assert len(found) == 6
    for front, behind in edges:
        seen = {(chosen[front] == STATIC, chosen[behind] == STATIC) for chosen in found}
        assert len(seen) == 4


def test_times_and_boundaries_are_found_again(mix: Mix):
    assignments = designs(mix)
    own = {FLOAT: 50e-6, STATIC: 30e-6, DYNAMIC: 40e-6}
    into, out = 7e-6, 11e-6
    seen = {f"{graph}/rest": 3e-6 for graph in range(len(assignments))}
    for graph, chosen in enumerate(assignments):
        for region, mine in enumerate(chosen):
            seconds = (region + 1) * own[mine]
            for front, behind in mix.edges:
                if behind == region and (mine == STATIC) != (chosen[front] == STATIC):
                    seconds += into if mine == STATIC else out
            seen[f"{graph}/{region}"] = seconds
    found = fitted(mix, assignments, seen)
    assert found.costs.time[2] == pytest.approx([150e-6, 90e-6, 120e-6], rel=1e-3)
    assert found.costs.pair[0][FLOAT, STATIC] == pytest.approx(into, rel=1e-2)
    assert found.costs.pair[1][STATIC, DYNAMIC] == pytest.approx(out, rel=1e-2)
    for graph, chosen in enumerate(assignments):
        total = sum(value for key, value in seen.items() if key.startswith(f"{graph}/"))
        assert found.predicted(chosen) == pytest.approx(total, rel=1e-3)


def test_kernels_of_boundaries_count_for_what_reads_them(mix: Mix):
    feeds = {"x": np.zeros((1, 32, 8, 8), np.float32)}
    partly = realize(mix.model, mix.plan((FLOAT, STATIC, FLOAT)), TARGET)
    dynamic = realize(mix.model, mix.plan((FLOAT, FLOAT, DYNAMIC)), TARGET)
    models = [mix.model, partly, dynamic]
    whole, mixed_up, last = kernel_seconds(models, mix.model, feeds, threads=1, seconds=0.05)
    assert last["Gemm_7"] > 0, "a kernel under another name"
    known = {node.name for node in mix.model.graph}
    for found in (whole, mixed_up):
        assert set(found) <= known, "every kernel belongs to a node"
        assert all(seconds >= 0 for seconds in found.values())
        assert {"Conv_0", "Conv_2"} <= set(found)


def test_what_was_measured_is_read_again(mix: Mix, tmp_path: Path):
    recipe = Recipe(
        measure=MeasureOptions(seconds=0.05, threads=1), data=DataOptions(cache=tmp_path)
    )
    prepared = Prepared("net", None, mix.model, True, (), (), None, None)
    session = Session(prepared, recipe, TARGET, SILENT)
    first = measured_times(session, mix.model, mix)
    assert np.isfinite(first.costs.time[mix.possible]).all()
    assert np.isinf(first.costs.time[~mix.possible]).all()

    session = replace(session, timer=Clock())
    again = measured_times(session, mix.model, mix)
    assert again.predicted((FLOAT,) * 3) == first.predicted((FLOAT,) * 3)
    with pytest.raises(AssertionError, match="no kernel is timed here"):
        measured_times(session, mix.model, mixed(mix.model, mix.whole, mix.policy, most=2))
