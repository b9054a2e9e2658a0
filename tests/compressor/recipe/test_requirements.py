"""What cannot work is refused before the model is captured, whatever comes first in a run."""

import re
from pathlib import Path

import numpy as np
import pytest

from compressor import compress
from compressor.errors import CompressorError, TargetError
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.reading import load_recipe
from compressor.recipe.requirements.targets import require_mode
from compressor.system.writable import bytes_of, why_not_writable
from exporters.base import find_target


@pytest.fixture
def refused(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Why a run is refused, which must not get as far as the model."""

    def too_late(*given: object, **named: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("compressor.checkpoint.prepare._source", too_late)
    monkeypatch.chdir(tmp_path)

    def refuse(document: dict, samples: int | None = None, **options: object) -> str:
        data = None if samples is None else {"x": np.ones((samples, 16), np.float32)}
        with pytest.raises(CompressorError) as info:
            compress(
                options.pop("model", tiny_model),
                recipe=load_recipe(None, document),
                calibration=data,
                output=options.pop("output", tmp_path / "out"),
                **options,
            )
        assert info.value.exit_code == 2
        return str(info.value)

    return refuse


@pytest.mark.parametrize(
    ("document", "samples", "said"),
    [
        ({"measure": {"metric": "acuracy"}}, 9, "unknown metric 'acuracy'"),
        ({"measure": {"metric": "own.py:score"}}, 9, r"there is no file own\.py"),
        ({"prune": {"loss": "own.py:loss"}}, 9, r"there is no file own\.py"),
        ({"prune": {"macs": "30%"}}, None, "--prune 30% needs calibration data"),
        ({"budget": {"max_drop": "1%"}}, None, "needs samples to judge on"),
        ({"budget": {"max_drop": "1%"}}, 1, "only the held-out fifth"),
        ({"budget": {"max_drop": "1%"}}, 5, "only the held-out fifth .* one of 5"),
        ({"budget": {"max_drop": "0pt"}}, 9, "no number of samples .* --budget point"),
        ({"budget": {"max_drop": "100%"}, "measure": {"metric": "r2"}}, 9, "holds nothing"),
        ({"budget": {"time": "5m"}}, 9, "there is none"),
        ({"model": {"args": {"width": 3}}}, 9, "--model-args are arguments of the factory"),
        ({"model": {"inputs": ["x:float99[3]"]}}, 9, "float99"),
        ({"data": {"cache": "tiny.onnx"}}, 9, "is a file, and no folder"),
        ({"data": {"calib": "images"}}, None, r"no such file or folder\n.*Expected \.npz"),
        ({"data": {"eval": "data.py:batches"}}, 9, r"there is no file data\.py"),
        ({"trt": {"precision": "fp16"}}, 9, "are not for the target 'ort'"),
    ],
)
def test_refused_before_the_model_is_loaded(refused, document, samples, said):
    assert re.search(said, refused(document, samples), re.DOTALL)


@pytest.mark.parametrize("metric", ["accuracy", "top5", "perplexity"])
def test_labels_that_a_metric_needs_are_missed_before_the_model_is_captured(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
):
    def too_late(*given: object, **named: object) -> None:
        raise AssertionError("the model was captured")

    monkeypatch.setattr("compressor.checkpoint.prepare.capture", too_late)
    with pytest.raises(CompressorError, match=f"metric {metric} needs labels") as info:
        compress(
            tiny_model,
            recipe=load_recipe(None, {"measure": {"metric": metric}}),
            calibration={"x": np.ones((9, 16), np.float32)},
            output=tmp_path / "out",
        )
    assert info.value.exit_code == 2


def test_a_model_that_is_none_is_refused_before_data_is_read(refused, tmp_path):
    (tmp_path / "data.py").write_text("raise AssertionError('data was read')\n")
    (tmp_path / "notes.pt").write_text("hello\n")
    data = {"data": {"calib": "data.py:batches"}}
    assert "is of an unknown kind" in refused(data, model="notes.pt")
    assert "Did you mean tiny.onnx?" in refused(data, model="tiny.onxn")


def test_a_folder_that_cannot_be_written_is_refused(refused, tmp_path, monkeypatch):
    assert "tiny.onnx" in refused({}, 9, output=tmp_path / "tiny.onnx" / "out")
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 10})())
    assert "has 0 MB left" in refused({}, 9)


def test_why_a_folder_cannot_be_written(tmp_path):
    assert why_not_writable(tmp_path / "not" / "yet") is None
    assert list(tmp_path.iterdir()) == [], "nothing is made"
    (tmp_path / "file").write_bytes(bytes(7))
    assert (
        why_not_writable(tmp_path / "file" / "below") == f"{tmp_path}/file is a file, and no folder"
    )
    assert "MB are needed" in (why_not_writable(tmp_path, room=1 << 60) or "")
    assert bytes_of(tmp_path) == bytes_of(tmp_path / "file") == 7
    assert bytes_of(tmp_path / "absent") == 0


def test_a_target_without_kernels_is_an_error_of_its_own():
    target = find_target("ort")
    require_mode(QuantizeOptions(mode="bf16"), target)

    class Bare(type(target)):
        stores = frozenset()

    with pytest.raises(TargetError, match="cannot run --quantize bf16") as error:
        require_mode(QuantizeOptions(mode="bf16"), Bare())
    assert error.value.exit_code == 4
    require_mode(QuantizeOptions(mode="int8"), Bare())
    with pytest.raises(TargetError) as error:
        require_mode(QuantizeOptions(mode="int4"), find_target("trt"))
    assert error.value.hint == "Pass --precision int4-weights."
