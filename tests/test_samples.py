"""The sample's round trip: pruned as a graph, trained on as a module, compressed again."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("torch", reason="the sample is a torch module")
pytest.importorskip("sklearn", reason="the sample's digits are scikit-learn's")

import torch

from compressor import Recipe, compress
from compressor.graph.files import load_model
from compressor.graph.session import open_session
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions

DIGITS = Path(__file__).parents[1] / "samples" / "digits"


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """finetune.py, imported as a script there is."""
    names = ("model", "train", "finetune")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(DIGITS)
    import finetune  # type: ignore[import-not-found]

    yield finetune
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_pruned_network_is_trained_on_and_compressed_again(
    sample: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sample, "EPOCHS", 1)
    monkeypatch.setattr(sample, "SAMPLES", 32)
    images, _, labels, _ = (part[:128] for part in sample.split())
    torch.manual_seed(0)
    network = sample.train(sample.build(16), images, labels, 1)

    smaller = sample.pruned(network, images, "50%", tmp_path / "pruned")
    session = open_session(load_model(tmp_path / "pruned" / "model.onnx"))
    (expected,) = session.run(None, {"image": images})
    with torch.inference_mode():
        found = smaller(torch.from_numpy(images)).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()

    before = [parameter.clone() for parameter in smaller.parameters()]
    smaller = sample.finetuned(smaller, images, labels)
    assert all(not torch.equal(a, b) for a, b in zip(before, smaller.parameters(), strict=True)), (
        "training reaches every parameter"
    )
    quick = Recipe(measure=MeasureOptions(seconds=0.1), quantize=QuantizeOptions(mode="none"))
    data = {"image": images}
    reports = [
        compress(module, calibration=data, recipe=quick, output=tmp_path / name)
        for name, module in (("whole", network), ("again", smaller))
    ]
    whole, again = (report.graphs["model"].result_size.macs for report in reports)
    assert 0.35 * whole < again <= 0.51 * whole
