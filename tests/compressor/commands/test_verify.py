"""`compress verify`: a finished folder against itself, and what its graphs answer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from graphs import residual
from onnx import numpy_helper

from compressor import Recipe, compress
from compressor.cli.main import cli
from compressor.commands.verify import require_whole, verify
from compressor.errors import OutputError
from compressor.evaluation.reloaded import distance
from compressor.graph.files import save_model
from compressor.recipe.measuring import MeasureOptions
from compressor.system.output_folder import MANIFEST, write_manifest


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    save_model(residual(), folder / "net.onnx")
    measure = MeasureOptions(seconds=0.05, memory=False)
    compress(folder / "net.onnx", recipe=Recipe(measure=measure), output=folder / "out")
    return folder / "out"


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy elsewhere: a folder is moved before it is deployed."""
    return Path(shutil.copytree(finished, tmp_path / "moved here"))


def wrong(folder: Path) -> dict[str, str]:
    return {one.subject: one.said for one in verify(folder).checks if not one.met}


def seal(folder: Path, **updates: object) -> None:
    """Write the manifest anew, as one would who changed files on purpose."""
    told = json.loads((folder / MANIFEST).read_text())
    write_manifest(
        folder, {k: v for k, v in told.items() if k not in ("format", "files")} | updates
    )


def test_what_was_written_is_whole_wherever_it_lies(folder: Path) -> None:
    result = verify(folder)
    assert result.met, result.text
    assert [one.subject for one in result.checks] == ["files", "report", "plan", "graph model"]
    assert "what it answered when written" in result.text
    require_whole(result)
    done = CliRunner().invoke(cli, ["verify", str(folder), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.output)["checks"][0]["met"] is True


def other_weights(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
    array = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(-array, weight.name))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def damaged(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x07 no graph")


def another_report(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    report["graphs"]["model"]["result_size"]["file_bytes"] += 1
    (folder / "report.json").write_text(json.dumps(report))


def another_plan(folder: Path) -> None:
    plan = json.loads((folder / "plan.json").read_text())
    plan["graphs"]["model"]["ship"] = "bf16"
    (folder / "plan.json").write_text(json.dumps(plan))


def no_plan(folder: Path) -> None:
    (folder / "plan.json").unlink()


@pytest.mark.parametrize(
    ("change", "subject", "said"),
    [
        (other_weights, "graph model", "is off by"),
        (damaged, "graph model", "does not run"),
        (another_report, "report", "bytes of graph 'model'"),
        (another_plan, "plan", "ships graph 'model' as bf16"),
        (no_plan, "plan", "cannot be read"),
    ],
)
def test_what_does_not_agree_is_named_though_the_seals_hold(
    folder: Path, change: Callable[[Path], None], subject: str, said: str
) -> None:
    change(folder)
    seal(folder)
    found = wrong(folder)
    assert said in found[subject]
    assert "files" not in found
    with pytest.raises(OutputError) as info:
        require_whole(verify(folder))
    assert info.value.exit_code == 2


def test_a_changed_file_is_named_by_its_seal(folder: Path) -> None:
    (folder / "USAGE.md").write_text("other")
    assert wrong(folder) == {"files": "USAGE.md is gone or was changed"}
    (folder / "model.onnx").unlink()
    done = CliRunner().invoke(cli, ["verify", str(folder)])
    assert done.exit_code == 2
    assert "FAIL graph model: model.onnx is gone" in done.output


def test_a_manifest_does_not_lead_out_of_the_folder(folder: Path) -> None:
    shutil.copy(folder / "model.onnx", folder.parent / "other.onnx")
    seal(folder, graphs={"model": "../other.onnx"})
    with pytest.raises(OutputError, match="no file of the folder as graph 'model'"):
        verify(folder)
    told = json.loads((folder / MANIFEST).read_text())
    told["files"] |= {"../other.onnx": {"sha256": ""}, "plan.json": 7}
    (folder / MANIFEST).write_text(json.dumps(told | {"graphs": {"model": "model.onnx"}}))
    assert "files" in wrong(folder)


def test_a_folder_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is no result of compress"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([3.0, np.nan], [3.0, np.nan], 0.0),
        ([3.0, np.nan], [3.0, 4.0], np.inf),
        ([0.25], [0.0], 0.25),
    ],
)
def test_distance_is_relative_and_knows_what_is_not_finite(
    found: list[float], expected: list[float], apart: float
) -> None:
    assert distance(np.array(found), np.array(expected)) == pytest.approx(apart, abs=1e-12)


def test_distance_of_whole_numbers_is_the_share_that_differs() -> None:
    assert distance(np.array([1, 2, 3, 4]), np.array([1, 2, 0, 4])) == 0.25
    assert distance(np.zeros((2, 1)), np.zeros(2)) == np.inf
