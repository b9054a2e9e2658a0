"""Weights by torchvision's name for them, with a stand-in for the package: its own needs operators
that are built for one version of torch."""

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from calibration.encoders.base import NONE
from compressor import compress
from compressor.capture.source import ModelSource
from compressor.checkpoint import load_checkpoint
from compressor.checkpoint.source_inputs import told_by
from compressor.checkpoint.torchvision_entry import entry_name
from compressor.errors import CheckpointError, UsageError
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe


class Interpolation(Enum):
    BICUBIC = "bicubic"


@dataclass
class Weights:
    url: str
    transforms: Any
    meta: dict[str, Any]


class WeightsEnum(Enum):
    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    @property
    def url(self) -> str:
        return self.value.url

    @property
    def transforms(self) -> Any:
        return self.value.transforms

    @property
    def meta(self) -> dict[str, Any]:
        return self.value.meta


class Net(torch.nn.Sequential):
    def __init__(self) -> None:
        super().__init__(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(784, 2))


class Other_Weights(WeightsEnum):  # noqa: N801 - as torchvision calls them
    V1 = Weights("https://models.invalid/other.pth", dict, {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The weights of the entry in torch's cache."""
    state = tmp_path / "state.pth"
    torch.manual_seed(0)
    torch.save(Net().state_dict(), state)
    digest = hashlib.sha256(state.read_bytes()).hexdigest()[:8]
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return state.rename(folder / f"net-{digest}.pth")


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path) -> Iterator[Any]:
    preset = partial(
        SimpleNamespace, crop_size=[16], resize_size=[20], mean=[0.5, 0.4, 0.3], std=[0.2] * 3,
        interpolation=Interpolation.BICUBIC,
    )  # fmt: skip
    value = Weights(f"https://models.invalid/{file.name}", preset, {"categories": ["cat", "dog"]})
    kinds = {"net": WeightsEnum("Net_Weights", {"V1": value}), "other": Other_Weights}
    known = {repr(one): one for kind in kinds.values() for one in kind}

    def get_model(name: str, *, weights: WeightsEnum, progress: bool) -> torch.nn.Module:
        assert (name, progress) == ("net", False)
        state = torch.hub.load_state_dict_from_url(weights.url, progress=progress)
        module = Net()
        module.load_state_dict(state)
        return module.train()

    models = ModuleType("torchvision.models")
    models.__dict__.update(
        list_models=lambda: ["other", "net"],
        get_model_weights=kinds.__getitem__,
        get_weight=known.__getitem__,
        get_model=get_model,
    )
    package = ModuleType("torchvision")
    package.models = models
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    yield known["Net_Weights.V1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ResNet18_Weights.DEFAULT", "ResNet18_Weights.DEFAULT"),
        ("torchvision.models.ResNet18_Weights.IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"),
        ("ResNet18_Weights.pt", None),
        ("folder/ResNet18_Weights.V1", None),
        ("org/name", None),
    ],
)
def test_what_reads_as_an_entry(text: str, found: str | None) -> None:
    assert entry_name(text) == found


def test_a_file_of_that_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("My_Weights.V1").touch()
    assert entry_name("My_Weights.V1") is None


def test_an_entry_is_loaded_and_says_how_pictures_are_made(entry: Any, file: Path) -> None:
    source = load_checkpoint(Path("Net_Weights.V1"), ModelOptions())
    assert (source.description, source.module.training) == ("Net_Weights.V1", False)
    state = torch.load(file, weights_only=True)
    torch.testing.assert_close(source.module.state_dict(), state, rtol=0, atol=0)
    found = told_by(source, NONE)
    assert found.labels == ("cat", "dog")
    assert found.images == {
        "scale": 1 / 255, "mean": (0.5, 0.4, 0.3), "std": (0.2,) * 3, "size": (16, 16),
        "crop": 0.8, "interpolation": "bicubic",
    }  # fmt: skip


@pytest.mark.parametrize("by_name", [True, False])
def test_a_name_and_torchvisions_own_object_are_compressed(
    entry: Any, tmp_path: Path, by_name: bool
) -> None:
    for index in range(20):
        folder = tmp_path / "pictures" / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (24, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    recipe = Recipe(measure=MeasureOptions(seconds=0.02))
    model = "Net_Weights.V1" if by_name else entry
    report = compress(
        model, calibration=str(tmp_path / "pictures"), recipe=recipe, output=tmp_path / "out"
    )
    assert report.source == "Net_Weights.V1"
    assert any("size 16, 16" in notice and "bicubic" in notice for notice in report.notices)
    assert report.graphs["model"].quality


def test_weights_that_are_not_there_are_not_downloaded(entry: Any, file: Path) -> None:
    file.unlink()
    with pytest.raises(CheckpointError, match="not in torch's cache") as info:
        load_checkpoint(Path("Net_Weights.V1"), ModelOptions())
    assert "Net_Weights.V1" in (info.value.hint or "")


def test_damaged_weights_are_told_by_their_name(entry: Any, file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is damaged: its SHA-256 begins with"):
        load_checkpoint(Path("Net_Weights.V1"), ModelOptions())


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("run"),))


def test_nothing_in_the_file_is_run(
    entry: Any, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": Hostile()}, file)
    plain = file.with_name("net.pth")
    file.rename(plain)
    entry.value.url = f"https://models.invalid/{plain.name}"
    with pytest.raises(CheckpointError, match="cannot load it"):
        load_checkpoint(Path("Net_Weights.V1"), ModelOptions())
    assert not Path("run").exists()


def test_an_entry_that_does_not_exist_is_told_with_those_alike(entry: Any) -> None:
    with pytest.raises(CheckpointError, match="no such weights") as info:
        load_checkpoint(Path("Net_Weights.V2"), ModelOptions())
    assert "Net_Weights.V1" in (info.value.hint or "")


def test_a_factory_beside_an_entry_is_refused() -> None:
    with pytest.raises(UsageError, match=r"of torchvision, and --model a.py:b"):
        load_checkpoint(Path("Net_Weights.V1"), ModelOptions(factory="a.py:b"))


def test_without_torchvision_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(CheckpointError, match="which cannot be imported") as info:
        load_checkpoint(Path("Net_Weights.V1"), ModelOptions())
    assert "pip install torchvision" in (info.value.hint or "")


def test_other_modules_name_no_classes() -> None:
    module = torch.nn.Identity()
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.2,) * 3, "label_names": None}
    assert told_by(ModelSource("module", "net", module=module), NONE).labels == ()
