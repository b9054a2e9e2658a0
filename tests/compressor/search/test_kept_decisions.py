"""A run that is repeated, killed, or asked for something else, with a cache."""

from pathlib import Path

import numpy as np
import pytest

from compressor import Recipe, compress
from compressor.errors import GraphError
from compressor.results.report import Report
from compressor.system.cache import SUFFIX

DATA = {"x": np.random.default_rng(1).normal(size=(256, 16)).astype(np.float32)}
SECTIONS = {
    "quantize": {"keep_slower": True, "batch": 64},
    "measure": {"seconds": 0.05},
    "budget": {"max_drop": "50%"},
    "prune": {"macs": "none"},
}


def run(model: Path, cache: Path | None, output: Path, **sections: object) -> Report:
    data = {"reuse": False} if cache is None else {"cache": cache}
    recipe = Recipe.model_validate({**SECTIONS, "data": data, **sections})
    return compress(model, calibration=DATA, recipe=recipe, output=output)


def weights_of(folder: Path) -> bytes:
    return (folder / "model.onnx").read_bytes()


@pytest.mark.usefixtures("quick")
def test_a_repeated_run_takes_all_but_what_is_reported(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    first = run(tiny_model, cache, tmp_path / "first")
    second = run(tiny_model, cache, tmp_path / "second")
    assert weights_of(tmp_path / "first") == weights_of(tmp_path / "second")
    assert first.reused == ()
    assert "decisions" in second.reused
    one, other = first.graphs["model"], second.graphs["model"]
    assert one.shipped == other.shipped == "int8"
    assert (one.shipped_reason, one.candidates) == (other.shipped_reason, other.candidates)
    assert (one.quality, one.layers, one.tensors) == (other.quality, other.layers, other.tensors)
    assert one.regions == other.regions
    assert [s.name for s in first.stages if s.is_told] == [
        s.name for s in second.stages if s.is_told and s.name != "take up decisions"
    ]

    anew = run(tiny_model, None, tmp_path / "anew")
    assert anew.reused == ()
    other = run(tiny_model, cache, tmp_path / "other", seed=7)
    assert "decisions" not in other.reused

    def refuse(*of: object) -> None:
        raise GraphError("the plan does not fit any more")

    monkeypatch.setattr("compressor.search.kept_decisions.replay", refuse)
    again = run(tiny_model, cache, tmp_path / "again")
    assert "decisions" not in again.reused
    assert any(one.startswith("judgements") for one in again.reused), "as after a kill"
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "first")


@pytest.mark.usefixtures("quick")
def test_a_killed_run_goes_on_to_the_same_bytes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "cache"
    with monkeypatch.context() as patched:

        def killed(*of: object, **more: object) -> None:
            raise KeyboardInterrupt

        patched.setattr("compressor.commands.single.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_model, cache, tmp_path / "killed")
    for path in (cache / "decisions").glob(f"*{SUFFIX}"):
        path.unlink()  # killed a little earlier
    report = run(tiny_model, cache, tmp_path / "on")
    assert "calibration statistics" in report.reused
    run(tiny_model, None, tmp_path / "whole")
    assert weights_of(tmp_path / "on") == weights_of(tmp_path / "whole")
