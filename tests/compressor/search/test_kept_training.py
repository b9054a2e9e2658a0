"""Trainings are taken where what is trained is the same, and came to their end."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kept_sessions import Calls, graph, samples, session

from compressor.recipe.training import Length, TrainOptions
from compressor.results.training import TrainingResult
from compressor.search.kept_training import trained_once
from compressor.training.task import Task, Training

TASK = Task(graph(2.0), graph(), samples(), samples(1), TrainOptions(), Length("5steps", steps=5))


def training(**fields: object) -> Training:
    kinds = {"int": 1, "float": 1.0, "str": "so", "bool": False}
    required = {n: f for n, f in TrainingResult.model_fields.items() if f.is_required()}
    values = {n: kinds.get(getattr(f.annotation, "__name__", "")) for n, f in required.items()}
    result = TrainingResult.model_validate({**values, "mode": "distill", **fields})
    return Training({"w": np.ones(2, np.float32)}, result)


@pytest.mark.parametrize(("interrupted", "times"), [(False, 1), (True, 2)])
def test_a_training_is_taken_if_it_ended(interrupted: bool, times: int, tmp_path: Path):
    train, one = Calls(training(interrupted=interrupted)), session(tmp_path)
    for _ in range(2):
        found = trained_once(one, TASK, train)
        assert found.result == train.result.result
        assert np.array_equal(found.weights["w"], np.ones(2))
    assert train.count == times


def test_another_start_or_length_is_trained_anew(tmp_path: Path):
    train, one = Calls(training()), session(tmp_path)
    trained_once(one, TASK, train)
    for task in (
        replace(TASK, student=graph(3.0)),
        replace(TASK, length=Length("6steps", steps=6)),
        replace(TASK, held_out=samples(2)),
        replace(TASK, seed=1),
    ):
        trained_once(one, task, train)
    assert train.count == 5
