"""Errors of layers are taken where graph, plan and samples are the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kept_sessions import graph, samples, session

from compressor.plan.plan import GraphPlan
from compressor.search.precision import kept_explanation
from compressor.search.precision.error_analysis import Explanation

PLAN = GraphPlan(graph="f", baseline="folded", ship="int8", integer=("scale",))


def test_an_explanation_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    def explain(*of: Any) -> Explanation:
        asked.append(of)
        return Explanation(reason="nothing to tell")

    monkeypatch.setattr(kept_explanation, "explain", explain)
    recipe = session(tmp_path).recipe
    pair = SimpleNamespace(recipe=recipe, target=SimpleNamespace(name="ort"))

    def outcome(plan: GraphPlan | None, scale: float = 1.0) -> Any:
        tried = None if plan is None else SimpleNamespace(plan=plan, float_reasons={})
        return SimpleNamespace(graph=graph(scale), quantized=tried)

    for _ in range(2):
        found = kept_explanation.explained_once(outcome(PLAN), pair, samples())
        assert found == Explanation(reason="nothing to tell")
    assert len(asked) == 1
    kept_explanation.explained_once(outcome(PLAN, 2.0), pair, samples())
    kept_explanation.explained_once(outcome(PLAN), pair, samples(1))
    kept_explanation.explained_once(outcome(None), pair, samples())
    kept_explanation.explained_once(outcome(PLAN), pair, None)
    assert len(asked) == 5
