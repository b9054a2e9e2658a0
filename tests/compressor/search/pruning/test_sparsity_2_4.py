"""2:4 sparse weights: in which layers, how many within a budget, and what time leaves out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual
from seams import Clock, Told, Verdicts, images, session_of

from compressor.errors import RecipeError
from compressor.graph.session import open_session
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.pruning.sparsity_2_4 import ATTEMPTS, STAGE, with_sparsity
from compressor.search.session import Session
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

DATA = images(16, 0)
BOTH = ("Conv_0", "Conv_2")


def session(
    clock: Clock | None = None, *, told: Told | None = None, time: str | None = None, **prune: Any
) -> Session:
    recipe = Recipe(
        prune=PruneOptions(**({"sparsity": "2:4"} | prune)),
        budget=BudgetOptions(max_drop="50pt", time=time),
    )
    return session_of(
        residual(), recipe, clock or Clock(), calibration=DATA,
        target=TrtTarget(TrtOptions(precision="fp32")), progress=told or Told(),
    )  # fmt: skip


def run(
    made: Session, acceptance: Acceptance | None = None, only: Sequence[str] | None = None
) -> tuple[Outcome, Outcome]:
    """Before, and after."""
    start = undecided(made)
    data = made.prepared.calibration
    return start, with_sparsity(made, start, data, acceptance or NoBudget(made, None, ""), only)


def zeros(made: ir.Model) -> dict[str, bool]:
    """Weight → whether two of every four neighbouring input channels are zero."""
    found = {}
    for name in ("w1", "w2", "w3"):
        tensor = made.graph.initializers[name].const_value
        assert tensor is not None
        quads = np.moveaxis(tensor.numpy(), 1, -1).reshape(-1, 4)
        found[name] = bool((np.count_nonzero(quads, axis=1) <= 2).all())
    return found


def verdicts(found: Outcome) -> dict[str, str]:
    return {one.subject: one.verdict for one in found.records[-1].decisions}


@pytest.fixture(scope="module")
def whole() -> tuple[Outcome, Outcome]:
    return run(session())


def test_every_layer_that_can_have_it_gets_the_pattern_and_no_other(whole):
    start, found = whole
    assert zeros(found.shipped) == {"w1": True, "w2": True, "w3": False}
    assert found.shipped is found.plain is found.graph
    assert zeros(start.shipped) == {"w1": False, "w2": False, "w3": False}
    assert found.plan.sparse is not None
    assert found.plan.sparse.layers == BOTH
    assert found.plan.model_copy(update={"sparse": None}) == start.plan
    record = found.records[-1]
    assert (record.name, record.changed) == (STAGE, {"2:4 sparse layers": 2})
    told = verdicts(found)
    assert told["2:4 sparse"] == "kept in 2 layers"
    assert (told["Conv_0"], told["Conv_2"], told["Gemm_7"]) == (
        "2:4 sparse",
        "2:4 sparse",
        "not eligible",
    )
    assert found.considered == (), "without a budget nothing was judged"


def test_what_stays_makes_up_for_what_went(whole):
    start, found = whole
    fresh = images(16, 7)
    dropped = start.shipped.clone()
    for name in ("w1", "w2"):
        value = dropped.graph.initializers[name]
        assert value.const_value is not None
        quads = np.moveaxis(value.const_value.numpy().copy(), 1, -1)
        grouped = quads.reshape(-1, 4)
        least = np.argsort(np.abs(grouped), axis=1)[:, :2]
        np.put_along_axis(grouped, least, 0, axis=1)
        value.const_value = ir.tensor(np.moveaxis(grouped.reshape(quads.shape), -1, 1), name=name)
    exact, largest, fitted = (
        open_session(one).run(None, fresh)[0] for one in (start.shipped, dropped, found.shipped)
    )
    assert np.square(fitted - exact).sum() < 0.7 * np.square(largest - exact).sum()


def test_only_the_named_layers_may_become_sparse():
    _, found = run(session(), only=("Conv_2", "Gemm_7"))
    assert zeros(found.shipped) == {"w1": False, "w2": True, "w3": False}
    assert found.plan.sparse is not None
    assert found.plan.sparse.layers == ("Conv_2",)


def test_where_nothing_may_become_sparse_that_is_told():
    start, found = run(session(), only=())
    assert found.plan == start.plan
    assert found.shipped is start.shipped
    assert verdicts(found)["2:4 sparse"] == "dense"


def test_it_has_to_be_asked_for_and_needs_samples():
    made = session(sparsity=None)
    start, found = run(made)
    assert found is start
    made = session()
    with pytest.raises(RecipeError, match="--sparsity 2:4 needs calibration data"):
        with_sparsity(made, undecided(made), None, NoBudget(made, None, ""))


# Within a budget


@pytest.mark.parametrize(
    ("search", "layers", "shipped"),
    [([True], 2, [2]), ([False, True], 1, [2, 1]), ([False, False], 0, [2, 1])],
    ids=["all", "the better half", "none"],
)
def test_a_budget_decides_how_many_layers(search: list[bool], layers: int, shipped: list[int]):
    made = session()
    start, found = run(made, Verdicts(made.prepared.calibration, search))
    sparse = found.plan.sparse
    assert (0 if sparse is None else len(sparse.layers)) == layers
    assert [one.name[0] for one in found.considered] == [str(count) for count in shipped]
    assert [one.accepted for one in found.considered] == search
    assert not any(one.shipped for one in found.considered), "what ships is decided later"
    if not layers:
        assert found.shipped is start.shipped
        assert found.plan == start.plan
    assert len(search) <= ATTEMPTS


# And within a time


@pytest.mark.parametrize(("tick", "sparse"), [(0.0, 2), (400.0, 0)])
def test_what_the_time_does_not_reach_stays_dense(tick: float, sparse: int):
    made = session(Clock(tick=tick), time="5m")
    _, found = run(made, Verdicts(made.prepared.calibration, [True] * ATTEMPTS))
    plan = found.plan.sparse
    assert (0 if plan is None else len(plan.layers)) == sparse
    told = {one.subject: (one.verdict, one.reason) for one in found.records[-1].decisions}
    if sparse:
        assert told["Conv_2"][0] == "2:4 sparse"
        return
    assert told["Conv_0"] == told["Conv_2"] == ("left alone", "the time was over")
    (notice,) = found.records[-1].notices
    assert notice == "the time budget ended it before 3 layers"
    assert found.considered == (), "a graph without zeros is no candidate"


def test_time_that_is_over_half_way_keeps_what_was_fitted():
    """The clock is read when the stage begins, and before every layer."""
    made = session(Clock(tick=200.0), time="5m")
    _, found = run(made, Verdicts(made.prepared.calibration, [True]))
    told = verdicts(found)
    assert {told["Conv_0"], told["Conv_2"]} == {"2:4 sparse", "left alone"}
    assert found.plan.sparse is not None
    assert zeros(found.shipped)["w1"]
    assert [one.accepted for one in found.considered] == [True]


def test_refusals_end_with_the_time():
    clock = Clock()

    class Late(Verdicts):
        def accepts(self, made: ir.Model):
            clock.seconds += 1000
            return super().accepts(made)

    made = session(clock, time="5m")
    _, found = run(made, Late(made.prepared.calibration, [False]))
    assert len(found.considered) == 1
    assert found.plan.sparse is None
