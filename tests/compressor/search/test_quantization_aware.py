"""Integers of few bits are trained at the end of a search, and its plan replays them."""

from copy import copy
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from pruning_graphs import residual
from seams import TARGET, Timed, Verdicts, always, session_of

from compressor import Recipe
from compressor.errors import RecipeError
from compressor.evaluation.metrics import find_metric
from compressor.graph.files import serialize
from compressor.plan.plan import Plan
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.requirements.sense import require_sense
from compressor.search.acceptance import NoBudget
from compressor.search.candidate import Judged
from compressor.search.data_split import split_data
from compressor.search.replay import replay
from compressor.search.strategy import decide
from compressor.search.training import with_training_samples

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((96, 3, 8, 8)).astype(np.float32)
X = RNG.standard_normal((1200, 64)).astype(np.float32)
TRAIN = {"length": "24steps", "threads": 1, "batch": 64, "rate": 0.0005}


def products() -> ir.Model:
    model = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,64] x) => (float[n,64] y) { h = MatMul (x, w) r = Tanh (h) y = MatMul (r, v) }"
    )
    for place, name in ((0, "w"), (2, "v")):
        array = (np.random.default_rng(place).standard_normal((64, 64)) / 8).astype(np.float32)
        value = ir.Value(
            name=name, shape=ir.Shape([64, 64]), type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(array, name=name),
        )  # fmt: skip
        model.graph[place].replace_input_with(1, value)
        model.graph.register_initializer(value)
    return model


def recipe_of(train: dict[str, object] | None, **quantize: object) -> Recipe:
    return Recipe.model_validate(
        {
            "quantize": {"mode": "int4", **quantize},
            "measure": {"seconds": 0.05, "metric": "sqnr", "memory": False},
            "train": train or {},
        }
    )


def test_blocks_of_four_bits_are_trained_and_the_plan_replays_without_data(tmp_path: Path) -> None:
    recipe = recipe_of({**TRAIN, "length": "100steps"}, block=64, symmetric=True)
    session = session_of(products(), recipe, Timed(always(2.0)), calibration={"x": X})
    data = with_training_samples(
        session.prepared, split_data(session.prepared, recipe.seed), recipe
    )
    found = decide(session, data, NoBudget(session, None, ""))
    result = found.integer_training
    assert result is not None
    assert result.kept, result.reason
    assert result.quantized
    assert result.parameters == 2 * 64 * 64 // 2  # two integers a byte
    assert result.after is not None
    assert result.before is not None
    assert result.after < 0.9 * result.before
    plan = Plan(target="ort", seed=0, graphs={"model": found.plan})
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json").graphs["model"]
    assert again.integers_trained is not None
    assert again.integers_trained.steps == 100
    replayed = replay(session_of(products(), recipe_of(None), Timed(always(2.0))), again)
    assert serialize(replayed.shipped) == serialize(found.shipped)


def test_blocks_of_the_standard_operator_are_trained_likewise() -> None:
    """TensorRT's, whatever way the matrix lies; what was trained is what the plan makes."""
    recipe = recipe_of({**TRAIN, "length": "100steps"}, block=64, symmetric=True)
    target = copy(TARGET)
    target.blocks_as = "standard"
    made = products()
    made.opset_imports[""] = 21
    session = session_of(made, recipe, Timed(always(2.0)), calibration={"x": X}, target=target)
    data = with_training_samples(
        session.prepared, split_data(session.prepared, recipe.seed), recipe
    )
    found = decide(session, data, NoBudget(session, None, ""))
    assert found.integer_training is not None
    assert found.integer_training.kept, found.integer_training.reason
    assert found.integer_training.parameters == 2 * 64 * 64
    assert {node.op_type for node in found.shipped.graph} == {"DequantizeLinear", "MatMul", "Tanh"}
    again = replay(session, found.plan)
    assert serialize(again.shipped) == serialize(found.shipped)


def test_what_a_budget_refuses_is_trained_before_it_gets_more_bits() -> None:
    recipe = recipe_of({**TRAIN, "length": "100steps"}, block=64, symmetric=True)
    recipe = recipe.model_copy(update={"budget": BudgetOptions(max_drop="1pt")})
    session = session_of(products(), recipe, Timed(always(2.0)), calibration={"x": X})
    data = with_training_samples(
        session.prepared, split_data(session.prepared, recipe.seed), recipe
    )
    refused, accepted = (Judged(met, loss, "said") for met, loss in ((False, 2.0), (True, 0.5)))
    found = decide(session, data, Verdicts(data.quality, [refused, accepted]))
    assert found.plan.integers_trained is not None
    assert found.integer_training is not None
    assert [one.name for one in found.considered][-1].endswith("INT4, trained")
    assert [one.name for one in found.records].count("quantization-aware training") == 1


@pytest.mark.parametrize(("bits", "trained"), [(3, True), (7, False)])
def test_layers_are_trained_through_their_rounding_where_bits_are_few(
    bits: int, trained: bool, tmp_path: Path
) -> None:
    recipe = recipe_of({**TRAIN, "rate": 0.004}, mode="int8", weight_bits=bits, keep_ruined=True)
    session = session_of(residual(), recipe, Timed(always(2.0)), calibration={"x": IMAGES})
    data = with_training_samples(
        session.prepared, split_data(session.prepared, recipe.seed), recipe
    )
    found = decide(session, data, NoBudget(session, None, ""))
    assert found.plan.ship == "int8"
    assert (found.integer_training is not None) == trained
    if found.integer_training is None:
        return
    assert found.integer_training.kept, found.integer_training.reason
    most = 2 ** (bits - 1) - 1
    assert found.plan.rounded
    assert all(np.abs(codes).max() <= most for codes in found.plan.rounded.values())
    assert found.reason.endswith("its integers were trained")
    assert found.plan.bias, "biases are trained beside the integers"
    plan = Plan(target="ort", seed=0, graphs={"model": found.plan})
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json").graphs["model"]
    replayed = replay(session_of(residual(), recipe_of(None), Timed(always(2.0))), again)
    assert serialize(replayed.shipped) == serialize(found.shipped)


def test_training_alone_needs_something_that_it_can_bring_back() -> None:
    require_sense(recipe_of(TRAIN), TARGET, find_metric)
    require_sense(recipe_of(TRAIN, mode="int8", weight_bits=4), TARGET, find_metric)
    with pytest.raises(RecipeError, match="what pruning or few bits took, and neither is asked"):
        require_sense(recipe_of(TRAIN, mode="int8"), TARGET, find_metric)
