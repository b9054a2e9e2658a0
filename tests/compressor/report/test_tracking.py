"""Runs that are logged: to a tracker of the test's own, and to the real ones that are installed."""

import json
from pathlib import Path

import pytest

from compressor.commands.tracked import logged, tracked_by
from compressor.recipe.recipe import Recipe
from compressor.report.files import load_report
from compressor.results.report import Report
from compressor.system.output_folder import write_manifest
from compressor.tracking.base import Tracker


@pytest.fixture
def written(tmp_path, int8_report: Report) -> Report:
    """A report in its folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    names = {"report.json": "report.json", "report.md": "report.md", "model": "model.onnx"}
    files = {role: str(folder / name) for role, name in names.items()}
    report = int8_report.model_copy(update={"artifact": str(folder), "files": files})
    (folder / "report.json").write_text(report.model_dump_json())
    (folder / "report.md").write_text("# INT8 ships\n")
    (folder / "model.onnx").write_bytes(b"onnx")
    write_manifest(folder, {})
    return report


class Kept(Tracker):
    """Keeps what it is given."""

    name, package = "kept", "kept"

    def __init__(self) -> None:
        self.seen: dict = {"metrics": {}, "files": [], "texts": [], "steps": []}

    def begin(self, name: str) -> None:
        self.seen["name"] = name

    def params(self, values) -> None:
        self.seen["params"] = dict(values)

    def metrics(self, values, step=None) -> None:
        self.seen["metrics"] |= values
        self.seen["steps"].append(step)

    def text(self, name: str, content: str) -> None:
        self.seen["texts"].append(name)

    def artifact(self, path: Path) -> None:
        self.seen["files"].append(path.name)

    def end(self) -> str:
        return "here"


class Unreachable(Kept):
    """Fails as a server does that is down."""

    name = "unreachable"

    def begin(self, name: str) -> None:
        raise ConnectionError("connection refused\nretries exceeded")


def test_a_run_is_logged_whole(written: Report) -> None:
    tracker = Kept()
    recipe = Recipe.model_validate({"seed": 3, "budget": {"max_drop": "1%"}})
    report = logged([tracker], written, recipe)
    seen = tracker.seen
    assert seen["name"] == "out"
    assert seen["params"]["budget.max_drop"] == "1%"
    assert seen["metrics"]["speedup"] == pytest.approx(1.56, abs=0.01)
    assert seen["metrics"]["accuracy"] == 86.80
    assert seen["texts"] == ["report.md"]
    assert "model.onnx" in seen["files"]
    assert report.notices[-1] == "logged to kept: here"


def test_a_tracker_that_cannot_be_reached_loses_nothing(written: Report) -> None:
    report = logged([Unreachable(), Kept()], written, Recipe())
    said = "the run was not logged to unreachable: connection refused"
    assert report.notices[-2:] == (said, "logged to kept: here")
    assert load_report(report.artifact).notices[-2] == said  # written anew, and sealed
    manifest = json.loads((Path(report.artifact) / "manifest.json").read_text())
    assert "report.html" in manifest["files"]


def test_event_files_of_tensorboard(written: Report, tmp_path, monkeypatch) -> None:
    pytest.importorskip("tensorboardX")
    monkeypatch.setenv("TENSORBOARD_LOGDIR", str(tmp_path / "logs"))
    logged(tracked_by(["tensorboard"]), written, Recipe())
    (event,) = (tmp_path / "logs" / "out").glob("events.*")
    assert b"speedup" in event.read_bytes()


def test_a_file_store_of_mlflow(written: Report, tmp_path, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    logged(tracked_by(["mlflow"]), written, Recipe())
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics["accuracy"] == 86.80
    assert {one.path for one in mlflow.MlflowClient().list_artifacts(run.info.run_id)} >= {
        "report.md", "model.onnx"
    }  # fmt: skip
