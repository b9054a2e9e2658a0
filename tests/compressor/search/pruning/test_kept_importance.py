"""Scores of units are taken where the graph, its groups and the samples are the same."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kept_sessions import Calls, graph, samples, session

from compressor.search.pruning.kept_importance import scored_units
from compressor.system import processors

SCORES = {"b": np.array([0.1, 1 / 3, np.inf]), "a/weird name": np.array([1e-300, 2.0])}


def grouping(units: int = 3) -> Any:
    groups = [SimpleNamespace(name="a/weird name", units=2), SimpleNamespace(name="b", units=units)]
    return SimpleNamespace(groups=groups)


def test_scores_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score, one = Calls(SCORES), session(tmp_path)
    for cores in (2, 1):  # a worker has fewer
        monkeypatch.setattr(processors, "_GRANTED", processors._Granted(cores))
        found = scored_units(one, graph(), grouping(), samples(), score)
        assert list(found) == list(SCORES), "in the same order"
        for name, array in SCORES.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == np.float64
    assert score.count == 1
    scored_units(one, graph(2.0), grouping(), samples(), score)
    scored_units(one, graph(), grouping(4), samples(), score)
    scored_units(one, graph(), grouping(), samples(1), score)
    other = session(tmp_path, prune={"method": "l2"})
    scored_units(other, graph(), grouping(), samples(), score)
    scored_units(session(None), graph(), grouping(), samples(), score)
    assert score.count == 6


def test_scores_that_do_not_fit_are_found_anew(tmp_path: Path) -> None:
    short, one = Calls({"b": np.ones(1)}), session(tmp_path)
    for _ in range(2):
        scored_units(one, graph(), grouping(), samples(), short)
    assert short.count == 2
