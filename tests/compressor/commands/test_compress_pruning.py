"""Pruning through the front door: goals reached, refused and held back, replayed, reverted."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from click.testing import CliRunner
from graphs import model, residual

from compressor import Recipe, compress
from compressor.cli.main import cli
from compressor.commands.goals_met import require_kept
from compressor.errors import GoalError, PruningError, RecipeError
from compressor.graph.files import save_model
from compressor.graph.session import open_session
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.report.frontier import frontier
from compressor.report.verdict import headline
from compressor.results.graph_report import GraphReport
from compressor.results.measurements import LatencyConfig
from compressor.results.report import Report
from compressor.search.candidate import Judged
from compressor.search.quality_budget import QualityBudget
from compressor.system.output_folder import sha256

pytestmark = pytest.mark.usefixtures("quick")


def recipe(
    *, mode: str = "none", max_drop: str | None = None, metric: str | None = None, **prune: Any
) -> Recipe:
    return Recipe(
        prune=PruneOptions(**({"round": 1} | prune)),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=1, mode=mode),
        measure=MeasureOptions(seconds=0.05, metric=metric),
        budget=BudgetOptions(max_drop=max_drop),
    )


def images(samples: int = 40, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 32, 8, 8)).astype(np.float32)


DATA = {"x": images()}
DECIDING = LatencyConfig(batch=1, threads=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "net.onnx"
    save_model(residual(), path)
    return path


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("run") / "out"
    report = compress(
        source, calibration=DATA, recipe=recipe(mode="int8", macs="30%", blocks=False), output=out
    )
    return out, report


def graph_of(report: Report) -> GraphReport:
    return report.graphs["model"]


def runs(folder: Path) -> None:
    session = open_session(folder / "model.onnx", threads=1)
    for batch in (1, 3):
        (y,) = session.run(None, {"x": images(batch)})
        assert y.shape == (batch, 10)
        assert np.isfinite(y).all()


def test_the_share_is_removed_and_the_artifact_runs(done: tuple[Path, Report]):
    out, report = done
    graph = graph_of(report)
    assert graph.shipped == "int8"
    assert headline(graph).startswith("Pruned INT8 ships")
    assert graph.result_size.macs <= 0.7 * graph.baseline_size.macs
    assert graph.goal is not None
    assert graph.goal.met
    assert graph.goal.measured == pytest.approx(
        1 - graph.result_size.macs / graph.baseline_size.macs
    )
    require_kept(graph)
    runs(out)


def test_the_report_tells_what_was_removed_predicted_and_measured(done: tuple[Path, Report]):
    pruning = graph_of(done[1]).pruning
    assert pruning is not None
    (group,) = pruning.groups
    assert (group.name, group.units_before) == ("Conv_0", 32)
    assert group.units_after < 32
    assert set(group.weights) == {"w1", "b1", "w2", "b2", "w3"}
    assert group.damage > 0
    read = [layer for layer in pruning.layers if layer.node in ("Conv_2", "Gemm_7")]
    assert group.error_before == pytest.approx(sum(layer.error_before for layer in read))
    assert group.error_after < group.error_before
    assert {layer.node for layer in pruning.layers} == {"Conv_0", "Conv_2", "Gemm_7"}
    assert (pruning.cost, pruning.method, pruning.predicted_ms) == ("macs", "obs", None)
    assert pruning.measured_ms == graph_of(done[1]).latency[0].result.median_ms
    tried = graph_of(done[1]).candidates
    assert [candidate.shipped for candidate in tried] == [False, True]
    assert tried[0].name == "INT8"
    assert tried[0].reason.endswith("; then a pruned one took its place")
    assert "pruned, INT8" in tried[1].name
    assert [candidate.pruned for candidate in tried] == [None, pruning.share]


def test_without_a_budget_candidates_carry_what_they_lose(done: tuple[Path, Report]):
    graph = graph_of(done[1])
    assert graph.budget is None
    losses = [candidate.quality for candidate in graph.candidates]
    assert {one.data for one in losses} == {"calibration samples not used to calibrate"}
    assert {one.samples for one in losses} == {8}, "a fifth of 40"
    assert losses[0].result > losses[1].result, "INT8 loses less than pruned INT8"
    assert losses[1].result == pytest.approx(graph.quality[0].result, abs=1e-6)
    assert frontier(graph, "f") is not None


def test_every_form_of_the_report_tells_it(done: tuple[Path, Report]):
    out, report = done
    html, text = ((out / name).read_text() for name in ("report.html", "report.md"))
    assert "What was removed" in html
    assert "Pruned INT8" in html
    assert "which computes what the original does" not in html
    assert "**Goal of --prune 30%: met:" in text
    assert "Removed 3" in text
    assert Report.model_validate_json((out / "report.json").read_text()) == report


def test_the_weights_of_the_plan_are_part_of_the_result(done: tuple[Path, Report]):
    out, report = done
    files = json.loads((out / "manifest.json").read_text())["files"]
    assert files["plan.safetensors"]["sha256"] == sha256(out / "plan.safetensors")
    assert {Path(path).name for path in report.files.values()} == {p.name for p in out.iterdir()}


def test_replaying_the_plan_gives_the_same_bytes(
    source: Path, done: tuple[Path, Report], tmp_path: Path
):
    out, first = done
    again = compress(
        source, calibration=DATA, recipe=recipe(mode="int8"), output=tmp_path / "again",
        plan=out / "plan.json",
    )  # fmt: skip
    for name in ("model.onnx", "plan.json", "plan.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes(), name
    graph = graph_of(again)
    assert graph.goal is None
    assert graph.pruning is not None
    (group,) = graph.pruning.groups
    (before,) = graph_of(first).pruning.groups
    assert (group.units_before, group.units_after) == (before.units_before, before.units_after)
    assert (group.damage, graph.pruning.layers) == (None, ())
    assert headline(graph).startswith("Pruned INT8 ships")


def test_a_pruned_float_graph_is_judged_like_any_other(source: Path, tmp_path: Path):
    report = compress(
        source, calibration=DATA, evaluation={"x": images(60, 4)}, output=tmp_path / "out",
        recipe=recipe(params="40%", max_drop="50pt", metric="cosine"),
    )  # fmt: skip
    graph = graph_of(report)
    assert graph.shipped == "float"
    assert headline(graph).startswith("Pruned float ships")
    assert graph.goal is not None
    assert graph.goal.met
    assert graph.result_size.parameters <= 0.6 * graph.baseline_size.parameters
    assert graph.budget is not None
    assert graph.budget.point > 0
    assert "computes what the original does" not in graph.budget.reason
    assert graph.changed_reason != "float ships, which computes what the original does"
    runs(tmp_path / "out")


@pytest.mark.parametrize(("threshold", "some"), [("0.9", True), ("0.001", False)])
def test_what_is_below_a_threshold_goes(source: Path, tmp_path: Path, threshold: str, some: bool):
    asked = recipe(threshold=threshold, method="l1", repair=False)
    graph = graph_of(compress(source, calibration=DATA, recipe=asked, output=tmp_path / "out"))
    assert graph.goal is not None
    assert graph.goal.met
    assert graph.goal.wanted == float(threshold)
    assert (graph.goal.measured > 0.01) == some
    assert (graph.pruning is not None) == some
    assert graph.result_size.parameters <= graph.baseline_size.parameters
    require_kept(graph)
    runs(tmp_path / "out")


def test_a_goal_that_is_reached_already_prunes_nothing(source: Path, tmp_path: Path):
    report = compress(
        source, calibration=DATA, recipe=recipe(latency="10s"), output=tmp_path / "out"
    )
    graph = graph_of(report)
    assert graph.pruning is None
    assert graph.result_size == graph.baseline_size
    assert "is reached without pruning" in graph.shipped_reason
    assert graph.goal is not None
    assert graph.goal.met
    assert graph.goal.measured == graph.latency[0].result.median_ms


@pytest.mark.slow
def test_a_speed_is_predicted_from_kernels_and_what_is_out_of_reach_is_not_met(
    source: Path, tmp_path: Path
):
    report = compress(
        source, calibration=DATA, recipe=recipe(speedup="50x", round=8), output=tmp_path / "out"
    )
    graph = graph_of(report)
    assert graph.goal is not None
    assert not graph.goal.met
    assert graph.pruning is not None
    assert graph.pruning.cost == "latency"
    assert graph.pruning.predicted_ms > 0
    with pytest.raises(GoalError, match=r"--speedup 50x was not met: it runs at"):
        require_kept(graph)
    runs(tmp_path / "out")


def verdicts(monkeypatch: pytest.MonkeyPatch, *told: bool) -> None:
    answers: Iterator[bool] = iter((*told, *[False] * 20))
    real = QualityBudget.accepts

    def accepts(self: QualityBudget, candidate: ir.Model) -> Judged:
        return replace(real(self, candidate), accepted=next(answers))

    monkeypatch.setattr(QualityBudget, "accepts", accepts)


@pytest.mark.slow
def test_a_budget_makes_the_share_step_back(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    verdicts(monkeypatch, False, True, False, False)
    report = compress(
        source, calibration=DATA, evaluation={"x": images(60, 4)}, output=tmp_path / "out",
        recipe=recipe(macs="60%", max_drop="50pt", metric="cosine", blocks=False),
    )  # fmt: skip
    graph = graph_of(report)
    assert [candidate.accepted for candidate in graph.candidates] == [False, True, False, False]
    assert [candidate.shipped for candidate in graph.candidates] == [False, True, False, False]
    assert all(candidate.quality is not None for candidate in graph.candidates)
    assert graph.goal is not None
    assert (graph.goal.met, graph.goal.held_back) == (False, True)
    assert 0.3 <= graph.goal.measured < 0.5
    assert any("the budget allows" in notice for notice in report.notices)
    require_kept(graph)
    runs(tmp_path / "out")


@pytest.mark.slow
def test_where_no_share_is_accepted_nothing_is_pruned(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    verdicts(monkeypatch)
    report = compress(
        source, calibration=DATA, evaluation={"x": images(60, 4)}, output=tmp_path / "out",
        recipe=recipe(macs="60%", max_drop="50pt", metric="cosine", blocks=False),
    )  # fmt: skip
    graph = graph_of(report)
    assert graph.pruning is None
    assert not any(candidate.shipped for candidate in graph.candidates)
    assert graph.goal is not None
    assert graph.goal.held_back
    assert any("no pruned graph kept the budget" in notice for notice in report.notices)
    require_kept(graph)


def test_a_cut_that_the_oracle_refuses_is_given_up_and_named(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise PruningError("the cut graph differs from the original at 'Conv_2'")

    monkeypatch.setattr("compressor.search.pruning.steps.check", refuse)
    report = compress(
        source, calibration=DATA, recipe=recipe(macs="30%", blocks=False), output=tmp_path / "out"
    )
    graph = graph_of(report)
    assert graph.pruning is None
    assert "given up" in graph.shipped_reason
    assert "'Conv_2'" in graph.shipped_reason
    with pytest.raises(GoalError):
        require_kept(graph)


def frozen() -> Any:
    """Its only channels are those of the output."""
    return model(
        "g (float[n,32,8,8] x, float[6,32,1,1] w) => (float[n,6,8,8] y) { y = Conv(x, w) }",
        w=[6, 32, 1, 1],
    )


@pytest.mark.parametrize(
    ("made", "leave", "goal"),
    [(residual, ("*",), {"speedup": "1.5x"}), (frozen, (), {"macs": "30%"})],
    ids=["left alone", "frozen"],
)
def test_nothing_to_prune_is_a_clear_error(
    made: Any, leave: tuple[str, ...], goal: dict[str, str], tmp_path: Path
):
    asked = recipe(leave=leave, blocks=False, **goal)
    with pytest.raises(RecipeError, match="nothing can be removed") as error:
        compress(made(), calibration=DATA, recipe=asked, output=tmp_path / "out")
    assert "compress inspect" in (error.value.hint or "")
    assert not (tmp_path / "out").exists()


def cli_run(*arguments: object) -> Any:
    words = [str(word) for word in (*arguments, "--measure-seconds", "0.05", "--quantize", "none")]
    return CliRunner().invoke(cli, words, prog_name="compress")


def test_the_command_line_ends_with_3_where_less_goes_than_was_asked(
    tiny_model: Path, tiny_data: Path
):
    asked = [tiny_model, "--keep-slower", "--calib", tiny_data]  # a race of microseconds is noise
    refused = cli_run(*asked, "--params", "90%", "--prune-round", "1", "--prune-least", "0.5")
    assert refused.exit_code == 3, refused.output
    assert "Goal of --params 90%: NOT met" in refused.stdout
    assert "--params 90% was not met" in refused.stderr
    folder = tiny_model.parent / "tiny-ort"
    goal = json.loads((folder / "report.json").read_text())["graphs"]["model"]["goal"]
    assert (goal["met"], goal["held_back"]) == (False, False)
    assert 0.4 < goal["measured"] < 0.6
    accepted = cli_run(*asked, "--params", "40%", "--prune-round", "1")
    assert accepted.exit_code == 0, accepted.output


def test_pruning_without_data_or_with_two_goals_is_wrong_usage(tiny_model: Path, tiny_data: Path):
    blind = cli_run(tiny_model, "--prune", "30%")
    assert blind.exit_code == 2
    assert "--prune 30% needs calibration data" in blind.stderr
    both = cli_run(tiny_model, "--calib", tiny_data, "--prune", "30%", "--latency", "4ms")
    assert both.exit_code == 2
    assert "--prune and --latency cannot both say how far" in both.stderr
    assert not (tiny_model.parent / "tiny-ort").exists()


@pytest.mark.parametrize("kept", [[0, 99999], [-1, 0], []])
def test_a_plan_that_was_edited_by_hand_ends_with_2(
    done: tuple[Path, Report], source: Path, tmp_path: Path, kept: list[int]
):
    plan = json.loads((done[0] / "plan.json").read_text())
    pruned = plan["graphs"]["model"]["prune"]["kept"]
    pruned[next(iter(pruned))] = kept
    plan["graphs"]["model"]["rounded_for"] = None  # else that would be told first
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    for file in done[0].glob("plan.safetensors"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    arguments = [str(source), "--plan", str(tmp_path / "plan.json"), "-o", str(tmp_path / "out")]
    ended = CliRunner().invoke(cli, arguments, prog_name="compress")
    assert ended.exit_code == 2, ended.output
    assert "the plan keeps units of the group" in ended.stderr
    assert not (tmp_path / "out").exists()
