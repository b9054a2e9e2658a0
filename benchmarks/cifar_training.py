"""Training of small networks on a few thousand images, on one core in minutes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from cifar_data import MEAN, STD

Network = TypeVar("Network", bound=nn.Module)


def seeded(factory: Callable[[], Network]) -> Network:
    """A network with random weights: the same machine and versions always draw the same."""
    torch.manual_seed(0)
    return factory()


def fit(
    network: nn.Module, data: Path, *, epochs: int, batch: int, rate: float, decay: float
) -> None:
    """Train on the uint8 images [n, 32, 32, 3] and labels of an .npz.

    SGD with Nesterov momentum and a one-cycle rate; images are mirrored and shifted by up to four
    pixels.
    """
    images, labels = _loaded(data)
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.SGD(
        network.parameters(), rate, momentum=0.9, weight_decay=decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for epoch in range(1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images))[: steps // epochs * batch]
        for chosen in order.reshape(-1, batch):
            loss = functional.cross_entropy(network(_varied(images[chosen])), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        told = f"epoch {epoch} of {epochs}: loss {total * epochs / steps:.3f}"
        seconds = time.perf_counter() - started
        Console(stderr=True).print(f"{told}, {seconds:.0f} s", style="dim")


def save(network: nn.Module, path: Path) -> None:
    """Write a state dict."""
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
