"""What is decided first, what is not tried at all, and what is taken back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import TARGET, Clock, Told, Verdicts, always, images, judged, looking, session_of

from calibration.collect import collect
from compressor.errors import RecipeError
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import Acceptance, NoBudget
from compressor.search.candidate import Judged, Outcome
from compressor.search.data_split import split_data
from compressor.search.session import Session
from compressor.search.strategy import NOTHING, UNSEEN, decide, is_for_bits
from exporters.base import Target
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

DATA, JUDGES = images(40, 3), images(40, 4)


def recipe(*, mode: str = "none", max_drop: str | None = None, **prune: Any) -> Recipe:
    return Recipe(
        prune=PruneOptions(**({"round": 1, "blocks": False} | prune)),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=4, mode=mode),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
        budget=BudgetOptions(max_drop=max_drop),
    )


def layer(channels: int = 32) -> ir.Model:
    """One convolution, or two with so many channels between."""
    if channels == 32:
        return model(
            "g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] y) "
            "{ y = Conv<pads=[1,1,1,1]>(x, w) }",
            w=[32, 32, 3, 3],
        )
    return model(
        f"""g (float[n,32,8,8] x, float[{channels},32,3,3] w, float[32,{channels},3,3] v)
            => (float[n,32,8,8] y)
        {{
            h = Conv<pads=[1,1,1,1]>(x, w)
            y = Conv<pads=[1,1,1,1]>(h, v)
        }}""",
        w=[channels, 32, 3, 3], v=[32, channels, 3, 3],
    )  # fmt: skip


def session(
    asked: Recipe, *, calibrated: bool = True, target: Target = TARGET, made: Any = None, **how: Any
) -> Session:
    return session_of(
        made or residual(), asked, how.pop("timer", Clock()), target=target,
        calibration=DATA if calibrated else None, evaluation=JUDGES, **how,
    )  # fmt: skip


def decided(made: Session, acceptance: Acceptance | None = None, **split: Any) -> Outcome:
    data = replace(split_data(made.prepared, 0), **split)
    return decide(made, data, acceptance or NoBudget(made, None, ""))


def budget(made: Session, search: Sequence[bool] = (), **how: Any) -> Verdicts:
    return Verdicts(made.prepared.evaluation, search, **how)


def stages(found: Outcome) -> list[str]:
    return [record.name for record in found.records]


# Goals that cannot be


def test_a_goal_needs_calibration_data_and_no_statistics():
    asked = recipe(macs="30%")
    with pytest.raises(RecipeError, match="--prune 30% needs calibration data") as error:
        decided(session(asked, calibrated=False))
    assert "without --stats" in (error.value.hint or "")
    made = session(asked)
    data = made.prepared.calibration
    assert data is not None
    stats = collect(made.prepared.model, ["x"], data)
    with pytest.raises(RecipeError, match="--prune 30% needs calibration data"):
        decide(made, split_data(made.prepared, 0, stats), NoBudget(made, None, ""), stats)


def test_a_goal_that_no_multiple_lets_reach_is_refused():
    with pytest.raises(RecipeError, match="nothing can be removed from this graph") as error:
        decided(session(recipe(speedup="1.5x", round=32)))
    assert "--prune-round" in (error.value.hint or "")


def test_what_only_the_multiple_of_its_precision_keeps_is_refused_with_that():
    asked = recipe(mode="int8", speedup="1.5x", round=None)
    with pytest.raises(RecipeError, match="in multiples of 16, which INT8 wants"):
        decided(session(asked, made=layer(16)))


@pytest.mark.parametrize(("calibrated", "why"), [(False, UNSEEN), (True, NOTHING)])
def test_a_size_is_left_to_the_bits_of_weights_where_nothing_can_go(calibrated: bool, why: str):
    told = Told()
    asked = recipe(mode="fp16", size="40kB", leave=("*",))
    found = decided(session(asked, calibrated=calibrated, progress=told))
    assert found.plan.stored is not None
    assert found.pruning is None
    record = next(record for record in found.records if record.name == "prune")
    assert record.decisions[0].verdict == "none"
    (notice,) = record.notices
    assert notice == f"--size 40kB is left to the bits of the weights: {why}"
    assert notice in told.notices


@pytest.mark.parametrize(
    ("mode", "goal", "bits"),
    [
        ("fp16", {"size": "1MB"}, True),
        ("int8", {"size": "1MB"}, False),
        ("fp16", {"macs": "30%"}, False),
    ],
)
def test_only_stored_weights_make_a_size_without_pruning(mode: str, goal: Any, bits: bool):
    asked = recipe(mode=mode, **goal)
    assert asked.prune.goal is not None
    assert is_for_bits(asked, asked.prune.goal) == bits


# What a budget prunes


@pytest.mark.parametrize(
    ("provable", "prune", "mode", "calibrated"),
    [
        (False, {}, "none", True),
        (True, {"macs": "none"}, "none", True),
        (True, {}, "fp16", True),
        (True, {}, "none", False),
    ],
    ids=["not provable", "switched off", "stored smaller", "no data"],
)
def test_nothing_is_pruned_within_a_budget(
    provable: bool, prune: dict[str, str], mode: str, calibrated: bool
):
    made = session(recipe(max_drop="50pt", mode=mode, **prune), calibrated=calibrated)
    found = decided(made, budget(made, [True] * 9, provable=provable))
    assert found.pruning is None
    assert "compare pruned graphs" not in stages(found)


def test_what_was_interrupted_before_its_race_is_not_pruned():
    made = session(recipe(mode="int8", max_drop="50pt"), made=layer(16), progress=Told("decide"))
    found = decided(made, budget(made, [True]))
    assert found.interrupted
    assert (found.plan.ship, found.pruning) == ("int8", None)
    assert found.reason == "INT8: interrupted before its speed was compared"


def test_where_nothing_can_be_timed_a_budget_prunes_nothing():
    target = TrtTarget(TrtOptions(precision="fp32"))
    asked = recipe(max_drop="50pt")
    made = session(asked, target=target)
    assert target.why_not_measurable() is not None
    assert decided(made, budget(made)).pruning is None


def test_without_budget_or_goal_the_whole_graph_ships():
    found = decided(session(recipe()))
    assert "switched off (--quantize none)" in found.reason
    assert found.shipped is found.baseline
    assert "find groups" not in stages(found)


# Data that says nothing


@pytest.mark.parametrize("mode", ["int8", "int8-static"])
def test_nothing_is_quantized_by_data_that_does_not_vary(mode: str):
    asked = recipe(mode=mode)
    found = decided(session(asked), degenerate="calibration data does not vary")
    assert found.plan.ship == "float"
    assert found.reason.startswith("nothing was quantized, as calibration data does not vary")
    assert "--keep-ruined" in found.reason


def test_it_is_quantized_all_the_same_where_that_is_asked_for_or_a_budget_judges():
    asked = recipe(mode="int8")
    still = "calibration data does not vary"
    keeps = asked.quantize.model_copy(update={"keep_ruined": True})
    asked = asked.model_copy(update={"quantize": keeps})
    kept = decided(session(asked, made=layer()), degenerate=still)
    assert kept.plan.ship == "int8"
    made = session(recipe(mode="int8", max_drop="50pt", macs="none"), made=layer())
    found = decided(made, budget(made, [True]), degenerate=still)
    assert found.plan.ship == "int8", "by the evaluation data"


def test_what_needs_no_ranges_does_not_care():
    found = decided(session(recipe(mode="fp16")), degenerate="it does not vary")
    assert found.plan.stored is not None


# Zeros that stand in the way of integers


class DenseOnly(Verdicts):
    """Whatever is sparse and integer loses too much."""

    def accepts(self, made: ir.Model) -> Judged:
        weights = [v.const_value.numpy() for v in made.graph.initializers.values() if v.const_value]
        large = [array for array in weights if array.ndim == 4]
        sparse = any(np.count_nonzero(array) < 0.6 * array.size for array in large)
        integer = any(array.dtype == np.int8 for array in large)
        return judged(not (sparse and integer))


def sparse_int8(acceptance: type[Verdicts]) -> Outcome:
    asked = recipe(mode="int8", max_drop="50pt", macs="none", sparsity="2:4")
    target = TrtTarget(TrtOptions(precision="int8-fp32"))
    made = session(asked, target=target, made=layer())
    return decided(made, acceptance(made.prepared.evaluation, [True] * 9))


def test_dense_integers_ship_where_sparse_ones_keep_no_budget():
    found = sparse_int8(DenseOnly)
    assert (found.plan.ship, found.plan.sparse) == ("int8", None)
    assert found.reason.endswith("with 2:4 sparse weights no INT8 graph kept the budget")
    told = {one.name: one for one in found.considered}
    assert told["1 layer 2:4 sparse, float"].accepted
    assert [one.shipped for one in found.considered].count(True) == 1
    assert found.considered[-1].shipped
    assert "2:4 sparsity" in stages(found)
    assert stages(found).count("fold") == 1


def test_sparse_integers_ship_where_they_keep_it():
    found = sparse_int8(Verdicts)
    assert found.plan.ship == "int8"
    assert found.plan.sparse is not None
    assert found.plan.sparse.layers == ("Conv_0",)
    assert [one.name for one in found.considered if one.shipped] == ["INT8"]


def test_sparse_float_ships_where_nothing_is_quantized():
    asked = recipe(max_drop="50pt", macs="none", sparsity="2:4")
    target = TrtTarget(TrtOptions(precision="fp32"))
    made = session(asked, target=target, made=layer())
    found = decided(made, budget(made, [True]))
    assert (found.plan.ship, [one.shipped for one in found.considered]) == ("float", [True])
    assert found.plan.sparse is not None
    made = session(asked, target=target, made=layer())
    refused = decided(made, budget(made, [False] * 9))
    assert refused.plan.sparse is None
    assert refused.reason.endswith("the budget refused 2:4 sparse weights")
    assert not any(one.shipped for one in refused.considered)


# In the end


def test_without_a_budget_a_ruined_result_is_taken_back():
    asked = recipe(mode="int8")
    made = session_of(
        layer(), asked, Clock(always(2.0)),
        calibration={"x": 1e-3 * DATA["x"]}, evaluation={"x": 50 * JUDGES["x"]},
    )  # fmt: skip
    data = split_data(made.prepared, 0)
    assert data.quality is not None
    made = looking(made, data.quality)
    found = decide(made, data, NoBudget(made, data.quality, data.words))
    assert found.plan.ship == "float"
    assert "its outputs are ruined" in found.reason
    assert "look for ruin" in stages(found)
