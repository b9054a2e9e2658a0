"""Weights in fewer bits through the front door: kept for size, replayed, told, within a budget."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decoders import decoder, tokens
from graphs import model

from compressor import Recipe, compress
from compressor.cli.main import cli
from compressor.errors import RecipeError
from compressor.graph.files import load_model, save_model
from compressor.plan.plan import Plan
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.report.verdict import headline
from compressor.results.graph_report import GraphReport
from compressor.results.measurements import LatencyConfig

pytestmark = pytest.mark.usefixtures("quick")

DECIDING = LatencyConfig(batch=1, threads=1)
DATA = {"ids": tokens(40)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "net.onnx"
    save_model(decoder(), path)
    return path


def recipe(mode: str, max_drop: str | None = None, size: str | None = None, **quantize) -> Recipe:
    return Recipe(
        quantize=QuantizeOptions(mode=mode, batch=8, **quantize),
        measure=MeasureOptions(seconds=0.05),
        budget=BudgetOptions(max_drop=max_drop, accept="point" if max_drop else "bound"),
        prune=PruneOptions(size=size),
    )


def run(source: Path, out: Path, asked: Recipe, **more) -> GraphReport:
    return compress(source, calibration=DATA, recipe=asked, output=out, **more).graphs["model"]


@pytest.mark.parametrize(
    ("mode", "most", "words"),
    [("int4", 0.45, "Weight-only INT4 ships"), ("int8-weights", 0.5, "Weight-only INT8 ships"),
     ("fp16", 0.6, "FP16 ships"), ("bf16", 0.6, "BF16 ships")],
)  # fmt: skip
def test_what_is_smaller_ships_whatever_its_speed_and_is_replayed(
    source: Path, tmp_path: Path, mode: str, most: float, words: str
):
    graph = run(source, tmp_path / "out", recipe(mode))
    assert graph.shipped == mode
    assert headline(graph).startswith(words)
    assert graph.result_size.file_bytes < most * graph.baseline_size.file_bytes
    assert graph.result_size.parameters == graph.baseline_size.parameters
    assert "the speed of float" in graph.shipped_reason
    assert graph.layers_precision == mode
    own = {layer.node: layer.own_sqnr_db for layer in graph.layers if layer.integer}
    assert {"MatMul_1", "MatMul_4", "MatMul_7"} <= own.keys()
    assert all(value > 10 for value in own.values())
    compress(
        source, plan=tmp_path / "out/plan.json", output=tmp_path / "again", recipe=recipe(mode)
    )
    for name in ("model.onnx", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert (tmp_path / "out/plan.safetensors").exists() == mode.startswith("int")


def test_the_plan_says_which_nodes_bits_and_blocks(source: Path, tmp_path: Path):
    run(source, tmp_path / "out", recipe("int4", block=16, symmetric=True, leave=("down",)))
    stored = Plan.load(tmp_path / "out/plan.json").graphs["model"].stored
    assert stored is not None
    assert {n: (m.bits, m.block, m.symmetric) for n, m in stored.matrices.items()} == {
        "table": (8, 16, True), "up": (4, 16, True),
    }  # fmt: skip
    assert "MatMul_4" not in stored.nodes
    told = json.loads((tmp_path / "out/report.json").read_text())
    assert "left in float" in told["graphs"]["model"]["float_reasons"]["MatMul_4"]


@pytest.mark.parametrize("mode", ["int4", "fp16"])
def test_a_pattern_that_leaves_nothing_in_float_is_told(source: Path, tmp_path: Path, mode: str):
    asked = recipe(mode, leave=("down", "dwon*"))
    notices = compress(source, recipe=asked, output=tmp_path / "out").notices
    assert [n for n in notices if "leave" in n] == [
        "`leave` in [quantize]: 'dwon*' matches no node, value or weight of the graph, and leaves "
        "nothing in float"
    ]


def test_without_data_it_is_done_with_a_notice(source: Path, tmp_path: Path):
    report = compress(source, recipe=recipe("int4"), output=tmp_path / "out")
    assert report.graphs["model"].shipped == "int4"
    assert any("--calib" in notice for notice in report.notices)


def test_a_file_that_does_not_shrink_stays_float(tmp_path: Path):
    graph = model("g (float[n,8] x) => (float[n,8] y) { y = Relu(x) }")
    save_model(graph, tmp_path / "net.onnx")
    report = compress(tmp_path / "net.onnx", recipe=recipe("int4"), output=tmp_path / "out")
    assert report.graphs["model"].shipped == "float"
    assert "no weight" in report.graphs["model"].shipped_reason


def test_a_budget_gives_the_worst_matrices_more_bits(source: Path, tmp_path: Path):
    whole = run(source, tmp_path / "a", recipe("int4", table_bits=4))
    assert whole.quality[0].result is not None
    loss = 1 - whole.quality[0].result
    graph = run(source, tmp_path / "b", recipe("int4", f"{50 * loss:.6f}%", table_bits=4))
    assert graph.shipped == "int4"
    assert graph.budget is not None
    stored = Plan.load(tmp_path / "b/plan.json").graphs["model"].stored
    assert stored is not None
    assert {matrix.bits for matrix in stored.matrices.values()} == {4, 8}
    (shipped,) = [one for one in graph.candidates if one.shipped]
    assert "in 8 bits" in shipped.name
    assert stored.accuracy_level == 1  # activations in float alone did not do
    assert any("activations in float" in one.name for one in graph.candidates)


def test_a_budget_that_nothing_keeps_ships_float(source: Path, tmp_path: Path):
    graph = run(source, tmp_path / "out", recipe("int8-weights", "0.0000001%"))
    assert graph.shipped == "float"
    assert "kept the budget" in graph.shipped_reason


def test_a_size_that_the_bits_alone_reach_prunes_nothing(source: Path, tmp_path: Path):
    bytes_ = source.stat().st_size
    graph = run(source, tmp_path / "out", recipe("int4", size=f"{int(0.5 * bytes_)}B"))
    assert graph.pruning is None
    assert graph.goal is not None
    assert graph.goal.met
    assert "reached without pruning" in graph.shipped_reason


def test_a_search_that_ends_early_says_so(source: Path, tmp_path: Path):
    asked = recipe("int4", max_drop="0.0001%")
    asked = asked.model_copy(update={"budget": asked.budget.model_copy(update={"time": "0.001s"})})
    graph = run(source, tmp_path / "out", asked)
    assert graph.shipped == "float"
    assert graph.shipped_reason == (
        "the time budget of 0.001s ended the search before any weight-only INT4 graph kept the "
        "budget: float ships"
    )


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_size_is_left_to_the_bits_where_nothing_can_be_pruned(tmp_path: Path, calibrated: bool):
    path = tmp_path / "net.onnx"
    product = "g (float[n,128] x, float[128,96] w) => (float[n,96] y) { y = MatMul(x, w) }"
    save_model(model(product, w=[128, 96]), path)
    data = {"x": np.ones((16, 128), np.float32)} if calibrated else None
    for size, met in (("20kB", True), ("4kB", False)):
        report = compress(
            path, calibration=data, recipe=recipe("int4", size=size), output=tmp_path / "out"
        )
        graph = report.graphs["model"]
        assert graph.shipped == "int4"
        assert graph.goal is not None and graph.goal.met is met
        assert any(f"--size {size} is left to the bits" in notice for notice in report.notices)
    with pytest.raises(RecipeError, match="--size 20kB"):
        compress(path, recipe=recipe("int8", size="20kB"), output=tmp_path / "other")


def test_nothing_is_left_in_twice(source: Path, tmp_path: Path):
    for mode in ("int4", "fp16"):
        run(source, tmp_path / mode, recipe(mode))
        made = load_model(tmp_path / mode / "model.onnx")
        values = made.graph.initializers.values()
        assert all(value.uses() for value in values)
        contents = [v.const_value.numpy().tobytes() for v in values if v.const_value.size > 64]
        assert len(set(contents)) == len(contents)
        assert not [value.name for value in values if "folded" in (value.name or "")]


def test_help_and_the_recipe_name_the_modes():
    told = CliRunner().invoke(cli, ["--help"]).output
    assert "int8-weights" in told
    assert "fp16" in told
    printed = CliRunner().invoke(cli, ["recipe", "--quantize", "int4"]).output
    for line in ('mode = "int4"', "block = 32", "table_bits = 8", 'compute = "int8"', "leave = []"):
        assert line in printed
    wrong = CliRunner().invoke(cli, ["net.onnx", "--quantize", "int5"])
    assert wrong.exit_code == 2
    assert "int8-weights" in wrong.output


def test_what_is_odd_in_the_recipe_is_named(tmp_path: Path):
    (tmp_path / "r.toml").write_text("[quantize]\nblock = 24\n")
    told = CliRunner().invoke(cli, ["recipe", "--recipe", str(tmp_path / "r.toml")])
    assert told.exit_code == 2
    assert "quantize.block" in told.output
    assert "16, 32, 64, 128 or 256" in told.output
