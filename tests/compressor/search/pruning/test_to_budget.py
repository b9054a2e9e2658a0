"""A budget alone: pruned as far as it allows, never slower than whole, and only where confirmed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from compressor import Recipe, compress
from compressor.commands.goals_met import require_kept
from compressor.errors import CompressorError, PruningError, RecipeError
from compressor.evaluation.acceptance import Judgement
from compressor.graph.files import initializer_bytes
from compressor.pruning.selection.costs import Macs
from compressor.recipe.recipe import BudgetOptions, MeasureOptions, PruneOptions, QuantizeOptions
from compressor.report.verdict import headline
from compressor.results.measurements import LatencyConfig, LatencyResult, Timing
from compressor.results.records import Interval
from compressor.results.report import GraphReport, Report
from compressor.search.acceptance import Judging
from compressor.search.pruning import steps
from compressor.search.pruning.to_budget import _bisect
from compressor.search.session import Bench

CONFIG = LatencyConfig(batch=1, threads=1)
NOISE = 0.02
"""Share by which ratios have to differ from 1 to count."""


def recipe(*, mode: str = "none", time: str | None = None, **prune: Any) -> Recipe:
    return Recipe(
        prune=PruneOptions(**({"round": 1, "blocks": False} | prune)),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=1, mode=mode),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
        budget=BudgetOptions(max_drop="50pt", time=time),
    )


def images(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 32, 8, 8)).astype(np.float32)


DATA, JUDGES = {"x": images(40, 3)}, {"x": images(80, 4)}


def raced(ratio: float) -> LatencyResult:
    verdict = "no significant difference"
    if abs(ratio - 1) > NOISE:
        verdict = "faster" if ratio > 1 else "slower"
    timing = Timing(median_ms=1.0, p95_ms=1.0, trace=())
    return LatencyResult(
        config=CONFIG, deciding=True, rounds=9, baseline=timing, result=timing, ratio=ratio,
        interval=Interval(low=ratio, high=ratio), verdict=verdict,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _by_size(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed goes by size."""

    def race(self: Bench, slow: ir.Model, quick: ir.Model, **how: Any) -> LatencyResult:
        return raced(initializer_bytes(slow) / initializer_bytes(quick))

    monkeypatch.setattr(Bench, "race", race)
    monkeypatch.setattr(
        "compressor.search.pruning.candidates.KernelTimes",
        lambda *_, **__: SimpleNamespace(cost=Macs),
    )
    monkeypatch.setattr(
        "compressor.commands.final_measurements.measure_latency", lambda pair, known: (raced(2.0),)
    )


def judged(met: bool) -> Judgement:
    return Judgement(baseline=1.0, allowed=0.5, loss=0.1, bound=0.2, met=met, n=40, needed=None)


def verdicts(
    monkeypatch: pytest.MonkeyPatch, search: Sequence[bool], confirm: Sequence[bool] = ()
) -> list[ir.Model]:
    """What the halves of the samples say, in turn; what was shown to the confirming half."""
    searched: Iterator[bool] = iter(search)
    confirmed: Iterator[bool] = iter(confirm)
    shown: list[ir.Model] = []

    def confirms(self: Judging, prepared: object, target: object, candidate: ir.Model) -> Judgement:
        shown.append(candidate)
        return judged(next(confirmed))

    monkeypatch.setattr(Judging, "accepts", lambda self, judgement: next(searched))
    monkeypatch.setattr(Judging, "confirms", confirms)
    return shown


def run(made: ir.Model, out: Any, asked: Recipe, **more: Any) -> Report:
    return compress(made, calibration=DATA, evaluation=JUDGES, recipe=asked, output=out, **more)


def graph_of(report: Report) -> GraphReport:
    return report.graphs["model"]


def test_a_budget_alone_prunes_as_far_as_it_allows(tmp_path, monkeypatch):
    shown = verdicts(monkeypatch, [False, True, False], [True])
    report = run(residual(), tmp_path / "out", recipe())
    graph = graph_of(report)
    tried = [round(8 * candidate.pruned) / 8 for candidate in graph.candidates]
    assert tried == [0.5, 0.25, 0.375], "bisection, never above what was refused"
    assert [candidate.shipped for candidate in graph.candidates] == [False, True, False]
    assert all(candidate.quality is not None for candidate in graph.candidates)
    assert len(shown) == 1
    assert headline(graph).startswith("Pruned float ships")
    assert "as far as the budget allows" in graph.shipped_reason
    assert graph.goal is None
    assert graph.pruning is not None
    assert 0.2 < graph.pruning.share < 0.35
    assert graph.result_size.macs < graph.baseline_size.macs
    require_kept(graph)


def test_shares_grow_while_the_budget_holds_and_the_fastest_confirmed_ships(tmp_path, monkeypatch):
    shown = verdicts(monkeypatch, [True, True, False], [True, True, True])
    graph = graph_of(run(residual(), tmp_path / "out", recipe(least=0.05)))
    assert [round(8 * c.pruned) / 8 for c in graph.candidates] == [0.5, 0.75, 0.875]
    assert [c.shipped for c in graph.candidates] == [False, True, False]
    assert len(shown) == 2, "the refused is not confirmed"
    assert initializer_bytes(shown[0]) > initializer_bytes(shown[1]), "in rising order of shares"


def test_a_share_out_of_reach_below_a_refused_one_does_not_end_the_search():
    """Blocks may remove a half, channels no more than a fifth, and blocks again two fifths."""
    reached, tried = {0.5: 0.54, 0.25: 0.21, 0.375: 0.4}, []

    def at(target: float) -> SimpleNamespace:
        tried.append(1 - target)
        return SimpleNamespace(share=reached[1 - target], refused=1 - target == 0.5)

    attempts = cast(Any, SimpleNamespace(at=at, full=1.0))
    judging = cast(Any, SimpleNamespace(recipe=Recipe()))
    assert not _bisect(attempts, judging, 0.0)
    assert tried == [0.5, 0.25, 0.375]


def test_what_removes_the_same_is_not_tried_twice(tmp_path, monkeypatch):
    repaired: list[object] = []
    repair = steps.repair

    def counted(*arguments: object, **named: object) -> object:
        repaired.append(arguments)
        return repair(*arguments, **named)

    monkeypatch.setattr(steps, "repair", counted)
    verdicts(monkeypatch, [False])
    graph = graph_of(run(residual(), tmp_path / "out", recipe(round=16)))
    assert len(graph.candidates) == len(repaired) == 1, "any share removes 16 of 32 channels"
    assert graph.pruning is None


def test_a_graph_with_no_more_to_give_ends_it(tmp_path, monkeypatch):
    verdicts(monkeypatch, [True], [True])
    graph = graph_of(run(residual(), tmp_path / "out", recipe(least=0.7)))
    assert [c.shipped for c in graph.candidates] == [True]
    assert graph.pruning.share < 0.5


def test_what_is_not_confirmed_ends_the_ladder(tmp_path, monkeypatch):
    shown = verdicts(monkeypatch, [True, True, False], [True, False])
    graph = graph_of(run(residual(), tmp_path / "out", recipe(least=0.05)))
    assert [c.shipped for c in graph.candidates] == [True, False, False]
    assert len(shown) == 2
    require_kept(graph)


def test_without_a_confirmed_one_the_whole_graph_ships(tmp_path, monkeypatch):
    verdicts(monkeypatch, [False, True, False], [False])
    graph = graph_of(run(residual(), tmp_path / "out", recipe()))
    assert graph.pruning is None
    assert not any(candidate.shipped for candidate in graph.candidates)
    assert "the confirming samples refused what was pruned" in graph.shipped_reason
    require_kept(graph)


def test_int8_alone_is_confirmed_first_and_nothing_behind_it_where_it_is_not(tmp_path, monkeypatch):
    shown = verdicts(monkeypatch, [True, True, True, True], [False])
    graph = graph_of(run(residual(), tmp_path / "out", recipe(mode="int8")))
    assert len(shown) == 1
    assert [c.shipped for c in graph.candidates] == [True, *[False] * (len(graph.candidates) - 1)]
    assert graph.candidates[0].name == "INT8"
    assert graph.pruning is None


def test_pruned_int8_ships_where_both_are_confirmed(tmp_path, monkeypatch):
    shown = verdicts(monkeypatch, [True, True, False, False], [True, True])
    report = run(residual(), tmp_path / "out", recipe(mode="int8"))
    graph = graph_of(report)
    assert [c.shipped for c in graph.candidates] == [False, True, False, False]
    assert graph.shipped == "int8"
    assert graph.candidates[1].name.endswith("pruned, INT8")
    assert len(shown) == 2
    assert "the speed of INT8 alone" in graph.shipped_reason
    stages = [stage.name for stage in report.stages]
    assert stages.index("search within the budget, whole graph") < stages.index("select")
    told = {d.subject: d.verdict for s in report.stages for d in s.decisions}
    assert told["whole"] == told[graph.candidates[1].name] == "confirmed"
    assert sum(stage.seconds for stage in report.stages) <= 1.01 * report.seconds


def test_no_share_is_accepted(tmp_path, monkeypatch):
    verdicts(monkeypatch, [False] * 3)
    graph = graph_of(run(residual(), tmp_path / "out", recipe()))
    assert [round(8 * c.pruned) / 8 for c in graph.candidates] == [0.5, 0.25, 0.125]
    assert graph.pruning is None
    assert "no pruned graph kept the budget" in graph.shipped_reason


def test_what_is_no_faster_than_the_whole_graph_does_not_ship(tmp_path, monkeypatch):
    monkeypatch.setattr(Bench, "race", lambda *_, **__: raced(1.01))
    verdicts(monkeypatch, [True] * 3, [True] * 3)
    graph = graph_of(run(residual(), tmp_path / "out", recipe()))
    assert graph.pruning is None, "although it was asked to keep what is slower"
    assert "was faster than float alone" in graph.shipped_reason
    assert len(graph.candidates) == 3


def test_a_race_at_length_has_the_last_word(tmp_path, monkeypatch):
    def race(self: Bench, slow: ir.Model, quick: ir.Model, **how: Any) -> LatencyResult:
        return raced(
            1.5 if how["seconds"] < self.recipe.measure.seconds and slow is not quick else 1.0
        )

    monkeypatch.setattr(Bench, "race", race)
    monkeypatch.setattr("compressor.search.precision.search.Bench.race", race)
    verdicts(monkeypatch, [False, True, False], [True])
    graph = graph_of(run(residual(), tmp_path / "out", recipe()))
    assert graph.pruning is None
    assert "so that nothing was pruned" in graph.shipped_reason


def test_one_can_say_no(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("pruning was tried")

    monkeypatch.setattr("compressor.search.strategy.afford", fail)
    graph = graph_of(run(residual(), tmp_path / "out", recipe(macs="none")))
    assert (graph.pruning, graph.goal, graph.candidates) == (None, None, ())
    with pytest.raises(CompressorError, match="--prune and --latency cannot both"):
        from compressor.recipe.recipe import load_recipe

        load_recipe(None, {"prune": {"macs": "none", "latency": "4ms"}})


def test_a_graph_with_nothing_to_remove_ships_whole_with_a_notice(tmp_path, monkeypatch):
    frozen = model(
        "g (float[n,32,8,8] x, float[6,32,1,1] w) => (float[n,6,8,8] y) { y = Conv(x, w) }",
        w=[6, 32, 1, 1],
    )
    report = run(frozen, tmp_path / "out", recipe())
    assert any("nothing can be removed" in notice for notice in report.notices)
    assert "inspect" in " ".join(report.notices)
    assert graph_of(report).pruning is None


def test_a_timed_goal_that_nothing_can_reach_is_refused_before_the_work(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("work was done")

    for work in (
        "pruning.candidates.KernelTimes",
        "pruning.candidates.Pruner",
        "strategy.with_precision",
    ):
        monkeypatch.setattr(f"compressor.search.{work}", fail)
    with pytest.raises(RecipeError, match="nothing can be removed") as error:
        run(residual(), tmp_path / "out", recipe(leave=("*",), speedup="1.5x"))
    assert "compress inspect" in (error.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_the_time_budget_ends_it(tmp_path, monkeypatch):
    verdicts(monkeypatch, [True])
    report = run(residual(), tmp_path / "out", recipe(time="0.001s"))
    assert graph_of(report).candidates == ()
    assert any("time budget of 0.001s ended the pruning" in one for one in report.notices)


def test_a_cut_that_the_oracle_refuses_is_told(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PruningError("the cut graph differs from the original at 'Conv_2'")

    monkeypatch.setattr("compressor.search.pruning.steps.check", refuse)
    report = run(residual(), tmp_path / "out", recipe())
    assert graph_of(report).pruning is None
    assert any("given up" in one and "'Conv_2'" in one for one in report.notices)


class Stopping:
    """A `Progress` that stops the run at a stage."""

    def __init__(self, stop: str) -> None:
        self.stop = stop

    @contextmanager
    def stage(self, name: str, total: int | None = None):
        if name == self.stop:
            raise KeyboardInterrupt
        yield lambda units: None

    def notice(self, text: str) -> None:
        pass


def test_interrupted_while_it_prunes_int8_alone_is_the_best_so_far(tmp_path, monkeypatch):
    verdicts(monkeypatch, [True] * 4)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match="the best so far was written"):
        run(residual(), out, recipe(mode="int8"), progress=Stopping("cut"))
    graph = graph_of(Report.model_validate_json((out / "report.json").read_text()))
    assert (graph.shipped, graph.pruning) == ("int8", None)
    assert graph.budget is not None
    assert graph.budget.interrupted


def test_interrupted_before_anything_is_better_than_float_nothing_is_written(tmp_path, monkeypatch):
    verdicts(monkeypatch, [True] * 4)
    with pytest.raises(KeyboardInterrupt) as stop:
        run(residual(), tmp_path / "out", recipe(), progress=Stopping("cut"))
    assert str(stop.value) == ""
    assert not (tmp_path / "out").exists()
