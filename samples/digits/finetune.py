"""Prune the sample's network, fine-tune what is left in torch, and compress that.

    python samples/digits/finetune.py out/digits

takes the model.pt that train.py wrote there. The pruned graph is in `pruned/`, the fine-tuned one
in INT8 in `finetuned-ort/`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compressor import Recipe, apply_plan, compress
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from model import build
from train import CALIBRATION, SEED, accuracy, split, train

EPOCHS = 2
RATE = 5e-4
SAMPLES = 64


def pruned(network: nn.Module, images: np.ndarray, share: str, folder: Path) -> nn.Module:
    """The network with a share of its multiply-accumulates removed, by the plan of a run.

    Whole blocks stay: the network's own code would go on calling them.
    """
    compress(
        network,
        calibration={"image": images[:SAMPLES]},
        recipe=Recipe(
            prune=PruneOptions(macs=share, blocks=False),
            quantize=QuantizeOptions(mode="none"),
            measure=MeasureOptions(seconds=0.2),
        ),
        output=folder,
    )
    return apply_plan(network, folder / "plan.json", example=images[:8])


def finetuned(network: nn.Module, images: np.ndarray, labels: np.ndarray) -> nn.Module:
    """The loop that the network was trained with, shorter and at a lower rate."""
    return train(network, images, labels, EPOCHS, RATE)


def main() -> None:
    """Go there and back again in the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where model.pt is")
    parser.add_argument("--prune", default="50%", help="share of multiply-accumulates to remove")
    arguments = parser.parse_args()
    folder: Path = arguments.folder

    network = build()
    network.load_state_dict(torch.load(folder / "model.pt")["state_dict"])
    x_train, x_eval, y_train, y_eval = split()
    print(f"as trained: {accuracy(network.eval(), x_eval, y_eval):.1%}")
    smaller = pruned(network, x_train, arguments.prune, folder / "pruned")
    print(f"{arguments.prune} pruned, repaired: {accuracy(smaller, x_eval, y_eval):.1%}")
    torch.manual_seed(SEED)
    smaller = finetuned(smaller, x_train, y_train)
    print(f"fine-tuned: {accuracy(smaller, x_eval, y_eval):.1%}")
    report = compress(
        smaller,
        calibration={"image": x_train[:CALIBRATION], "label": y_train[:CALIBRATION]},
        evaluation={"image": x_eval, "label": y_eval},
        recipe=Recipe(measure=MeasureOptions(seconds=1)),
        output=folder / "finetuned-ort",
    )
    quality = report.graphs["model"].quality[0]
    print(f"{report.graphs['model'].shipped}: {quality.result:.1f}%, see {report.files['report']}")


if __name__ == "__main__":
    main()
