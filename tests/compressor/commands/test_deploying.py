"""Several targets of one model: what is said about which to deploy."""

import json
from pathlib import Path

import pytest
from seams import Clock, always

from compressor import Recipe, compress
from compressor.commands import deploying
from compressor.commands.deploying import deployment_of, with_deployment
from compressor.errors import DataError
from compressor.report.files import load_report
from compressor.results.measurements import LatencyConfig
from compressor.results.report import Report
from compressor.search.session import Race
from compressor.system.output_folder import sha256
from exporters.ort.target import OrtTarget

RECIPE = Recipe.model_validate({"quantize": {"mode": "none"}, "measure": {"seconds": 0.01}})


class Other(OrtTarget):
    """Another runtime, that may not be timed here."""

    name = "other"
    unmeasurable: str | None = None

    def why_not_measurable(self) -> str | None:
        return self.unmeasurable


@pytest.fixture
def rivals(
    tiny_model: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[Report], Other]:
    """Two reports of one model, for two targets."""
    first = compress(tiny_model, recipe=RECIPE, output=tmp_path / "ort")
    other = Other()
    monkeypatch.setattr(
        deploying, "find_target", lambda name: other if name == "other" else OrtTarget()
    )
    return [first, first.model_copy(update={"target": "other"})], other


def racing(ratio: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def raced(one, other, prepared, config, recipe):
        assert prepared.timed(config, 0).keys() == {"x"}
        asked = Race(None, None, None, {}, LatencyConfig(batch=1, threads=1), 0.0, 0)
        return Clock(always(ratio)).race(asked)

    monkeypatch.setattr(deploying, "raced", raced)


@pytest.mark.parametrize(
    ("ratio", "chosen", "told"),
    [
        (2.0, "other", "other ran at 2.00× the speed of ort"),
        (0.5, "ort", "other ran at 0.50× the speed of ort"),
        (1.0, "ort", "no significant difference, so that the one named first stays"),
    ],
    ids=["faster", "slower", "alike"],
)
def test_the_faster_is_to_be_deployed_and_of_equals_the_first(
    ratio, chosen, told, rivals, monkeypatch
):
    racing(ratio, monkeypatch)
    found = deployment_of(rivals[0], [], RECIPE)
    assert found is not None
    assert found.target == chosen
    assert told in found.words
    assert [(one.baseline, one.result) for one in found.races] == [("ort", "other")]


def test_what_fails_or_cannot_be_timed_is_no_rival(rivals, monkeypatch):
    racing(2.0, monkeypatch)
    reports, other = rivals
    found = deployment_of(reports[:1], ["other"], RECIPE)
    assert found is not None
    assert found.words == "Deploy ort: it is the only one left: other failed."
    assert deployment_of([], ["ort", "other"], RECIPE) is None
    other.unmeasurable = "there is no driver"
    assert deployment_of(reports, [], RECIPE) is None, "nothing says which is faster"


def test_a_race_that_fails_costs_no_artifact(rivals, monkeypatch):
    def failing(*_: object) -> None:
        raise DataError("the file is gone")

    monkeypatch.setattr(deploying, "raced", failing)
    found = deployment_of(rivals[0], [], RECIPE)
    assert found is not None
    assert found.target is None
    assert found.words == (
        "Which target to deploy is not known: the targets could not be raced: the file is gone."
    )


def test_it_stands_in_the_reports_and_the_folder_stays_whole(rivals, monkeypatch):
    racing(2.0, monkeypatch)
    found = deployment_of(rivals[0], [], RECIPE)
    assert found is not None
    report = with_deployment(rivals[0][:1], found)[0]
    folder = Path(report.artifact or "")
    stored = load_report(folder)
    assert stored.deployment == found
    assert stored.notices[0].startswith("Deploy other: ")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert all(sha256(folder / name) == seal["sha256"] for name, seal in files.items())
