"""Training of small networks on a few thousand images, on one core in minutes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional

from cifar_data import MEAN, STD

Network = TypeVar("Network", bound=nn.Module)
WARMTH = 4.0
"""What logits are divided by where those of another network are learnt."""


def seeded(factory: Callable[[], Network]) -> Network:
    """A network with random weights: the same machine and versions always draw the same."""
    torch.manual_seed(0)
    return factory()


def fit(
    network: nn.Module,
    data: Path,
    *,
    epochs: int,
    batch: int,
    rate: float,
    decay: float,
    teacher: nn.Module | None = None,
    resume: Path | None = None,
) -> None:
    """Train on the uint8 images [n, 32, 32, 3] and labels of an .npz.

    SGD with Nesterov momentum and a one-cycle rate; images are mirrored and shifted by up to four
    pixels.

    Args:
        network: What is trained, in place.
        data: The .npz.
        epochs: How often all images are seen.
        batch: Images of a step.
        rate: The largest rate.
        decay: Of the weights.
        teacher: Whose logits are learnt in place of labels, in bfloat16; None for the labels.
        resume: Where the state after every epoch is kept, and read from if it is there.
    """
    images, labels = _loaded(data)
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.SGD(
        network.parameters(), rate, momentum=0.9, weight_decay=decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    done = _resumed(parts, resume)
    for epoch in range(done + 1, epochs + 1):
        started, total = time.perf_counter(), 0.0
        order = torch.randperm(len(images))[: steps // epochs * batch]
        for chosen in order.reshape(-1, batch):
            loss = _loss(network, _varied(images[chosen]), labels[chosen], teacher)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item()
        told = f"epoch {epoch} of {epochs}: loss {total * epochs / steps:.3f}"
        seconds = time.perf_counter() - started
        Console(stderr=True).print(f"{told}, {seconds:.0f} s", style="dim")
        if resume is not None:
            resume.parent.mkdir(parents=True, exist_ok=True)
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save(states | {"epoch": epoch}, resume)


def save(network: nn.Module, path: Path) -> None:
    """Write a state dict."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": network.state_dict()}, path)


def _resumed(parts: dict[str, Any], resume: Path | None) -> int:
    """Read the states of what is trained, where there are any; the epochs that are done."""
    if resume is None or not resume.is_file():
        return 0
    states = torch.load(resume, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    torch.manual_seed(states["epoch"])
    return int(states["epoch"])


def _loss(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, teacher: nn.Module | None
) -> torch.Tensor:
    """Cross-entropy to the labels, or to a teacher at a temperature of `WARMTH`."""
    if teacher is None:
        return functional.cross_entropy(network(images), labels)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            wanted = functional.softmax(teacher(images).float() / WARMTH, 1)
        made = network(images).float()
    return functional.cross_entropy(made / WARMTH, wanted) * WARMTH**2


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
