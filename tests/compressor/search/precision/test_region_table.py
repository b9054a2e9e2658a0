"""Regions as they stand in reports, and the frontier that their figures predict."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from graphs import residual
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.plan.plan import GraphPlan
from compressor.quantization.mixed import Costs
from compressor.quantization.placement import place
from compressor.search.precision.region_latency import RegionTimes
from compressor.search.precision.region_table import POINTS, predicted_frontier, region_results
from compressor.search.precision.regions import CHOICES, DYNAMIC, FLOAT, STATIC, Mix, mixed
from exporters.ort.target import TARGET

POLICY = TARGET.policy("avx2")


@dataclass(frozen=True)
class Figures:
    """Regions with times and damages."""

    mix: Mix
    times: RegionTimes
    damage: np.ndarray


@cache
def three_regions() -> Mix:
    graph = residual()
    plan = GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7,
        integer=place(graph, POLICY).integer,
    )  # fmt: skip
    return mixed(graph, plan, POLICY)


def figures(time: list[list[float]], damage: list[list[float]], rest: float = 1e-6) -> Figures:
    mix = three_regions()
    shape = (len(mix.edges), len(CHOICES), len(CHOICES))
    costs = np.where(mix.possible, np.array(time), np.inf)
    lost = np.where(mix.possible, np.array(damage), np.inf)
    return Figures(mix, RegionTimes(Costs(costs, mix.edges, np.zeros(shape)), rest), lost)


TIME = [[50e-6, 20e-6, 0.0], [50e-6, 30e-6, 0.0], [10e-6, 9e-6, 4e-6]]
DAMAGE = [[0.0, 1e-3, 0.0], [0.0, 1e-5, 0.0], [0.0, 1e-4, 2e-4]]


def test_a_row_tells_what_each_region_can_be_and_costs():
    made = figures(TIME, DAMAGE)
    rows = region_results(made.mix, (STATIC, FLOAT, DYNAMIC), made.times, made.damage)
    assert [row.chosen for row in rows] == ["static INT8", "float", "dynamic INT8"]
    assert [row.nodes for row in rows] == [("Conv_0",), ("Conv_2",), ("Gemm_7",)]
    assert [row.operators for row in rows] == [("Conv",), ("Conv",), ("Gemm",)]
    first, _, last = rows
    assert [one.precision for one in first.choices] == ["float", "static INT8"]
    assert [one.ms for one in first.choices] == pytest.approx([0.05, 0.02])
    assert [one.noise for one in last.choices] == pytest.approx([0.0, 1e-4, 2e-4])


def test_what_was_not_measured_or_is_no_number_is_none():
    made = figures(TIME, DAMAGE)
    made.damage[0, STATIC] = np.inf
    (row, *_) = region_results(made.mix, (FLOAT,) * 3, None, made.damage)
    assert [one.ms for one in row.choices] == [None, None]
    assert [one.noise for one in row.choices] == [0.0, None]
    (row, *_) = region_results(made.mix, (FLOAT,) * 3, made.times, None)
    assert [one.noise for one in row.choices] == [None, None]


def test_the_frontier_goes_from_float_to_the_fastest():
    made = figures(TIME, DAMAGE)
    points = predicted_frontier(made.mix, made.times, made.damage)
    first, last = points[0], points[-1]
    assert (first.noise, first.ratio) == (0.0, pytest.approx(1.0))
    assert first.chosen == {"float": 3}
    assert last.chosen == {"static INT8": 2, "dynamic INT8": 1}
    assert last.ms == pytest.approx(0.055)
    assert last.ratio == pytest.approx(111 / 55)


amounts = st.lists(st.lists(st.floats(1e-6, 1e-3), min_size=3, max_size=3), min_size=3, max_size=3)


@settings(max_examples=6)
@given(amounts, amounts)
def test_more_noise_is_never_slower(time: list[list[float]], damage: list[list[float]]):
    quiet = [[0.0, *row[1:]] for row in damage]
    made = figures(time, quiet)
    points = predicted_frontier(made.mix, made.times, made.damage)
    assert 1 <= len(points) <= POINTS + 1
    noises, seconds = [one.noise for one in points], [one.ms for one in points]
    assert noises == sorted(noises)
    base = made.times.predicted((FLOAT,) * 3)
    for one in points:
        assert sum(one.chosen.values()) == 3
        assert one.ratio == pytest.approx(1e3 * base / one.ms)
    slack = 1e-9 + 1e-3 * max(seconds)  # what the solver may leave
    assert all(later <= earlier + slack for earlier, later in pairwise(seconds))


def test_where_nothing_costs_quality_there_is_one_point():
    made = figures(TIME, [[0.0] * 3] * 3)
    (point,) = predicted_frontier(made.mix, made.times, made.damage)
    assert point.noise == 0
    assert point.ms == pytest.approx(0.055)
