"""Places that the runtime refuses stay float, and a step that fails in it is left out."""

import numpy as np
import pytest
from graphs import residual

from calibration.dataset import open_dataset
from compressor.checkpoint.prepare import prepare
from compressor.errors import GraphError
from compressor.plan.plan import GraphPlan
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.recipe import Recipe
from compressor.results.records import StageRecord
from compressor.search.precision import refused_nodes
from compressor.search.precision.refused_nodes import or_undone, runnable, without_refused
from compressor.search.session import Session
from compressor.system.progress import SILENT
from exporters.ort.target import TARGET


def session() -> tuple[Session, GraphPlan]:
    values = np.random.default_rng(0).standard_normal((8, 32, 8, 8)).astype(np.float32)
    recipe = Recipe()
    prepared = prepare(residual(), target=TARGET, recipe=recipe, calibration={"x": values})
    data, policy = open_dataset({"x": values}), TARGET.policy("avx2")
    chosen = calibrate(prepared.model, data, policy, CalibrationOptions("minmax"))
    plan = GraphPlan(
        graph="-", baseline="captured", ship="int8", cpu="avx2", weight_bits=7,
        integer=chosen.integer, ranges=dict(chosen.ranges),
    )  # fmt: skip
    return Session(prepared, recipe, TARGET, SILENT), plan


def test_halving_finds_what_is_refused() -> None:
    asked = []

    def refusal(names: list[str]) -> str | None:
        asked.append(names)
        return "no" if "7" in names or {"20", "21"} <= set(names) else None

    names = [str(number) for number in range(32)]
    kept, reasons = without_refused(names, refusal, "no")
    assert set(reasons) == {"7", "21"}
    assert kept == [name for name in names if name not in reasons]
    assert len(asked) < 24


def test_what_is_left_when_tries_are_over_stays_float(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_nodes, "TRIES", 2)
    kept, reasons = without_refused(["a", "b", "c"], lambda names: "no", "no")
    assert kept == []
    assert set(reasons) == {"a", "b", "c"}


def test_a_graph_that_runs_is_left_alone() -> None:
    found, plan = session()
    assert runnable(found, found.prepared.model, plan) == refused_nodes.Runnable(plan, {}, ())


def test_a_layer_that_the_runtime_refuses_stays_float(monkeypatch: pytest.MonkeyPatch) -> None:
    found, plan = session()
    real = refused_nodes.realize

    def broken(graph, plan, target):
        made = real(graph, plan, target)
        if "Conv_2" in plan.integer:
            node = next(node for node in made.graph if node.name == "Conv_2")
            node.op_type = "Convolution"
        return made

    monkeypatch.setattr(refused_nodes, "realize", broken)
    runs = runnable(found, found.prepared.model, plan)
    assert set(runs.float_reasons) == {"Conv_2"}
    assert "Convolution" in runs.float_reasons["Conv_2"]
    assert "Conv_2" not in runs.plan.integer
    assert {"Conv_0", "Gemm_7"} <= set(runs.plan.integer)
    assert "refused" in runs.records[0].notices[0]


def test_only_refusals_of_the_runtime_undo_a_step() -> None:
    found, _ = session()

    def refuse() -> StageRecord:
        raise GraphError("ONNX Runtime refuses the model: so")

    record = or_undone(found, "a step", refuse, lambda record, _: record)
    assert record.notices == ("a step was left out: ONNX Runtime refuses the model: so",)

    def fail() -> StageRecord:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        or_undone(found, "a step", fail, lambda record, _: record)
