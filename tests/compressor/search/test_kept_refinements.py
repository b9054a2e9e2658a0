"""Refined plans are taken where graph, plan and samples are the same, and the end was reached."""

from pathlib import Path

import numpy as np
from kept_sessions import Calls, graph, samples, session

from compressor.plan.plan import GraphPlan
from compressor.search.kept_refinements import refined_once

PLAN = GraphPlan(graph="f", baseline="folded", ship="int8", integer=("scale",))
ROUNDED = {"scale": np.array([1, -2], np.int8)}


def refined(one: object, make: Calls, plan: GraphPlan = PLAN, seed: int = 0, *, over: bool = False):
    step = "round weights"
    return refined_once(one, step, graph(), plan, samples(seed), make, expired=lambda: over)


def test_a_refined_plan_is_taken_with_its_weights(tmp_path: Path):
    made = PLAN.model_copy(update={"rounded": ROUNDED})
    make, one = Calls(made), session(tmp_path)
    assert refined(one, make) is made
    found = refined(one, make)
    assert make.count == 1
    assert np.array_equal(found.rounded["scale"], ROUNDED["scale"])
    assert found.integer is PLAN.integer, "what was not refined is the plan's own"
    refined(one, make, seed=1)
    refined(one, make, plan=made)
    assert make.count == 3


def test_that_there_was_nothing_to_refine_is_kept_too(tmp_path: Path):
    make, one = Calls(PLAN), session(tmp_path)
    assert refined(one, make) is PLAN
    assert refined(one, make) is PLAN
    assert make.count == 1


def test_what_was_cut_short_is_not_kept(tmp_path: Path):
    make, one = Calls(PLAN), session(tmp_path)
    refined(one, make, over=True)
    refined(one, make)
    assert make.count == 2
