"""From a point of the space to the plan that makes it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual, tied_head
from makers import maker_of

from compressor.graph.files import initializer_bytes, serialize
from compressor.plan.plan import Plan
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.precision.regions import FLOAT
from compressor.search.recipes.evaluating import digest_of
from compressor.search.recipes.making import Maker
from compressor.search.replay import replay
from compressor.search.session import Session


@pytest.fixture(scope="module")
def maker() -> Maker:
    return maker_of(residual())


def shipped(maker: Maker, **point: Any) -> ir.Model:
    return maker.made(maker.outline(point)).outcome.shipped


@pytest.mark.parametrize(
    "point",
    [
        {"rounding": "gptq", "bias": "corrected", "equalization": "auto", "ranges": "minmax"},
        {"regions": 0.5},
        {"prune": 0.3, "round": "1", "regions": 1.0},
        {"precision": "int8-weights"},
        {"precision": "float", "prune": 0.3, "round": "1"},
    ],
    ids=", ".join,
)
def test_the_plan_of_a_point_replays_to_the_same_bytes(
    maker: Maker, point: dict[str, Any], tmp_path: Path
) -> None:
    made = maker.made(maker.outline(point))
    Plan(target="ort", seed=0, graphs={"model": made.plan}).save(tmp_path / "plan.json")
    again = replay(maker.shared.session, Plan.load(tmp_path / "plan.json").graphs["model"])
    assert serialize(again.shipped) == serialize(made.outcome.shipped)


def test_a_head_that_reads_a_turned_table_can_be_integer(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 300, (40, 5))
    maker = maker_of(tied_head(), {"ids": ids})
    assert "MatMul_3" in [node for one in maker.shared.regions.mix.regions for node in one.weighted]
    made = maker.made(maker.outline({"region:MatMul_3": "int8", "rounding": "gptq"}))
    assert "MatMul_3" in made.plan.quantized
    Plan(target="ort", seed=0, graphs={"model": made.plan}).save(tmp_path / "plan.json")
    again = replay(maker.shared.session, Plan.load(tmp_path / "plan.json").graphs["model"])
    assert serialize(again.shipped) == serialize(made.outcome.shipped)
    stored = maker.made(maker.outline({"precision": "int8-weights"})).outcome.shipped
    assert initializer_bytes(stored) < 0.6 * initializer_bytes(maker.shared.start.graph)


def test_a_bound_of_nothing_is_float_whatever_else_is_said(maker: Maker) -> None:
    one = maker.outline({"regions": 0.0, "rounding": "gptq", "ranges": "mse"})
    other = maker.outline({"precision": "float", "bias": "corrected"})
    assert one.precision == "float"
    assert digest_of(one) == digest_of(other)


def test_a_single_region_can_be_left_float(maker: Maker) -> None:
    node = maker.shared.regions.mix.regions[0].weighted[0]
    outline = maker.outline({f"region:{node}": "float"})
    assert outline.chosen[node] == FLOAT
    assert any(choice != FLOAT for choice in outline.chosen.values())


def test_what_is_pruned_is_smaller_and_predicted_so(maker: Maker) -> None:
    whole, small = (shipped(maker, prune=share, round="1") for share in (0.0, 0.4))
    assert initializer_bytes(small) < initializer_bytes(whole)


def test_smoothing_has_the_strength_that_is_asked_for(maker: Maker) -> None:
    outline = maker.outline({"smoothing": "0.5"})
    assert outline.recipe["smoothing"] == "0.5"
    assert np.isfinite(np.float64(len(maker.made(outline).plan.integer)))


def test_what_is_pruned_may_be_trained(maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Trains:
        def train(self, start: Outcome) -> Outcome:
            return start.then(reason="trained")

    def trainer(session: Session, data: DataSplit) -> Trains:
        assert data.training is not None
        asked.append(session.recipe.train.length)
        return Trains()

    monkeypatch.setattr("compressor.search.recipes.making.trainer_of", trainer)
    pruned = {"prune": 0.4, "round": "1", "precision": "float"}
    found = maker.made(maker.outline(pruned | {"training": "7steps"})).outcome
    assert asked == ["7steps"]
    assert found.plan.prune is not None
    maker.made(maker.outline({"training": "7steps"}))
    assert asked == ["7steps"]
