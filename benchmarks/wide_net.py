"""A residual network of at least 64 channels everywhere, and its training on a few thousand images.

The blocks are those of `resnet.py`. Wide enough for integer kernels to gain from every channel
that goes, small enough to be trained on one core in minutes.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from cifar_training import fit, save, seeded
from resnet import Block

EPOCHS, BATCH, RATE, DECAY = 12, 64, 0.1, 5e-4


class WideNet(nn.Module):
    """A stem of 64 channels at half the resolution, then blocks of 128 and 256."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = Block(64, 128, 2)
        self.layer2 = Block(128, 256, 2)
        self.linear = nn.Linear(256, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 10] of normalized images [batch, 3, 32, 32]."""
        x = functional.relu(self.bn1(self.conv1(image)))
        x = self.layer2(self.layer1(x))
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


def wide() -> nn.Module:
    """The network with random weights."""
    return WideNet()


def train(data: Path, path: Path) -> None:
    """Train on the images and labels of an .npz; write a state dict."""
    network = seeded(wide)
    fit(network, data, epochs=EPOCHS, batch=BATCH, rate=RATE, decay=DECAY)
    save(network, path)
