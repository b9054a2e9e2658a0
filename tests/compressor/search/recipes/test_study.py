"""Trials in storage: the same whether broken off or not, taken up where a process was killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import studies
from studies import IDENTITY, SPACE, evaluate, opened

from compressor.errors import UsageError
from compressor.results.front import Found
from compressor.search.recipes.samplers import LEARN_FROM_ESTIMATES, require_sampler
from compressor.search.recipes.storage import JOURNAL
from compressor.search.recipes.study import open_study

pytest.importorskip("optuna")


def searched(folder: Path, sampler: str, *counts: int) -> list[tuple[dict, object]]:
    """Trials of as many processes one after the other as there are counts."""
    for count in counts:
        study = opened(folder, sampler)
        for _ in range(count):
            evaluate(study, study.ask())
    return [(one.point, one.values) for one in study.told()]


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "grid"])
def test_a_search_that_was_broken_off_goes_on_as_if_it_had_not_been(
    tmp_path: Path, sampler: str
) -> None:
    whole = searched(tmp_path / "whole", sampler, 16)
    assert searched(tmp_path / "parts", sampler, 5, 11) == whole
    assert len({json.dumps(point) for point, _ in whole}) > 6


@pytest.mark.parametrize("sampler", ["nsga2", "gp", "tpe", "random"])
def test_stopped_trials_are_no_points_but_may_be_learnt_from(tmp_path: Path, sampler: str) -> None:
    """Of a search that stops all but one in four, NSGA-II saw a fourth: hardly two generations."""
    study = opened(tmp_path, sampler)
    for index in range(16):
        asked = study.ask()
        stopped = None if index % 4 == 0 else "above the budget"
        loss = float(asked.point["b"])
        values, estimate = (loss, 1 - loss), (loss, 1 - loss)
        study.tell(
            asked, Found(loss=loss, stopped=stopped), None if stopped else values, {}, estimate
        )
    told = study.told()
    assert [one.values is None for one in told] == [index % 4 != 0 for index in range(16)]
    states = {trial.state.name for trial in study._study.get_trials()}
    learns = sampler in LEARN_FROM_ESTIMATES
    assert states == ({"COMPLETE"} if learns else {"COMPLETE", "PRUNED"})
    if sampler == "nsga2":
        later = study._study.get_trials()[-1].system_attrs
        assert later["NSGAIISampler:generation"] == 1, "one of 12 was whole"


def test_what_is_not_known_at_all_is_pruned_for_every_sampler(tmp_path: Path) -> None:
    study = opened(tmp_path, "nsga2")
    study.tell(study.ask(), Found(stopped="the kernel model"), None, {}, None)
    assert [trial.state.name for trial in study._study.get_trials()] == ["PRUNED"]


def test_a_grid_has_every_point_once(tmp_path: Path) -> None:
    searched(tmp_path, "grid", len(SPACE.grid()) - 1)
    study = opened(tmp_path, "grid")
    assert not study.is_exhausted()
    evaluate(study, study.ask())
    assert study.is_exhausted()
    found = [(one.point, one.values) for one in study.told()]
    assert sorted(map(str, SPACE.grid())) == sorted(str(point) for point, _ in found)


KILLED = """
import os, sys
sys.path[:0] = [{here!r}]
from studies import opened
from pathlib import Path
study = opened(Path({folder!r}))
asked = study.ask()
print(asked.point, flush=True)
os.kill(os.getpid(), 9)
"""


def test_the_trial_of_a_killed_process_is_taken_up_again(tmp_path: Path) -> None:
    whole = searched(tmp_path / "whole", "tpe", 4)
    searched(tmp_path / "killed", "tpe", 2)
    script = KILLED.format(here=str(Path(studies.__file__).parent), folder=str(tmp_path / "killed"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == -9, done.stderr
    journal = tmp_path / "killed" / JOURNAL
    with journal.open("ab") as file:  # it was writing a line, too
        file.write(b'{"op_code": 5, "wor')
    study = opened(tmp_path / "killed")
    assert study.taken_up == 1
    for _ in range(2):
        evaluate(study, study.ask())
    found = study.told()
    assert [(one.point, one.values) for one in found] == whole
    assert str(found[2].point) in done.stdout
    assert len({one.number for one in found}) == 4


def test_what_was_enqueued_comes_first_and_once(tmp_path: Path) -> None:
    study = opened(tmp_path)
    for _ in range(2):
        study.enqueue([{"a": "y", "b": 0.5}, {"a": "y", "b": 0.51}, {"a": "x", "b": 0.25}])
    first = [study.ask() for _ in range(2)]
    assert [one.point for one in first] == [{"a": "y", "b": 0.5}, {"a": "x", "b": 0.25}]


def test_what_cannot_be_made_counts_and_is_not_repeated_to_the_sampler(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.fail(study.ask(), "nothing may go")
    assert [(one.failed, one.values) for one in study.told()] == [("nothing may go", None)]


def test_a_study_of_another_model_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(UsageError, match="is of another model: abc there, other here"):
        open_study(
            tmp_path,
            SPACE,
            {**IDENTITY, "model": "other"},
            objectives=2,
            storage=None,
            name="compress",
            sampler="tpe",
            seed=5,
        )


def test_a_sampler_says_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="optimizes one objective, and 2 are given"):
        require_sampler("cmaes", 2)
