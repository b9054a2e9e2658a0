"""`compress calibrate`, `--stats` and `--calib-cache`, from the command line to the artifact."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from graphs import residual

from calibration.stats import CalibrationStats
from compressor import Recipe, compress
from compressor.cli.main import cli
from compressor.commands.calibrate import calibrate, calibrate_in_shards, merge
from compressor.errors import DataError, OutputError
from compressor.graph.files import save_model
from compressor.recipe.data import DataOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions

pytestmark = pytest.mark.usefixtures("quick")

QUANTIZE = QuantizeOptions(keep_slower=True, cpu="avx2", batch=4)
QUICK = MeasureOptions(seconds=0.05)
RECIPE = Recipe(quantize=QUANTIZE, measure=QUICK)
IMAGES = np.random.default_rng(3).standard_normal((22, 32, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    save_model(residual(), folder / "net.onnx")
    np.savez(folder / "calib.npz", x=IMAGES)
    return folder / "net.onnx"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="compress")


def test_shards_merge_to_one_pass_and_give_the_same_artifact(source: Path, tmp_path: Path):
    data = source.with_name("calib.npz")
    command = ["calibrate", source, "--calib", data, "--calib-batch", "4"]
    for arguments in (
        [*command, "--shard", "1/2", "-o", tmp_path / "one.npz"],
        [*command, "--shard", "2/2", "-o", tmp_path / "two.npz"],
        [*command, "-o", tmp_path / "whole.npz"],
        ["calibrate", "--merge", tmp_path / "two.npz", tmp_path / "one.npz",
         "-o", tmp_path / "merged.npz"],
    ):  # fmt: skip
        done = run(*arguments)
        assert done.exit_code == 0, done.output
    merged, whole = (CalibrationStats.load(tmp_path / name) for name in ("merged.npz", "whole.npz"))
    assert merged.observed == whole.observed
    assert merged.samples == whole.samples == 22
    made = []
    for name in ("merged.npz", "whole.npz"):
        recipe = RECIPE.model_copy(update={"data": DataOptions(stats=tmp_path / name)})
        out = tmp_path / name.removesuffix(".npz")
        report = compress(source, calibration={"x": IMAGES}, recipe=recipe, output=out)
        assert report.graphs["model"].shipped == "int8"
        assert "--eval" in str(report.graphs["model"].quality_reason)
        made.append((out / "model.onnx").read_bytes())
    assert made[0] == made[1]


class Here:
    """`Workers` that do their work when it is handed in, and are asked for it from the last on."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.answers: list[tuple[int, object]] = []

    def submit(self, task, *arguments: object) -> int:
        try:
            answer = task(*arguments)
        except DataError as error:
            answer = error
        self.answers.append((len(self.answers), answer))
        return len(self.answers) - 1

    def gather(self) -> tuple[int, object]:
        return self.answers.pop()

    def close(self) -> None:
        pass


@pytest.mark.parametrize("count", [3, 9])
def test_workers_collect_what_one_pass_does(source: Path, tmp_path: Path, count: int):
    data = {"x": IMAGES}
    one, other = tmp_path / "one.npz", tmp_path / "other.npz"
    calibrate(source, output=one, calibration=data, recipe=RECIPE)
    calibrate_in_shards(source, output=other, workers=Here(count), calibration=data, recipe=RECIPE)
    whole, parts = CalibrationStats.load(one), CalibrationStats.load(other)
    assert parts.observed == whole.observed
    assert parts.samples == whole.samples
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "other.npz"]


def test_statistics_alone_are_enough(source: Path, tmp_path: Path):
    calibrate(source, calibration={"x": IMAGES}, recipe=RECIPE, output=tmp_path / "s.npz")
    recipe = RECIPE.model_copy(update={"data": DataOptions(stats=tmp_path / "s.npz")})
    report = compress(source, recipe=recipe, output=tmp_path / "out")
    assert report.graphs["model"].shipped == "int8"
    record = next(stage for stage in report.stages if stage.name == "calibrate")
    assert any("mse was used" in notice for notice in record.notices)
    assert report.graphs["model"].layers == ()
    assert "no samples to run" in report.graphs["model"].layers_reason


def test_statistics_of_another_graph_are_refused(source: Path, tmp_path: Path):
    other = residual()
    weight = other.graph.initializers["w1"].const_value
    assert weight is not None
    other.graph.initializers["w1"].const_value = type(weight)(weight.numpy() * 2, name="w1")
    save_model(other, tmp_path / "other.onnx")
    calibrate(source, calibration={"x": IMAGES}, recipe=RECIPE, output=tmp_path / "s.npz")
    recipe = RECIPE.model_copy(update={"data": DataOptions(stats=tmp_path / "s.npz")})
    with pytest.raises(DataError, match=r"s\.npz.*were collected from the graph"):
        compress(tmp_path / "other.onnx", recipe=recipe, output=tmp_path / "out")


def test_the_cache_is_used_for_the_same_question_only(source: Path, tmp_path: Path):
    cache = tmp_path / "cache"
    recipe = RECIPE.model_copy(update={"data": DataOptions(cache=cache)})

    def collected(images: np.ndarray, recipe: Recipe = recipe) -> CalibrationStats:
        calibrate(source, calibration={"x": images}, recipe=recipe, output=tmp_path / "s.npz")
        return CalibrationStats.load(tmp_path / "s.npz")

    first = collected(IMAGES)
    (kept,) = cache.iterdir()
    marked = CalibrationStats(first.observed, 7, first.origin)
    marked.save(kept)
    assert collected(IMAGES).samples == 7, "read, not collected"
    assert collected(IMAGES * 2).samples == 22
    quantize = QUANTIZE.model_copy(update={"batch": 8})
    assert collected(IMAGES, recipe.model_copy(update={"quantize": quantize})).samples == 22
    assert len(list(cache.iterdir())) == 3
    kept.write_bytes(b"damaged")
    assert collected(IMAGES).observed == first.observed


def test_a_shard_without_samples_is_refused(source: Path, tmp_path: Path):
    with pytest.raises(DataError, match="shard 9/9 is empty"):
        calibrate(
            source, calibration={"x": IMAGES}, recipe=RECIPE, shard=(9, 9),
            output=tmp_path / "s.npz",
        )  # fmt: skip


def test_an_output_that_cannot_be_is_refused_before_the_work(source: Path, tmp_path: Path):
    with pytest.raises(OutputError):
        calibrate(source, output=tmp_path / "missing" / "s.npz")
    with pytest.raises(OutputError):
        merge([], tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.onnx", "-o", "s.npz"], "--calib"),
        (["net.onnx", "other.onnx", "-o", "s.npz"], "--merge"),
        (["net.onnx", "--calib", "calib.npz", "--shard", "3/2", "-o", "s.npz"], "3/2"),
        (["--merge", "calib.npz", "-o", "s.npz"], "calib.npz holds no calibration statistics"),
        (["--merge", "a.npz", "--calib", "calib.npz", "-o", "s.npz"], "--merge takes"),
        (["net.onnx", "--calib", "calib.npz", "--memory", "lots", "-o", "s.npz"], "memory"),
    ],
)
def test_mistakes_exit_2_with_a_message(
    arguments: list[str], words: str, source: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(source.parent)
    done = run("calibrate", *arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert not (source.parent / "s.npz").exists()


def test_the_schemes_are_recipe_fields_and_a_plan_replays_them(source: Path, tmp_path: Path):
    quantize = QUANTIZE.model_copy(
        update={"activation": "int8", "granularity": "tensor", "weight_bits": 8}
    )
    recipe = Recipe(quantize=quantize, measure=QUICK)
    compress(source, calibration={"x": IMAGES}, recipe=recipe, output=tmp_path / "one")
    plan = json.loads((tmp_path / "one/plan.json").read_text())["graphs"]["model"]
    assert (plan["activation"], plan["granularity"], plan["weight_bits"]) == ("int8", "tensor", 8)
    compress(source, recipe=RECIPE, output=tmp_path / "two", plan=tmp_path / "one/plan.json")
    assert (tmp_path / "one/model.onnx").read_bytes() == (tmp_path / "two/model.onnx").read_bytes()


def test_symmetric_activations_say_what_they_cost(source: Path, tmp_path: Path):
    quantize = QUANTIZE.model_copy(update={"activation": "int8", "symmetric": True})
    report = compress(
        source,
        calibration={"x": IMAGES},
        recipe=Recipe(quantize=quantize, measure=QUICK),
        output=tmp_path / "out",
    )
    record = next(stage for stage in report.stages if stage.name == "calibrate")
    assert any("Relu" in notice for notice in record.notices)
    if report.graphs["model"].shipped == "int8":
        rows = {row.operator: row for row in report.graphs["model"].placement}
        assert rows["Relu"].floating > 0
