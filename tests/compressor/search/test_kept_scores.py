"""Scores of candidates are taken where original, candidate, samples and metric are the same."""

from pathlib import Path

import numpy as np
from kept_sessions import Calls, graph, samples, session

from compressor.evaluation.metrics.accuracy import METRIC as ACCURACY
from compressor.evaluation.metrics.base import BASELINE, RESULT, Scores
from compressor.evaluation.metrics.cosine import METRIC as COSINE
from compressor.search.kept_scores import scored_once

UNITS = {BASELINE: np.ones((8, 1)), RESULT: np.linspace(0, 1, 8)[:, None]}


def test_scores_are_taken_and_all_else_is_scored_anew(tmp_path: Path):
    score = Calls(Scores(UNITS, "original", 8, least=3))
    one = session(tmp_path)
    for _ in range(2):
        found = scored_once(one, COSINE, graph(2.0), samples(), score)
        told = (found.reference, found.samples, found.blocks, found.least)
        assert told == ("original", 8, False, 3)
        assert all(np.array_equal(found.units[name], UNITS[name]) for name in UNITS)
    assert score.count == 1
    scored_once(one, COSINE, graph(3.0), samples(), score)
    scored_once(one, COSINE, graph(2.0), samples(1), score)
    scored_once(one, ACCURACY, graph(2.0), samples(), score)
    scored_once(session(None), COSINE, graph(2.0), samples(), score)
    assert score.count == 5
