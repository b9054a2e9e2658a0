"""The seams of a search: its clock, its races, and the records of its stages."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import residual
from seams import Clock, always, session_of

from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyResult
from compressor.search.session import Race, Stage

RECIPE = Recipe(measure=MeasureOptions(seconds=0.05, threads=1))


def test_a_stage_is_timed_by_the_timer_and_tells_what_was_put_in():
    clock = Clock()
    session = session_of(residual(), RECIPE, clock)
    with session.stage("look") as stage:
        clock.seconds += 3.0
        assert stage.elapsed == 3.0
        stage.decide("Conv_0", "float", "it is slower")
        stage.changed = {"layers": 1}
    clock.seconds += 2.0
    record = stage.record
    assert (record.name, record.seconds) == ("look", 3.0)
    assert record.decisions[0].subject == "Conv_0"
    assert record.changed == {"layers": 1}


def test_a_stage_that_fails_is_timed_all_the_same():
    clock = Clock()
    session = session_of(residual(), RECIPE, clock)
    stages: list[Stage] = []
    with pytest.raises(ValueError, match="so"), session.stage("look") as stage:
        stages.append(stage)
        clock.seconds += 1.5
        raise ValueError("so")
    assert stages[0].record.seconds == 1.5


def test_a_race_is_of_the_deciding_configuration():
    clock = Clock(always(1.5))
    session = session_of(residual(), RECIPE, clock)
    found = session.race(residual(), residual(), seconds=0.5)
    assert found is not None
    assert found.speed == 1.5
    (asked,) = clock.races
    assert asked.config == session.deciding
    assert asked.seconds == 0.5
    np.testing.assert_array_equal(asked.feeds["x"], session.feeds()["x"])


class Busy(Clock):
    """Several threads cannot be timed."""

    def race(self, asked: Race) -> LatencyResult:
        found = super().race(asked)
        known = asked.config.threads == 1
        return found if known else found.model_copy(update={"ratio": None, "interval": None})


def test_where_several_threads_cannot_be_timed_one_decides():
    recipe = RECIPE.model_copy(update={"measure": MeasureOptions(seconds=0.05, threads=1)})
    clock = Busy()
    session = session_of(residual(), recipe, clock)
    several = session.deciding.model_copy(update={"threads": 2})
    found = session.race(residual(), residual(), seconds=0.5)
    assert found is not None
    assert found.config.threads == 1
    assert clock.race(replace(clock.races[0], config=several)).ratio is None
