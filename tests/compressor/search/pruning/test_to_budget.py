"""A budget alone: pruned as far as it allows, never slower than whole, and only where confirmed."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from graphs import model, residual
from seams import Clock, Told, Verdicts, always, images, judged, session_of

from compressor.errors import CompressorError, PruningError, RecipeError
from compressor.graph.cost import macs
from compressor.graph.files import initializer_bytes
from compressor.plan.decisions import TrainedPlan
from compressor.pruning.selection.costs import Macs
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.reading import load_recipe
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import QualityResult
from compressor.search.candidate import Judged, Outcome
from compressor.search.data_split import split_data
from compressor.search.pruning import steps
from compressor.search.pruning.to_budget import PART, pruned_by_bisection
from compressor.search.session import Race
from compressor.search.strategy import decide


def recipe(*, mode: str = "none", time: str | None = None, **prune: Any) -> Recipe:
    return Recipe(
        prune=PruneOptions(**({"round": 1, "blocks": False} | prune)),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=1, mode=mode),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
        budget=BudgetOptions(max_drop="50pt", time=time),
    )


DATA, JUDGES = images(40, 3), images(80, 4)


@pytest.fixture(autouse=True)
def _kernels_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocation goes by multiply-accumulates."""
    monkeypatch.setattr(
        "compressor.search.pruning.candidates.KernelTimes",
        lambda *_, **__: SimpleNamespace(cost=Macs),
    )


def run(
    made: Any,
    asked: Recipe,
    search: Sequence[bool | Judged] = (),
    confirm: Sequence[bool] = (),
    clock: Clock | None = None,
    **more: Any,
) -> tuple[Outcome, Verdicts]:
    """What is decided where the halves of the samples say that in turn."""
    clock = clock or Clock()
    session = session_of(made, asked, clock, calibration=DATA, evaluation=JUDGES, **more)
    verdicts = Verdicts(session.prepared.evaluation, search, confirm)
    return decide(session, split_data(session.prepared, asked.seed), verdicts), verdicts


def notices(found: Outcome) -> list[str]:
    return [notice for record in found.records for notice in record.notices]


def shares(found: Outcome) -> list[float]:
    return [round(8 * (one.pruned or 0)) / 8 for one in found.considered]


def ships(found: Outcome) -> list[bool]:
    return [one.shipped for one in found.considered]


class Trains:
    """A trainer that changes nothing, and remembers how much it was asked for."""

    def __init__(self) -> None:
        self.parts: list[float] = []

    def train(self, start: Outcome, part: float = 1.0) -> Outcome:
        self.parts.append(part)
        plan = TrainedPlan(steps=1, threads=1, seed=0, torch="-", data="-")
        return start.then(plan=start.plan.model_copy(update={"trained": plan}))


def test_with_training_a_budget_goes_further_and_the_furthest_is_trained_whole(
    monkeypatch: pytest.MonkeyPatch,
):
    trainer = Trains()
    monkeypatch.setattr("compressor.search.strategy.trainer_of", lambda *_: trainer)
    far = judged(False, 2.0)
    untrained = [far, True, far]  # 1/2, 1/4, 3/8
    trained = [far, True, far, far, far, True]  # 5/8, 13/16, 23/32: without, then with
    verdicts = [*untrained, *trained, True]
    found, _ = run(residual(), recipe(), verdicts, [True] * 4)
    assert trainer.parts == [PART, PART, PART, 1.0]
    assert found.plan.trained is not None
    assert found.pruning is not None
    assert found.pruning.share is not None
    assert 0.6 < found.pruning.share < 0.8
    decisions = [one for record in found.records for one in record.decisions]
    (bought,) = (one for one in decisions if one.subject == "training")
    assert bought.verdict == "further"
    assert "without training" in bought.reason


def test_the_furthest_that_the_whole_training_may_bring_back_is_tried_first(
    monkeypatch: pytest.MonkeyPatch,
):
    trainer = Trains()
    monkeypatch.setattr("compressor.search.strategy.trainer_of", lambda *_: trainer)
    far, near = judged(False, 2.0), judged(False, 0.9)  # of 0.5 that are allowed
    untrained = [far, far, far]  # 1/2, 1/4, 1/8
    trained = [near, far, far, far, far]  # 1/2 again; 3/4 and 5/8: without, then with
    found, _ = run(residual(), recipe(), [*untrained, *trained, True, True], [True] * 4)
    assert trainer.parts == [PART, PART, PART, 1.0]
    assert found.pruning is not None
    assert found.pruning.share == pytest.approx(0.5, abs=0.1)


def test_a_budget_alone_prunes_as_far_as_it_allows():
    found, verdicts = run(residual(), recipe(), [False, True, False], [True])
    assert shares(found) == [0.5, 0.25, 0.375], "bisection, never above what was refused"
    assert ships(found) == [False, True, False]
    assert [one.accepted for one in found.considered] == [False, True, False]
    assert len(verdicts.shown) == 1
    assert "as far as the budget allows" in found.reason
    assert found.pruning is not None
    assert 0.2 < found.pruning.share < 0.35
    before, after = (macs(one, images(1, 0)).macs for one in (residual(), found.shipped))
    assert after < before


def test_shares_that_a_larger_one_rules_out_are_not_made():
    quality = QualityResult(
        metric="cosine", unit="", higher_is_better=True, reference="original", baseline=1.0,
        result=0.0, difference=-1.0, interval=None, samples=8, data="evaluation data",
    )  # fmt: skip
    lost = replace(judged(False, 1e6), quality=quality)
    found, verdicts = run(residual(), recipe(), [lost])
    assert shares(found) == [0.5, 0.25, 0.125]
    assert verdicts.shown == []
    first, *others = found.considered
    assert first.quality is not None and first.latency is not None
    for one in others:
        assert one.name.endswith("not built")
        assert one.quality is None and one.latency is None
        assert "foreseen to lose" in one.reason


def test_shares_grow_while_the_budget_holds_and_the_fastest_confirmed_ships():
    found, verdicts = run(residual(), recipe(least=0.05), [True, True, False], [True, True, True])
    assert shares(found) == [0.5, 0.75, 0.875]
    assert ships(found) == [False, True, False]
    assert len(verdicts.shown) == 2, "the refused is not confirmed"
    first, second = map(initializer_bytes, verdicts.shown)
    assert first > second, "in rising order of shares"


def test_a_share_out_of_reach_below_a_refused_one_does_not_end_the_search():
    """Blocks may remove a half, channels no more than a fifth, and blocks again two fifths."""
    reached, tried = {0.5: 0.54, 0.25: 0.21, 0.375: 0.4}, []

    def at(target: float) -> SimpleNamespace:
        share = 1 - target
        tried.append(share)
        made = SimpleNamespace(share=reached[share], refused=share == 0.5)
        return SimpleNamespace(candidate=made)

    session = SimpleNamespace(recipe=Recipe(), timer=Clock())
    candidates = cast(
        Any, SimpleNamespace(at=at, foreseen=lambda _: None, full=1.0, session=session)
    )
    assert not pruned_by_bisection(candidates, 0.0)
    assert tried == [0.5, 0.25, 0.375]


def test_what_removes_the_same_is_not_tried_twice():
    progress = Told()
    found, _ = run(residual(), recipe(round=16), [False], progress=progress)
    assert len(found.considered) == 1, "any share removes 16 of 32 channels"
    assert progress.stages.count("repair") == 1
    assert found.pruning is None


def test_a_graph_with_no_more_to_give_ends_it():
    found, _ = run(residual(), recipe(least=0.7), [True], [True])
    assert ships(found) == [True]
    assert found.pruning.share < 0.5


def test_what_is_not_confirmed_ends_the_ladder():
    found, verdicts = run(residual(), recipe(least=0.05), [True, True, False], [True, False])
    assert ships(found) == [True, False, False]
    assert len(verdicts.shown) == 2


def test_without_a_confirmed_one_the_whole_graph_ships():
    found, _ = run(residual(), recipe(), [False, True, False], [False])
    assert found.pruning is None
    assert not any(ships(found))
    assert "the confirming samples refused what was pruned" in found.reason


def test_int8_alone_is_confirmed_first_and_nothing_behind_it_where_it_is_not():
    found, verdicts = run(residual(), recipe(mode="int8"), [True] * 4, [False])
    assert len(verdicts.shown) == 1
    assert ships(found) == [True, *[False] * (len(found.considered) - 1)]
    assert found.considered[0].name == "INT8"
    assert found.pruning is None


def test_pruned_int8_ships_where_both_are_confirmed():
    asked = recipe(mode="int8")
    found, verdicts = run(residual(), asked, [True, True, False, False], [True, True])
    assert ships(found) == [False, True, False, False]
    assert found.plan.ship == "int8"
    name = found.considered[1].name
    assert name.endswith("pruned, INT8")
    assert len(verdicts.shown) == 2
    assert "the speed of INT8 alone" in found.reason
    stages = [record.name for record in found.records]
    assert stages.index("search within the budget, whole graph") < stages.index("select")
    told = {d.subject: d.verdict for record in found.records for d in record.decisions}
    assert told["whole"] == told[name] == "confirmed"


def test_the_stages_take_no_longer_than_the_whole():
    clock = Clock(tick=1.0)
    found, _ = run(residual(), recipe(mode="int8"), [True, True, False, False], [True] * 2, clock)
    own = {"fold", "find groups", "select", "repair", "trace units to the checkpoint"}
    assert sum(r.seconds for r in found.records if r.name not in own) <= clock.seconds


def test_no_share_is_accepted():
    found, _ = run(residual(), recipe(), [False] * 3)
    assert shares(found) == [0.5, 0.25, 0.125]
    assert found.pruning is None
    assert "no pruned graph kept the budget" in found.reason


def test_what_is_no_faster_than_the_whole_graph_does_not_ship():
    clock = Clock(always(1.01))
    found, _ = run(residual(), recipe(), [True] * 3, [True] * 3, clock)
    assert found.pruning is None, "although it was asked to keep what is slower"
    assert "was faster than float alone" in found.reason
    assert len(found.considered) == 3


def test_a_race_at_length_has_the_last_word():
    asked = recipe()

    def ratio(race: Race) -> float:
        short = race.seconds < asked.measure.seconds
        return 1.5 if short and race.baseline is not race.challenger else 1.0

    found, _ = run(residual(), asked, [False, True, False], [True], Clock(ratio))
    assert found.pruning is None
    assert "so that nothing was pruned" in found.reason


def test_one_can_say_no():
    found, _ = run(residual(), recipe(macs="none"))
    assert (found.pruning, found.considered) == (None, ())
    with pytest.raises(CompressorError, match="--prune and --latency cannot both"):
        load_recipe(None, {"prune": {"macs": "none", "latency": "4ms"}})


def test_a_graph_with_nothing_to_remove_ships_whole_with_a_notice():
    frozen = model(
        "g (float[n,32,8,8] x, float[6,32,1,1] w) => (float[n,6,8,8] y) { y = Conv(x, w) }",
        w=[6, 32, 1, 1],
    )
    found, _ = run(frozen, recipe())
    assert any("nothing can be removed" in notice for notice in notices(found))
    assert "inspect" in " ".join(notices(found))
    assert found.pruning is None


def test_a_timed_goal_that_nothing_can_reach_is_refused_before_the_work():
    clock = Clock()
    with pytest.raises(RecipeError, match="nothing can be removed") as error:
        run(residual(), recipe(leave=("*",), speedup="1.5x"), clock=clock)
    assert "compress inspect" in (error.value.hint or "")
    assert not clock.races


def test_the_time_budget_ends_it():
    clock = Clock(tick=1.0)
    found, _ = run(residual(), recipe(time="1s"), [True], clock=clock)
    assert found.considered == ()
    assert any("time budget of 1s ended the pruning" in one for one in notices(found))


def test_a_cut_that_the_oracle_refuses_is_told(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PruningError("the cut graph differs from the original at 'Conv_2'")

    monkeypatch.setattr(steps, "check", refuse)
    found, _ = run(residual(), recipe())
    assert found.pruning is None
    assert any("given up" in one and "'Conv_2'" in one for one in notices(found))


def test_interrupted_while_it_prunes_int8_alone_is_the_best_so_far():
    found, _ = run(residual(), recipe(mode="int8"), [True] * 4, progress=Told("cut"))
    assert (found.plan.ship, found.pruning) == ("int8", None)
    assert found.interrupted


def test_interrupted_before_anything_is_better_than_float_there_is_no_best():
    with pytest.raises(KeyboardInterrupt):
        run(residual(), recipe(), [True] * 4, progress=Told("cut"))
