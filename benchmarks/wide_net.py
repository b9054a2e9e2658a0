"""A residual network of at least 64 channels everywhere, and its training on a few thousand images.

The blocks are those of `resnet.py`. Wide enough for integer kernels to gain from every channel
that goes, small enough to be trained on one core in minutes.
"""

import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from cifar_data import MEAN, STD
from resnet import Block

EPOCHS, BATCH, RATE = 12, 64, 0.1


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
    """Train on the uint8 images [n, 32, 32, 3] and labels of an .npz; write a state dict.

    SGD with Nesterov momentum and a one-cycle rate; images are mirrored and shifted by up to four
    pixels. Seeded: the same machine and versions write the same weights.
    """
    torch.manual_seed(0)
    images, labels = _loaded(data)
    network = wide()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.SGD(
        network.parameters(), RATE, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for epoch in range(1, EPOCHS + 1):
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images))[: steps // EPOCHS * BATCH]
        for chosen in order.reshape(-1, BATCH):
            loss = functional.cross_entropy(network(_varied(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        told = f"epoch {epoch} of {EPOCHS}: loss {total * EPOCHS / steps:.3f}"
        seconds = time.perf_counter() - started
        Console(stderr=True).print(f"{told}, {seconds:.0f} s", style="dim")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": network.state_dict()}, path)


def _loaded(data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(data) as arrays:
        images = torch.from_numpy(arrays["image"]).permute(0, 3, 1, 2).float() / 255
        labels = torch.from_numpy(arrays["label"])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std, labels


def _varied(images: torch.Tensor) -> torch.Tensor:
    """Each image mirrored or not, and cut out of its padded self at a place of its own."""
    count, _, side, _ = images.shape
    mirrored = torch.rand(count, 1, 1, 1) < 0.5
    padded = functional.pad(torch.where(mirrored, images.flip(3), images), (4, 4, 4, 4))
    top, left = torch.randint(0, 9, (2, count, 1, 1))
    rows, columns = top + torch.arange(side)[:, None], left + torch.arange(side)
    found = padded[torch.arange(count)[:, None, None], :, rows, columns].permute(0, 3, 1, 2)
    return found.contiguous(memory_format=torch.channels_last)
