"""The loop: trials until there are enough, here or by workers, nothing measured twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphs import residual
from makers import maker_of
from studies import SPACE, opened

from compressor.evaluation.metrics import find_metric
from compressor.results.front import Found
from compressor.search.acceptance import GraphJudge
from compressor.search.recipes.evaluating import Evaluator, UnmakeableError, Yardsticks
from compressor.search.recipes.folds import Validation
from compressor.search.recipes.front import Values
from compressor.search.recipes.making import Maker, Outline
from compressor.search.recipes.running import Search, plan_path, save_plan, starting_points
from compressor.search.recipes.study import Study
from compressor.system.workers import LostWorkerError

pytest.importorskip("optuna")


class Costs(Evaluator):
    """An evaluator whose figures are the points themselves."""

    seen: list[dict[str, Any]]

    def outlined(self, point: Any) -> tuple[Outline, str]:
        return Outline(point, "float", {}, None, None), str(sorted(point.items()))

    def evaluated(self, outline: Outline, key: str, front: Any) -> tuple[Found, None]:
        self.seen.append(dict(outline.recipe))
        return found_of(0, outline.recipe, []), None


def found_of(number: int, point: Any, front: list[Values]) -> Found:
    del number, front
    if point["a"] == "z":
        raise UnmakeableError("no z")
    key = str(sorted(point.items()))
    return Found(loss=float(point["b"]), file_bytes=int(1000 - 500 * point["b"]), key=key)


@pytest.fixture(scope="module")
def maker() -> Maker:
    return maker_of(residual())


def search_of(maker: Maker, study: Study, folder: Path, **more: Any) -> Search:
    held = Yardsticks(find_metric("cosine"), 1.0, ("quality", "size"))
    samples = maker.shared.judging
    judge = GraphJudge(maker.shared.session)
    costs = Costs(maker, judge, held, samples, (samples,), Validation())
    costs.seen = []
    return Search(study, costs, folder, **({"trials": 12, "seconds": None} | more))


def test_as_many_trials_as_asked_for_and_none_twice(maker: Maker, tmp_path: Path) -> None:
    study = opened(tmp_path, "random")
    study.enqueue([{"a": "x", "b": 0.5}])
    search = search_of(maker, study, tmp_path, trials=25)
    search.run()
    told = study.told()
    assert len(told) == 25
    seen = search.evaluator.seen  # type: ignore[attr-defined]
    assert len({str(point) for point in seen}) == len([p for p in seen if p["a"] != "z"]) + len(
        {str(p) for p in seen if p["a"] == "z"}
    )
    assert any(one.found is not None and one.found.same_as is not None for one in told)
    assert {one.failed for one in told if one.point["a"] == "z"} == {"no z"}
    search.run()
    assert len(study.told()) == 25


def test_time_ends_a_search(maker: Maker, tmp_path: Path) -> None:
    study = opened(tmp_path, "random")
    search_of(maker, study, tmp_path, trials=None, seconds=0.0).run()
    assert study.told() == []


class Inside:
    """`Workers` of this process, which lose every fifth task."""

    count = 3

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.most = 0

    def submit(self, task: Callable[..., Any], *arguments: Any) -> int:
        ticket = arguments[0]
        try:
            answer: object = task(*arguments)
        except UnmakeableError as error:
            answer = error
        if ticket % 5 == 4:
            answer = LostWorkerError("its process died, twice")
        self.answers.append((ticket, answer))
        self.most = max(self.most, len(self.answers))
        return ticket

    def gather(self) -> tuple[int, object]:
        return self.answers.pop()

    def close(self) -> None:
        pass


def test_workers_have_as_many_trials_as_they_can_and_may_lose_some(
    maker: Maker, tmp_path: Path
) -> None:
    study, workers = opened(tmp_path, "random"), Inside()
    search_of(maker, study, tmp_path, workers=workers, remote=lambda: found_of).run()
    told = study.told()
    assert len(told) == 12
    assert workers.most == 3
    assert any(one.failed == "its process died, twice" for one in told)


def test_a_search_begins_with_the_front_of_the_sensitivity_table(maker: Maker) -> None:
    found = starting_points(maker.shared, ["regions"])
    shares = [point["regions"] for point in found]
    assert shares[0] == 1.0
    chosen = [maker.shared.regions.chosen(float(share)) for share in shares]
    assert maker.shared.regions.chosen(0.0) in chosen, "what may cost nothing is there"
    assert len(set(chosen)) == len(chosen)
    assert starting_points(maker.shared, list(SPACE.variables)) != []


def test_a_plan_lies_where_it_is_looked_for(maker: Maker, tmp_path: Path) -> None:
    made = maker.made(maker.outline({}))
    assert save_plan(maker.shared, tmp_path, 7, made) == plan_path(tmp_path, 7)
    assert (tmp_path / "plans" / "trial-007" / "plan.json").exists()
