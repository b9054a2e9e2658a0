"""What is right, before it is broken: models, data, and the folder of a run that went well."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.external_data_helper import convert_model_to_external_data
from PIL import Image

from fuzz import graphs, running

QUICK = ("--measure-seconds", "0.01", "--no-memory", "--no-cache", "--quiet")

NET = """import torch
def build(width=8):
    layers = torch.nn.Linear(16, width), torch.nn.ReLU(), torch.nn.Linear(width, 4)
    return torch.nn.Sequential(*layers)
def data():
    for _ in range(8):
        yield {"x": __import__("numpy").ones(16, "float32")}
"""
RECIPE = """seed = 1
[data]
calib = "mlp.npz"
samples = 8
[quantize]
mode = "none"
ranges = "minmax"
activation = "uint8"
[measure]
batch = 1
threads = 1
seconds = 0.01
memory = false
[data.preprocess]
scale = 1.0
mean = [0.0]
[prune]
least = 0.25
leave = ["*head*"]
"""


@dataclass(frozen=True)
class Bases:
    """Where what is right lies, and the models as messages."""

    folder: Path
    models: dict[str, Any]


def ready(folder: Path, *, torch: bool, cheap: bool = False) -> Bases:
    """What is right, and results that commands made of it; once where the folder is kept."""
    folder = folder.absolute()  # commands run elsewhere
    made = make(folder, torch=torch)
    if not (folder / "stats.npz").exists():
        (with_one_result if cheap else with_results)(made)
    return made


def make(folder: Path, *, torch: bool) -> Bases:
    """Write everything once."""
    models = graphs.models()
    if torch and not (folder / "state.pt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _of_torch(folder)
    if (folder / "recipe.toml").exists():
        return Bases(folder, models)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        onnx.save(model, folder / f"{name}.onnx")
        feeds = graphs.feeds(model)
        if name == "old":
            feeds = {key: np.concatenate([array] * 4) for key, array in feeds.items()}
        np.savez(folder / f"{name}.npz", **feeds)
    np.save(folder / "mlp.npy", graphs.feeds(models["mlp"])["x"])
    apart = onnx.ModelProto.FromString(models["mlp"].SerializeToString())
    convert_model_to_external_data(apart, location="weights.bin", size_threshold=0)
    (folder / "apart").mkdir()
    onnx.save(apart, folder / "apart" / "mlp.onnx")
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "net.py").write_text(NET)
    _tables(folder)
    _pictures(folder / "pictures")
    return Bases(folder, models)


def _tables(folder: Path) -> None:
    rows = [{"x": [0.5] * 16, "label": index % 4} for index in range(8)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "rows.csv").write_text("x,label\n" + "0.5,1\n" * 8)
    (folder / "parts").mkdir()
    for index in range(4):
        np.savez(folder / "parts" / f"{index}.npz", x=np.ones((16,), np.float32) * index)


def _pictures(folder: Path) -> None:
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for index in range(3):
            image = Image.new("RGB", (12, 10), (40 * index, 100, 7))
            image.save(folder / label / f"{index}.{'png' if index % 2 else 'jpg'}")


def _of_torch(folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)).eval()
    x = torch.zeros(2, 16)
    torch.save(net.state_dict(), folder / "state.pt")
    torch.save({"epoch": 3, "model": net.state_dict()}, folder / "trainer.pt")
    torch.save(net, folder / "whole.pt")
    torch.save(net.state_dict(), folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.trace(net, x).save(str(folder / "script.pt"))
    torch.export.save(torch.export.export(net, (x,)), folder / "program.pt2")
    np.savez(folder / "weights.npz", **{k: v.numpy() for k, v in net.state_dict().items()})
    from safetensors.torch import save_file

    save_file(net.state_dict(), folder / "state.safetensors")


def with_one_result(bases: Bases) -> None:
    """The folder of one quick run, in the place of all."""
    mlp = ("mlp.onnx", "--calib", "mlp.npz")
    _run(bases.folder, *mlp, *QUICK, "--quantize", "none", "-o", "done8")
    shutil.copytree(bases.folder / "done8", bases.folder / "done")
    _run(bases.folder, "calibrate", *mlp, "-o", "stats.npz")


def with_results(bases: Bases) -> None:
    """The folders of runs that went well."""
    mlp = ("mlp.onnx", "--calib", "mlp.npz")
    cut = ("convolutions.onnx", "--calib", "convolutions.npz", "--prune", "40%", "--keep-ruined")
    kept = [word for word in QUICK if word != "--no-cache"]
    _run(bases.folder, *cut, *QUICK, "--keep-slower", "-o", "done")
    _run(bases.folder, *mlp, *QUICK, "--keep-slower", "-o", "done8")
    _run(bases.folder, *mlp, *kept, "--cache", "kept", "-o", "cached")
    shutil.rmtree(bases.folder / "cached")
    _run(bases.folder, "calibrate", *mlp, "-o", "stats.npz")


def _run(folder: Path, *argv: str) -> None:
    ended = running.run(folder, list(argv), limit=120)
    if ended.code not in (0, 3):
        raise AssertionError(f"{argv} should go well: {ended}")
