"""The quality budget through the front door: search, confirm, refusal, interruption."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import residual

from compressor import Recipe, compress, load_report
from compressor.cli.main import cli
from compressor.errors import DataError, RecipeError
from compressor.graph.files import save_model
from compressor.graph.session import open_session
from compressor.plan.plan import Plan
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.results.graph_report import GraphReport
from compressor.results.report import Report
from compressor.system import output_folder
from compressor.system.output_folder import prepare, sha256

Data = dict[str, np.ndarray]
MEASURED = ("changed", "layers", "latency", "memory")


def recipe(max_drop: str | None, metric: str | None = None, **budget: str) -> Recipe:
    """With weights of 7 bits, whose loss a budget can be smaller than."""
    return Recipe(
        prune=PruneOptions(macs="none"),
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", weight_bits=7, batch=16),
        measure=MeasureOptions(seconds=0.05, metric=metric),
        budget=BudgetOptions(max_drop=max_drop, **budget),
    )


def images(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 32, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "net.onnx"
    save_model(residual(), path)
    return path


@pytest.fixture(scope="module")
def calibration() -> Data:
    return {"x": images(64, 3)}


@pytest.fixture(scope="module")
def evaluation() -> Data:
    """What the float network answers, so that its accuracy is 100 %."""
    x = images(400, 4)
    (y,) = open_session(residual(), threads=1).run(None, {"x": x})
    return {"x": x, "label": y.argmax(axis=1)}


class Told:
    """A `Progress` that keeps what it is told and can stop the run at a stage."""

    def __init__(self, stop: str | None = None) -> None:
        self.stop = stop
        self.stages: list[str] = []
        self.notices: list[str] = []

    @contextmanager
    def stage(self, name: str, total: int | None = None):
        self.stages.append(name)
        if name == self.stop:
            raise KeyboardInterrupt
        yield lambda units: None

    def notice(self, text: str) -> None:
        self.notices.append(text)


def graph_of(report: Report) -> GraphReport:
    return report.graphs["model"]


def test_a_kept_budget_is_confirmed_on_samples_that_the_search_did_not_see(
    source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    report = compress(
        source, calibration=calibration, evaluation=evaluation,
        recipe=recipe("20%"), output=tmp_path / "out",
    )  # fmt: skip
    graph = graph_of(report)
    budget = graph.budget
    assert budget is not None
    assert graph.shipped == "int8"
    assert budget.met, budget.reason
    assert (budget.asked, budget.metric, budget.accept, budget.n) == (
        "20%",
        "accuracy",
        "bound",
        200,
    )
    assert budget.allowed == pytest.approx(20.0)
    assert budget.bound > budget.point
    assert graph.quality[0].samples == 200
    assert budget.point == pytest.approx(-graph.quality[0].difference)
    assert graph.candidates[0].quality.data == "evaluation data, searched on"
    assert graph.candidates[0].accepted
    assert all(candidate.latency is not None for candidate in graph.candidates)
    uses = {use.purpose: use for use in report.data}
    assert (uses["search"].samples, uses["confirm"].samples) == (200, 200)
    assert uses["search"].fingerprint != uses["confirm"].fingerprint
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.index("Budget of") < html.index("<h1>")


@pytest.mark.usefixtures("quick")
def test_what_the_samples_cannot_prove_is_said_before_and_refused_after(
    source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    told = Told()
    report = compress(
        source, calibration=calibration, evaluation=evaluation,
        recipe=recipe("0.1pt"), output=tmp_path / "out", progress=told,
    )  # fmt: skip
    budget = graph_of(report).budget
    assert budget is not None
    assert "3,6" in told.notices[0], "samples that 0.1 points take when nothing is lost"
    assert told.notices[0] in report.notices
    assert graph_of(report).shipped == "float" or not budget.met
    assert (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.usefixtures("quick")
def test_point_accepts_what_was_measured_and_says_so(
    source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    few = {name: array[:40] for name, array in evaluation.items()}
    told = Told()
    report = compress(
        source, calibration=calibration, evaluation=few,
        recipe=recipe("30pt", accept="point"), output=tmp_path / "out", progress=told,
    )  # fmt: skip
    budget = graph_of(report).budget
    assert budget is not None
    assert budget.met
    assert budget.accept == "point"
    assert "not proven" in budget.reason
    assert [said for said in told.notices if "all labels are class" not in said] == []


def losses(graph: GraphReport) -> list[float]:
    return [1.0 - candidate.quality.result for candidate in graph.candidates]


@pytest.mark.usefixtures("quick")
def test_worst_layers_go_to_float_until_the_budget_is_kept(
    source: Path, calibration: Data, tmp_path: Path
):
    many = {"x": images(200, 5)}
    free = compress(
        source, calibration=calibration, evaluation=many,
        recipe=recipe("0.5pt", "cosine"), output=tmp_path / "free",
    )  # fmt: skip
    (whole,) = losses(graph_of(free))
    assert whole > 0
    asked = f"{whole * 0.05:.12f}pt"  # more than other ranges and corrected biases give
    report = compress(
        source, calibration=calibration, evaluation=many,
        recipe=recipe(asked, "cosine"), output=tmp_path / "tight",
    )  # fmt: skip
    graph = graph_of(report)
    assert len(graph.candidates) > 1
    assert losses(graph)[0] == pytest.approx(whole)
    assert min(losses(graph)) < whole
    shipped = [candidate for candidate in graph.candidates if candidate.shipped]
    assert len(shipped) == (graph.shipped == "int8")
    full = Plan.load(tmp_path / "free" / "plan.json").graphs["model"]
    plan = Plan.load(tmp_path / "tight" / "plan.json").graphs["model"]
    assert set(plan.integer) < set(full.integer)
    assert plan.bias.keys() == set(plan.integer) & {"Conv_0", "Conv_2", "Gemm_7"} != set()
    assert graph.shipped == "int8"
    assert "more quality than the budget allows" in " ".join(graph.float_reasons.values())
    ranks = [d for stage in report.stages for d in stage.decisions if "worst" in d.verdict]
    assert len(ranks) == 3
    again = compress(
        source, recipe=recipe(None), output=tmp_path / "again", plan=tmp_path / "tight/plan.json"
    )
    assert graph_of(again).budget is None
    same = (tmp_path / name / "model.onnx" for name in ("tight", "again"))
    assert next(same).read_bytes() == next(same).read_bytes()


@pytest.mark.usefixtures("quick")
def test_what_has_helped_is_built_on(source: Path, calibration: Data, tmp_path: Path):
    many = {"x": images(200, 5)}
    coarse = recipe("0.00003pt", "cosine")
    coarse = coarse.model_copy(
        update={"quantize": coarse.quantize.model_copy(update={"ranges": "minmax"})}
    )
    spoilt = {"x": calibration["x"].copy()}
    spoilt["x"][7, 0, 0, 0] = 400.0
    report = compress(
        source, calibration=spoilt, evaluation=many, recipe=coarse, output=tmp_path / "out"
    )
    graph = graph_of(report)
    plain, dynamic, ranges, weights = (candidate.name for candidate in graph.candidates)
    assert plain == "INT8"
    assert dynamic == "INT8, ranges found at run time"
    assert ranges.startswith(f"{dynamic}, ")
    assert ranges.endswith(("other range", "other ranges"))
    assert weights == f"{ranges}, weights rounded together"
    first, second, third, fourth = losses(graph)
    assert second < first
    assert third < 0.2 * second, "the outlier is clipped"
    assert fourth < 0.5 * third
    assert graph.candidates[3].shipped
    found = [d for s in report.stages for d in s.decisions if d.reason.startswith("another range")]
    assert found[0].subject == "x"
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert plan.dynamic == ("Gemm_7",)
    assert plan.rounded.keys() == {"Conv_0", "Conv_2", "Gemm_7"}
    assert plan.ranges["x"][1] < 10


@pytest.mark.usefixtures("quick")
def test_when_nothing_keeps_the_budget_float_ships_and_keeps_it(
    source: Path, calibration: Data, tmp_path: Path
):
    report = compress(
        source, calibration=calibration, evaluation={"x": images(100, 5)},
        recipe=recipe("0.000000001pt", "cosine"), output=tmp_path / "out",
    )  # fmt: skip
    graph = graph_of(report)
    assert graph.shipped == "float"
    assert graph.budget is not None
    assert graph.budget.met
    assert not any(candidate.shipped for candidate in graph.candidates)


@pytest.mark.usefixtures("quick")
def test_time_budget_ends_the_search_with_the_best_so_far(
    source: Path, calibration: Data, tmp_path: Path
):
    report = compress(
        source, calibration=calibration, evaluation={"x": images(100, 5)},
        recipe=recipe("0.000000001pt", "cosine", time="0.001s"), output=tmp_path / "out",
    )  # fmt: skip
    assert len(graph_of(report).candidates) == 1
    assert any("time budget of 0.001s" in notice for notice in report.notices)
    assert graph_of(report).shipped_reason.endswith(
        "ended the search before any INT8 graph kept the budget: float ships"
    )


@pytest.mark.parametrize("stage", ["decide", "measure quality"])
def test_interruption_writes_the_best_so_far_unconfirmed(
    stage: str, source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match="the best so far was written"):
        compress(
            source, calibration=calibration, evaluation=evaluation,
            recipe=recipe("20%"), output=out, progress=Told(stage),
        )  # fmt: skip
    graph = graph_of(Report.model_validate_json((out / "report.json").read_text()))
    assert graph.shipped == "int8"
    assert graph.budget is not None
    assert (graph.budget.met, graph.budget.interrupted) == (False, True)
    assert sealed(out)


@pytest.mark.parametrize(
    ("stage", "missing"),
    [
        ("compare decisions", {"changed", "layers", "latency", "memory"}),
        ("measure layers", {"layers", "latency", "memory"}),
        ("measure latency", {"latency", "memory"}),
        ("measure memory", {"memory"}),
    ],
)
def test_interruption_after_the_confirmation_keeps_what_was_measured(
    stage: str, missing: set[str], source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt, match="confirmed; not all was measured"):
        compress(
            source, calibration=calibration, evaluation=evaluation,
            recipe=recipe("20%"), output=out, progress=Told(stage),
        )  # fmt: skip
    report = Report.model_validate_json((out / "report.json").read_text())
    graph = graph_of(report)
    assert graph.budget is not None
    assert (graph.budget.met, graph.budget.interrupted) == (True, False)
    assert graph.budget.bound is not None
    assert graph.quality
    why = "the run was interrupted"
    reasons = graph.model_dump(include={f"{name}_reason" for name in MEASURED})
    assert reasons == {f"{n}_reason": why if n in missing else None for n in MEASURED}
    found = {"changed": graph.changed_total is not None, "layers": bool(graph.layers)}
    found |= {"latency": bool(graph.latency), "memory": graph.memory is not None}
    assert {name for name, known in found.items() if not known} == missing
    timed = [record.name for record in report.stages]
    assert "measure quality" in timed
    assert stage not in timed
    assert sealed(out)


def test_interruption_after_a_refusal_says_so(
    source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    few = {name: array[:60] for name, array in evaluation.items()}
    with pytest.raises(KeyboardInterrupt, match="which the budget refused; not all was measured"):
        compress(
            source, calibration=calibration, evaluation=few,
            recipe=recipe("3pt"), output=tmp_path / "out", progress=Told("measure latency"),
        )  # fmt: skip


def test_interruption_before_there_is_a_best_leaves_the_earlier_result(
    source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    out = tmp_path / "out"
    compress(source, recipe=recipe(None), output=out)
    before = sha256(out / "manifest.json")
    with pytest.raises(KeyboardInterrupt) as stop:
        compress(
            source, calibration=calibration, evaluation=evaluation,
            recipe=recipe("20%"), output=out, progress=Told("try INT8"),
        )  # fmt: skip
    assert str(stop.value) == ""
    assert sha256(out / "manifest.json") == before


def sealed(out: Path) -> bool:
    files = json.loads((out / "manifest.json").read_text())["files"]
    return len(files) == 7 and all(sha256(out / name) == f["sha256"] for name, f in files.items())


KILLED = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from compressor import Recipe, compress
from compressor.system import output_folder
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions

stop, model, calib, out = sys.argv[1:]
def die(): os.kill(os.getpid(), signal.SIGKILL)

class Told:
    @contextmanager
    def stage(self, name, total=None):
        if name == stop: die()
        yield lambda units: None
    def notice(self, text): pass

def dying(step):
    def stepped(*paths):
        done = step(*paths)
        if done: die()
        return done
    return stepped

if stop == "exchange":
    output_folder._exchanged = dying(output_folder._exchanged)
if stop == "swap":
    output_folder._exchanged = lambda one, other: False
    Path.rename = dying(Path.rename)
compress(model, calibration=calib, output=out, progress=Told(), recipe=Recipe(
    prune=PruneOptions(macs="none"), quantize=QuantizeOptions(keep_slower=True, cpu="avx2"),
    measure=MeasureOptions(seconds=0.05), budget=BudgetOptions(max_drop="1pt")))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("stop", ["try INT8", "measure memory", "swap"])
def test_a_killed_run_leaves_an_old_or_a_new_result_whole(stop: str, source: Path, tmp_path: Path):
    out = tmp_path / "out"
    compress(source, recipe=recipe(None), output=out)
    before = sha256(out / "manifest.json")
    np.savez(tmp_path / "calib.npz", x=images(64, 3))
    command = [sys.executable, "-c", KILLED, stop, source, tmp_path / "calib.npz", out]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert out.exists() == (stop != "swap")
    prepare(out, force=False)  # what the next run does first
    assert sealed(out)
    assert (sha256(out / "manifest.json") == before) == (stop != "exchange")
    assert not list(tmp_path.glob(".out*"))


def test_a_run_killed_right_after_the_exchange_leaves_the_new_result_whole(
    source: Path, tmp_path: Path
):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if not output_folder._exchanged(tmp_path / "one", tmp_path / "other"):
        pytest.skip("system or file system cannot exchange two folders")
    test_a_killed_run_leaves_an_old_or_a_new_result_whole("exchange", source, tmp_path)


def test_budget_without_data_or_without_meaning_is_an_error(
    source: Path, calibration: Data, evaluation: Data, tmp_path: Path
):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="needs samples to judge on"):
        compress(source, recipe=recipe("1%"), output=out)
    with pytest.raises(RecipeError, match="belong to a quality budget"):
        compress(source, recipe=recipe(None, accept="point"), output=out)
    with pytest.raises(RecipeError, match="the original's value is inf"):
        compress(source, calibration=calibration, recipe=recipe("1pt", "sqnr"), output=out)
    with pytest.raises(RecipeError, match="it is 0"):
        compress(source, calibration=calibration, recipe=recipe("1%", "mse"), output=out)
    assert not out.exists()


@pytest.mark.usefixtures("quick")
def test_budget_needs_two_samples_that_judge_and_says_where_they_come_from(
    tiny_model: Path, tmp_path: Path
):
    few, enough = np.zeros((3, 16), np.float32), np.zeros((10, 16), np.float32)
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"held-out fifth .* which is one of 3") as error:
        compress(tiny_model, calibration=few, recipe=recipe("1%"), output=out)
    assert error.value.hint == "Pass --eval, or --calib with 10 samples or more."
    with pytest.raises(DataError, match="found one: candidates are compared on half") as error:
        compress(tiny_model, calibration=few, evaluation=few[:1], recipe=recipe("1%"), output=out)
    assert error.value.hint == "Add samples to --eval."
    compress(tiny_model, calibration=enough, recipe=recipe("1pt", "cosine"), output=out)


def test_command_line_ends_with_3_where_it_is_refused_and_writes_the_best(
    tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments = [
        str(tiny_model), "--calib", str(tiny_data), "--cpu", "avx2", "--keep-slower",
        "--measure-seconds", "0.05", "--metric", "cosine", "--max-drop", "0.5pt",
        "--prune", "none",
    ]  # fmt: skip
    done = CliRunner().invoke(cli, arguments, prog_name="compress")
    assert done.exit_code == 3, done.output
    assert "Budget of 0.5pt in cosine: NOT met" in done.stdout
    assert "was not met" in done.stderr
    assert "cannot be confirmed" in " ".join(done.stderr.split())
    folder = tiny_model.parent / "tiny-ort"
    document = json.loads((folder / "report.json").read_text())
    assert document["graphs"]["model"]["budget"]["met"] is False
    assert sealed(folder)
    assert "--budget point would let it pass" in " ".join(done.stderr.split())
    report = load_report(folder)
    budget = report.graphs["model"].budget.model_copy(update={"accept": "point"})
    graph = report.graphs["model"].model_copy(update={"budget": budget})
    report = report.model_copy(update={"graphs": {"model": graph}})
    with monkeypatch.context() as patched:
        patched.setattr("compressor.commands.compress.compress", lambda *_, **__: report)
        refused = CliRunner().invoke(cli, [*arguments, "--budget", "point"], prog_name="compress")
    assert refused.exit_code == 3, refused.output
    assert "larger --max-drop" in refused.stderr
    assert "--budget point" not in refused.stderr
    accepted = CliRunner().invoke(
        cli, [*arguments, "--budget", "point", "--max-drop", "50%"], prog_name="compress"
    )
    assert accepted.exit_code == 0, accepted.output
    mistaken = CliRunner().invoke(cli, [*arguments, "--max-drop", "1"], prog_name="compress")
    assert mistaken.exit_code == 2
    assert "is not understood" in mistaken.stderr


@pytest.mark.usefixtures("quick")
def test_every_step_reads_a_graph_of_opset_13(calibration: Data, tmp_path: Path) -> None:
    older = residual()
    older.opset_imports[""] = 13
    asked = recipe("0.0000001pt", metric="cosine")
    graph = compress(older, calibration=calibration, recipe=asked, output=tmp_path / "out").graphs[
        "model"
    ]
    assert any("biases corrected" in one.name for one in graph.candidates)
    assert any("in float" in one.name for one in graph.candidates)
    assert any(one.own_sqnr_db is not None for one in graph.layers)
