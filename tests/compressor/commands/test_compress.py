"""The whole run on a small network whose INT8 is kept or reverted as asked."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from graphs import residual

import compressor
from compressor import Recipe, compress
from compressor.cli.main import cli
from compressor.errors import DataError, GraphError, OutputError, RecipeError, UsageError
from compressor.graph.files import save_model
from compressor.graph.session import open_session
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.results.report import Report
from compressor.system.output_folder import sha256

pytestmark = pytest.mark.usefixtures("quick")

QUICK = MeasureOptions(seconds=0.1)
RECIPE = Recipe(quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=4), measure=QUICK)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "net.onnx"
    network = residual()
    network.graph.outputs[0].name = "logits"  # or nothing says that they are scores of classes
    save_model(network, path)
    return path


def images(samples: int = 40, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 32, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    out = tmp_path_factory.mktemp("run") / "out"
    report = compress(source, calibration={"x": images()}, recipe=RECIPE, output=out)
    return out, report


def test_the_folder_says_how_to_use_it_and_what_it_is(done: tuple[Path, Report], capsys):
    out, _ = done
    (code,) = re.findall(r"```python\n(.*?)```", (out / "USAGE.md").read_text(), re.S)
    exec(compile(code, "USAGE.md", "exec"), {})
    assert capsys.readouterr().out.startswith("{")
    model = compressor.load(out)
    assert model.metadata["producer"].startswith("compressor ")
    assert model.metadata["verdict"].startswith("ships as ")
    assert len(model.metadata["source_sha256"]) == 64


def test_folder_holds_everything_and_the_manifest_seals_it(done: tuple[Path, Report]):
    out, report = done
    names = {path.name for path in out.iterdir()}
    pages = {"report.json", "report.html", "report.md", "USAGE.md"}
    plan = {"plan.json", "plan.safetensors"}
    assert names == {"model.onnx", "reference.npz", "manifest.json", *plan, *pages}
    manifest = json.loads((out / "manifest.json").read_text())
    for name in names - {"manifest.json"}:
        assert manifest["files"][name]["sha256"] == sha256(out / name)
    assert manifest["recipe"]["quantize"]["cpu"] == "avx2"
    assert Report.model_validate_json((out / "report.json").read_text()) == report
    assert {Path(path).name for path in report.files.values()} == names


def test_report_measures_speed_quality_memory_and_size(done: tuple[Path, Report]):
    graph = done[1].graphs["model"]
    assert graph.shipped == "int8"
    assert graph.latency[0].deciding
    assert {result.config.batch for result in graph.latency} == {1, 4}
    quality = graph.quality[0]
    assert quality.reference == "original"
    assert quality.samples == 8, "a fifth of the calibration samples is held out"
    assert graph.memory is not None
    assert graph.memory.baseline_bytes is not None
    assert graph.result_size.file_bytes < graph.baseline_size.file_bytes
    assert graph.result_size.parameters == graph.baseline_size.parameters
    assert graph.result_size.macs == graph.baseline_size.macs
    kinds = {row.operator: row.integer for row in graph.placement}
    assert kinds["QLinearConv"] == 2
    used = {use.role: use.samples for use in done[1].data}
    assert used == {"calibration": 32, "evaluation": 8}


def test_report_tells_the_error_of_every_layer_and_the_worst_tensors(done: tuple[Path, Report]):
    graph = done[1].graphs["model"]
    assert graph.layers_reason is None
    errors = {layer.node: layer for layer in graph.layers}
    assert errors.keys() == {"Conv_0", "Conv_2", "Add_3", "GlobalAveragePool_5", "Gemm_7"}
    ranked = [layer.sqnr_db for layer in graph.layers]
    assert ranked == sorted(ranked)
    assert 10 < ranked[0] < ranked[-1] < 60
    assert all(layer.integer and layer.reason is None for layer in graph.layers)
    assert {tensor.value for tensor in graph.tensors} <= {"x", "r1", "c2", "r2", "p", "f"}
    assert [t.sqnr_db for t in graph.tensors] == sorted(t.sqnr_db for t in graph.tensors)
    image = next(tensor for tensor in graph.tensors if tensor.value == "x")
    assert sum(image.counts) == 32 * 32 * 8 * 8
    assert image.observed_low < -3 < 3 < image.observed_high
    assert image.clipped < 0.01
    html = (done[0] / "report.html").read_text()
    assert "Layer by layer: the error of quantization" in html


def test_a_comparison_that_fails_is_a_reason_and_no_failure(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object, **__: object) -> None:
        raise GraphError("ONNX Runtime cannot compare the graphs: no memory")

    monkeypatch.setattr("compressor.search.precision.error_analysis.layer_noise", refuse)
    report = compress(source, calibration={"x": images()}, recipe=RECIPE, output=tmp_path / "out")
    graph = report.graphs["model"]
    assert graph.shipped == "int8"
    assert graph.layers == graph.tensors == ()
    assert "no memory" in graph.layers_reason


def test_stages_tell_their_effects_and_account_for_the_run(done: tuple[Path, Report]):
    report = done[1]
    effects = {stage.name: {e.amount: e for e in stage.effects} for stage in report.stages}
    assert effects["capture"]["nodes"].after == 8
    weights = effects["quantize"]["weight_bytes"]
    assert weights.before is not None
    assert weights.after < weights.before
    assert (
        effects["measure latency"]["latency_ms"].after
        == report.graphs["model"].latency[0].result.median_ms
    )
    assert {"measure quality", "compare decisions", "measure memory"} <= set(effects)
    assert 0.5 * report.seconds < sum(s.seconds for s in report.stages) <= report.seconds


def test_changed_decisions_are_counted_where_the_outputs_decide(done: tuple[Path, Report]):
    graph = done[1].graphs["model"]
    agreement = next(quality for quality in graph.quality if quality.metric == "agreement")
    assert agreement.result == pytest.approx(100 * (1 - (graph.changed_total or 0) / 8))
    assert len(graph.changed) == graph.changed_total
    assert all(sample.image is None for sample in graph.changed), "32 channels are no image"


def test_replaying_the_plan_gives_the_same_bytes(
    source: Path, done: tuple[Path, Report], tmp_path: Path
):
    out, _ = done
    again = compress(
        source,
        calibration={"x": images()},
        recipe=RECIPE,
        output=tmp_path / "again",
        plan=out / "plan.json",
    )
    assert (tmp_path / "again/model.onnx").read_bytes() == (out / "model.onnx").read_bytes()
    assert (tmp_path / "again/plan.json").read_bytes() == (out / "plan.json").read_bytes()
    assert again.graphs["model"].shipped == "int8"
    assert again.graphs["model"].layers == ()
    assert "replayed" in again.graphs["model"].layers_reason


@pytest.mark.parametrize("data", [None, {"x": images(24, seed=9)}])
def test_plan_stays_as_it_is_whatever_the_data(
    data: dict[str, np.ndarray] | None, source: Path, done: tuple[Path, Report], tmp_path: Path
):
    out, _ = done
    other = RECIPE.model_copy(update={"seed": 7})
    compress(
        source, calibration=data, recipe=other, output=tmp_path / "again", plan=out / "plan.json"
    )
    for name in ("model.onnx", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_plan_may_be_replayed_into_the_folder_that_holds_it(
    source: Path, done: tuple[Path, Report], tmp_path: Path
):
    out = shutil.copytree(done[0], tmp_path / "out")
    before = (out / "plan.json").read_bytes()
    compress(source, recipe=RECIPE, output=out, plan=out / "plan.json")
    assert (out / "plan.json").read_bytes() == before


def test_plan_of_another_model_is_refused(done: tuple[Path, Report], tiny_model: Path):
    with pytest.raises(RecipeError, match="was made for the graph"):
        compress(
            tiny_model,
            recipe=RECIPE,
            output=tiny_model.parent / "out",
            plan=done[0] / "plan.json",
        )


def test_without_data_nothing_is_quantized_and_it_says_so(source: Path, tmp_path: Path):
    report = compress(source, recipe=RECIPE, output=tmp_path / "out")
    graph = report.graphs["model"]
    assert graph.shipped == "float"
    assert "--calib" in graph.shipped_reason
    assert graph.quality == ()
    assert graph.quality_reason
    assert graph.layers_reason == "nothing was quantized"
    assert any("random inputs" in notice for notice in report.notices)


def test_int8_that_is_not_faster_is_reverted(tiny_model: Path, tmp_path: Path):
    data = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    report = compress(
        tiny_model, calibration=data, recipe=Recipe(measure=QUICK), output=tmp_path / "out"
    )
    graph = report.graphs["model"]
    assert graph.shipped == "float"
    assert graph.shipped_reason


IGNORED = "the labels were not used"


@pytest.mark.parametrize(("metric", "said"), [("cosine", False), (None, True)])
def test_labels_that_were_not_asked_for_are_no_news(
    metric: str | None, said: bool, source: Path, tmp_path: Path
):
    """Labels that fit nothing are mentioned, unless the metric was chosen without them."""
    fitting = {"x": images(20, 4), "label": np.arange(20) % 10}
    useless = {"x": images(20, 4), "label": np.full(20, 77)}
    chosen = RECIPE.model_copy(update={"measure": QUICK.model_copy(update={"metric": metric})})
    for number, evaluation in enumerate((fitting, useless)):
        report = compress(
            source, evaluation=evaluation, recipe=chosen, output=tmp_path / str(number)
        )
        used = metric is None and evaluation is fitting
        assert report.graphs["model"].quality[0].reference == ("labels" if used else "original")
        found = any(IGNORED in notice for notice in report.notices)
        assert found == (said and not used)


def test_labels_choose_accuracy(source: Path, tmp_path: Path):
    labels = np.random.default_rng(0).integers(0, 10, 40)
    report = compress(
        source,
        calibration={"x": images()},
        evaluation={"x": images(seed=4), "label": labels},
        recipe=RECIPE,
        output=tmp_path / "out",
    )
    quality = report.graphs["model"].quality[0]
    assert (quality.metric, quality.reference, quality.samples) == ("accuracy", "labels", 40)
    assert quality.difference == pytest.approx(quality.result - quality.baseline)


def test_bad_data_leaves_an_earlier_result(source: Path, tmp_path: Path):
    out = tmp_path / "out"
    compress(source, recipe=RECIPE, output=out)
    before = sha256(out / "manifest.json")
    broken = images()
    broken[7, 0, 0, 0] = np.nan
    with pytest.raises(DataError):
        compress(source, calibration={"x": broken}, recipe=RECIPE, output=out)
    assert sha256(out / "manifest.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_foreign_folder_is_refused_before_any_work(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError):
        compress(tmp_path / "missing.onnx", output=out)


def test_live_model_names_the_folder_after_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    report = compress(residual(), recipe=Recipe(measure=QUICK))
    assert report.artifact == "model-ort"
    assert (tmp_path / "model-ort" / "model.onnx").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ("--stats", "stats.npz"),
        ("--calib-cache", "cache"),
        ("--model", "net.py:build"),
        ("--model", "mine.net:build"),
        ("--calib", "net.py:batches"),
        ("--metric", "net.py:metric"),
        ("--recipe", "recipe.toml"),
        ("--plan", "best.json"),
    ],
)
def test_folder_of_anything_that_is_read_is_never_replaced(
    flags: tuple[str, str],
    tiny_model: Path,
    done: tuple[Path, Report],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("stats.npz", "recipe.toml"):
        (mine / name).touch()
    (mine / "net.py").write_text("metric = build = batches = print")
    for suffix in ("json", "safetensors"):
        shutil.copy(done[0] / f"plan.{suffix}", mine / f"best.{suffix}")
    flag, name = flags
    arguments = [str(tiny_model), flag, name if "mine." in name else f"mine/{name}", "-o", "mine"]
    result = CliRunner().invoke(cli, [*arguments, "--force"], prog_name="compress")
    assert result.exit_code == 2, result.output
    file = name.removeprefix("mine.").partition(":")[0].removesuffix(".py")
    assert f"holds the input mine/{file}" in result.stderr
    assert (mine / "best.json").exists()


def test_unknown_target_lists_the_known(source: Path):
    with pytest.raises(UsageError, match="tflite") as error:
        compress(source, target="tflite")
    assert "ort" in str(error.value)


def quick_recipe(**quantize: object) -> Recipe:
    how = QuantizeOptions(keep_slower=True, cpu="avx2", batch=4, **quantize)
    return Recipe(quantize=how, measure=QUICK)


@pytest.mark.parametrize("consent", [False, True])
def test_integers_of_data_that_does_not_vary_need_consent(
    source: Path, tmp_path: Path, consent: bool
):
    black = {"x": np.zeros((24, 32, 8, 8), np.float32)}
    asked = quick_recipe(keep_ruined=consent)
    report = compress(source, calibration=black, recipe=asked, output=tmp_path / "out")
    graph = report.graphs["model"]
    assert graph.shipped == ("int8" if consent else "float")
    assert any("does not vary" in notice for notice in report.notices)
    assert ("--keep-ruined" in graph.shipped_reason) != consent


def test_a_ruined_result_does_not_ship_for_speed_alone(source: Path, tmp_path: Path):
    report = compress(
        source,
        calibration={"x": 0.01 * images()},  # other data saturates
        evaluation={"x": 1 + 5 * images(seed=4)},
        recipe=quick_recipe(ranges="minmax"),
        output=tmp_path / "out",
    )
    graph = report.graphs["model"]
    assert graph.shipped == "float"
    assert "its outputs are ruined" in graph.shipped_reason
    assert "--keep-ruined" in graph.shipped_reason
    assert graph.quality[0].result == pytest.approx(1, abs=1e-5)
    assert [candidate.shipped for candidate in graph.candidates] == [False]
    assert graph.candidates[0].quality.result < 0.8


NOISY = """<ir_version: 8, opset_import: ["": 17]> g (float[N,64] x) => (float[N,64] y) {
    h = MatMul(x, a) r = Relu(h) z = RandomNormalLike<scale = 0.5>(r) s = Add(r, z) y = MatMul(s, b)
}"""


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(NOISY)
    for name in "ab":
        weight = rng.normal(0, 0.1, (64, 64)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    path = tmp_path_factory.mktemp("noisy") / "noisy.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("noise", ["inside", "input"])
def test_what_a_model_draws_is_compared_exactly_and_put_back(noise, noisy: Path, tmp_path: Path):
    data = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    recipe = RECIPE.model_copy(update={"model": ModelOptions(noise=noise)})
    report = compress(noisy, calibration={"x": data}, recipe=recipe, output=tmp_path / "out")
    graph = report.graphs["model"]
    assert graph.shipped == "int8", graph.shipped_reason
    assert graph.quality[0].result is not None
    assert graph.quality[0].result > 0.99, "half of it is noise: by chance it would be below 0.8"
    session = open_session(tmp_path / "out" / "model.onnx")
    inputs = [value.name for value in session.get_inputs()]
    said = " ".join(report.notices)
    feeds = {"x": np.tile(data[:1], (2, 1)), "noise": np.zeros((2, 64), np.float32)}
    (made,) = session.run(None, {name: feeds[name] for name in inputs})
    assert inputs == (["x"] if noise == "inside" else ["x", "noise"])
    assert np.array_equal(made[0], made[1]) == (noise == "input")
    assert "RandomNormalLike" in said
    assert ("noise:float32[N,64]" in said) == (noise == "input")
