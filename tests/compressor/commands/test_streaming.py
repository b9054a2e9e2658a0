"""`compress` of a model whose weights exceed `--memory`, block by block."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from compressor import compress
from compressor.commands.stream_plan import concatenated, digest_of
from compressor.errors import CaptureError, CompressorError, RecipeError, UsageError
from compressor.graph.session import open_session
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.report import Report

pytestmark = pytest.mark.usefixtures("quick")
MEGABYTE = 1_000_000
TIED = """g (int64[n,t] ids, float[300,128] table, float[128,512] up, float[512,128] down,
    float[128,1024] wide, float[1024,128] back) => (float[n,t,300] logits)
{
    x = Gather<axis=0>(table, ids)
    h = MatMul(x, up)
    r = Relu(h)
    d = MatMul(r, down)
    s = Add(x, d)
    k = MatMul(s, wide)
    m = Relu(k)
    b = MatMul(m, back)
    z = Add(s, b)
    turned = Transpose<perm=[1,0]>(table)
    logits = MatMul(z, turned)
}"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = model(
        TIED, table=[300, 128], up=[128, 512], down=[512, 128], wide=[128, 1024], back=[1024, 128]
    )
    path = tmp_path_factory.mktemp("streamed") / "tied.onnx"
    ir.save(made, path, external_data="tied.data")
    return path


DATA = {"ids": np.random.default_rng(0).integers(0, 300, (40, 16))}


def ran(path: Path, output: Path, *, memory: int | None = MEGABYTE, **more: Any) -> Report:
    ruined = more.pop("keep_ruined", False)
    quantize = QuantizeOptions(
        mode=more.pop("mode", "int4"), memory=memory, batch=8, keep_ruined=ruined
    )
    sections = {k: more.pop(k) for k in ("prune", "budget") if k in more}
    recipe = Recipe(quantize=quantize, measure=MeasureOptions(seconds=0.02), **sections)
    return compress(str(path), calibration=DATA, recipe=recipe, output=output, **more)


@pytest.fixture(scope="module")
def bounded(path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    output = tmp_path_factory.mktemp("bounded") / "out"
    return output, ran(path, output)


def logits(file: Path) -> np.ndarray:
    return open_session(file).run(None, DATA)[0]


def test_a_model_beyond_memory_becomes_what_it_becomes_with_all_of_it(
    path: Path, bounded: tuple[Path, Report], tmp_path: Path
) -> None:
    output, report = bounded
    whole = ran(path, tmp_path / "whole", memory=None)
    told = next(stage for stage in report.stages if stage.name == "block by block")
    assert told.parameters["blocks"] > 2
    one, other = report.graphs["model"], whole.graphs["model"]
    assert one.shipped == other.shipped == "int4"
    assert one.baseline_size.macs == other.baseline_size.macs
    assert one.quality[0].result == pytest.approx(other.quality[0].result, abs=1e-3)
    sizes = one.result_size.file_bytes, other.result_size.file_bytes
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02), "a tied table is stored once"
    found, expected = logits(output / "model.onnx"), logits(tmp_path / "whole" / "model.onnx")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert one.latency == () and "block by block" in (one.latency_reason or "")
    manifest = json.loads((output / "manifest.json").read_text())
    assert all((output / name).is_file() for name in manifest["files"])
    assert list(output.parent.iterdir()) == [output], "nothing is left beside it"


def test_its_plan_replays_to_the_same_bytes(
    path: Path, bounded: tuple[Path, Report], tmp_path: Path
) -> None:
    output, _ = bounded
    ran(path, tmp_path / "again", plan=output / "plan.json")
    for name in ("model.onnx", "plan.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (output / name).read_bytes()
    told = json.loads((output / "plan.json").read_text())
    told["graphs"].popitem()
    (tmp_path / "plan.json").write_text(json.dumps(told))
    with pytest.raises(RecipeError, match="the model is worked on in"):
        ran(path, tmp_path / "other", plan=tmp_path / "plan.json")
    (output / "plan.safetensors").rename(tmp_path / "moved")
    with pytest.raises(RecipeError, match="is not the file that"):
        ran(path, tmp_path / "other", plan=output / "plan.json")
    (tmp_path / "moved").rename(output / "plan.safetensors")


def test_a_whole_that_is_ruined_ships_in_float(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors add up over blocks, each of which is fine by itself."""
    account = "compressor.commands.stream_account.why_ruined"
    monkeypatch.setattr(account, lambda *seen: "cosine is 0.5")
    report = ran(path, tmp_path / "out")
    graph = report.graphs["model"]
    assert graph.shipped == "float"
    assert graph.shipped_reason == (
        "weight-only INT4 was reverted: its outputs are ruined: cosine is 0.5; "
        "--keep-ruined ships it all the same"
    )
    assert any("does not ship" in notice for notice in report.notices)
    assert graph.quality[0].result == pytest.approx(graph.quality[0].baseline, abs=1e-12)
    np.testing.assert_allclose(
        logits(tmp_path / "out" / "model.onnx"), logits(path), rtol=1e-5, atol=1e-6
    )
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert {one["ship"] for one in plan["graphs"].values()} == {"float"}
    again = ran(path, tmp_path / "again", plan=tmp_path / "out" / "plan.json")
    assert again.graphs["model"].shipped == "float"
    for file in (tmp_path / "out").glob("model.onnx*"):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    kept = ran(path, tmp_path / "kept", keep_ruined=True)
    assert kept.graphs["model"].shipped == "int4"


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"prune": PruneOptions(macs="30%")}, "--prune 30%"),
        ({"budget": BudgetOptions(max_drop="1%")}, "--max-drop"),
    ],
)
def test_what_only_the_whole_can_tell_is_refused(
    path: Path, tmp_path: Path, more: dict[str, Any], flag: str
) -> None:
    with pytest.raises(RecipeError, match=flag) as found:
        ran(path, tmp_path / "out", **more)
    assert "Without --memory" in (found.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_what_only_takes_its_type_from_a_value_is_not_handed_on(tmp_path: Path) -> None:
    text = TIED.replace("table, float[128,512] up", "table, float[128] zero, float[128,512] up")
    text = text.replace("d = MatMul(r", "like = CastLike(zero, r)\n    d = MatMul(r")
    text = text.replace("z = Add(s, b)", "y = Add(s, b)\n    z = Add(y, like)")
    made = model(
        text, table=[300, 128], zero=[128], up=[128, 512], down=[512, 128], wide=[128, 1024],
        back=[1024, 128],
    )  # fmt: skip
    ir.save(made, tmp_path / "typed.onnx", external_data="typed.data")
    report = ran(tmp_path / "typed.onnx", tmp_path / "out")
    told = next(stage for stage in report.stages if stage.name == "block by block")
    assert told.parameters["blocks"] > 2
    quality = report.graphs["model"].quality[0]
    assert quality.result == pytest.approx(quality.baseline, abs=0.05)


def test_a_model_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    text = TIED.replace("x = Gather", "u = RandomUniformLike(ids)\n    x = Gather")
    made = model(
        text.replace("float[n,t,300] logits", "float[n,t,300] logits, float[n,t] u"),
        table=[300, 128], up=[128, 512], down=[512, 128], wide=[128, 1024], back=[1024, 128],
    )  # fmt: skip
    ir.save(made, tmp_path / "draws.onnx", external_data="draws.data")
    with pytest.raises(CaptureError, match="draws random numbers"):
        ran(tmp_path / "draws.onnx", tmp_path / "out")


def test_workers_are_for_blocks(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is worked on as a whole"):
        ran(path, tmp_path / "out", memory=None, workers=2)
    with pytest.raises(UsageError, match="expected a number of processes"):
        ran(path, tmp_path / "out", workers="many")


def test_files_of_tensors_become_one(tmp_path: Path) -> None:
    import safetensors.numpy

    first = {"a/x": np.arange(6, dtype=np.uint8), "a/y": np.ones((2, 3), np.float32)}
    second = {"b/x": np.arange(5, dtype=np.int16)}
    for name, arrays in (("1", first), ("2", second)):
        safetensors.numpy.save_file(arrays, tmp_path / name)
    digest = concatenated([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert digest == digest_of(tmp_path / "all")
    found = safetensors.numpy.load_file(tmp_path / "all")
    assert found.keys() == {*first, *second}
    for name, array in {**first, **second}.items():
        np.testing.assert_array_equal(found[name], array)
    assert digest_of(tmp_path / "nothing") is None


def test_files_that_are_no_models_are_left_to_who_reads_them(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nothing")
    with pytest.raises(CompressorError):
        ran(tmp_path / "bad.onnx", tmp_path / "out")
