"""Write the features in which the other samples' images are compared: those before the last layer.

    python samples/digits/features.py out/digits

takes the model.pt that train.py wrote there, a classifier of digits, and writes features.onnx: 64
features of images [batch, 1, 32, 32] in 0..1, for `compress --metric fid --features`.
"""

import argparse
import logging
from pathlib import Path

import torch
from torch import nn

from model import DigitNet, build


class Features(nn.Module):
    """What the last layer of the classifier sees."""

    def __init__(self, network: DigitNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[batch, 64]."""
        seen: nn.Module = self.network
        x = seen.coarse(seen.down(seen.fine(seen.stem(image))))
        pooled: torch.Tensor = seen.pool(x).flatten(1)
        return pooled


def main() -> None:
    """Export into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where model.pt is")
    folder: Path = parser.parse_args().folder
    network = build()
    network.load_state_dict(torch.load(folder / "model.pt")["state_dict"])
    logging.disable(logging.WARNING)
    torch.onnx.export(
        Features(network).eval(),
        (torch.zeros(2, 1, 32, 32),),
        folder / "features.onnx",
        input_names=["image"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


if __name__ == "__main__":
    main()
