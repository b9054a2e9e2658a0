"""Two results of a loop, measured by what it makes of them."""

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from loops import decoder, denoiser, generate

from compressor import compare
from compressor.commands import compare_pipelines
from compressor.errors import OutputError, UsageError
from compressor.graph.files import save_model
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import Size

pytestmark = pytest.mark.usefixtures("quick")


def folder(path: Path, *, noise: float = 0.0, names: tuple[str, ...] = ("unet", "vae")) -> Path:
    """What a run leaves that is read again, without the run."""
    for name, made in zip(names, (denoiser(), decoder()), strict=False):
        weight = made.graph.initializers["w1"]
        assert weight.const_value is not None
        change = noise * np.random.default_rng(0).standard_normal(weight.const_value.shape.numpy())
        moved = (weight.const_value.numpy() + change).astype(np.float32)
        weight.const_value = ir.tensor(moved, name="w1")
        (path / name).mkdir(parents=True)
        save_model(made, path / name / "model.onnx")
    manifest = {"graphs": {name: f"{name}/model.onnx" for name in names}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


@pytest.fixture(autouse=True)
def _sized(monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(file_bytes=1, parameters=1, macs=None, macs_reason="not of this test")
    monkeypatch.setattr(compare_pipelines, "_size", lambda folder: size)


def recipe(metric: str | None = None) -> Recipe:
    return Recipe(measure=MeasureOptions(seconds=0.05, metric=metric))


def spread(images: np.ndarray) -> np.ndarray:
    return images.std(axis=(2, 3))


def test_what_a_loop_makes_of_both_is_compared(tmp_path: Path):
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b", noise=0.5)
    found = compare(one, other, pipeline=generate, units=40, recipe=recipe("kid"), features=spread)
    (quality,) = found.quality
    assert (quality.metric, quality.samples) == ("kid", 40)
    assert quality.interval is not None
    assert quality.interval.low > 0  # another distribution, beyond chance
    assert {output.name for output in found.outputs} == {"image"}
    assert (found.baseline, found.result) == (str(one), str(other))


def test_a_built_in_loop_compares_too(tmp_path: Path):
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b")
    asked = {"pipeline": "denoise", "pipeline_options": {"steps": 2}, "units": 4}
    found = compare(one, other, **asked, recipe=Recipe(measure=MeasureOptions(seconds=0.05)))
    assert found.quality[0].output == "sample"
    assert found.quality[0].result == pytest.approx(1.0)


def test_other_graphs_are_told(tmp_path: Path):
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b", names=("unet", "other"))
    with pytest.raises(UsageError, match=r"has graphs unet, vae, and .* has unet, other"):
        compare(one, other, pipeline=generate, units=8, recipe=recipe())


def test_a_folder_that_is_no_result_is_told(tmp_path: Path):
    with pytest.raises(OutputError, match="is no result of compress"):
        compare(tmp_path, tmp_path, pipeline=generate, recipe=recipe())


def test_data_beside_a_loop_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="other data beside it"):
        compare(tmp_path, tmp_path, pipeline=generate, calibration="calib.npz", recipe=recipe())
