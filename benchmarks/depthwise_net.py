"""A MobileNetV2-like network of depthwise convolutions, and its training on a few thousand images.

Inverted residuals with a linear bottleneck (Sandler et al. 2018, arXiv 1801.04381, section 3.3) of
that network's expansion and widths, fewer of each and with fewer strides, as images are small; it
can be trained on one core in minutes. Its activation is ReLU, as in ports of such networks that are
meant for integers.
"""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from cifar_training import fit, save, seeded

EPOCHS, BATCH, RATE, DECAY = 10, 64, 0.1, 4e-5
SPREAD = 1.0
"""Standard deviation of the logarithm of what channels are rescaled by."""
STEM, HEAD = 32, 384
BLOCKS = (
    (1, 16, 1),
    (6, 24, 1),
    (6, 24, 1),
    (6, 32, 1),
    (6, 32, 1),
    (6, 64, 2),
    (6, 64, 1),
    (6, 96, 1),
    (6, 96, 1),
)
"""Expansion, output channels and stride of each block."""


class Normed(nn.Module):
    """A convolution and its BatchNorm; depthwise where there are as many groups as channels."""

    def __init__(
        self, inputs: int, outputs: int, side: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, side, side] → [batch, outputs, side/stride, side/stride]."""
        out: torch.Tensor = self.norm(self.conv(x))
        return out


class Inverted(nn.Module):
    """Expansion, depthwise 3x3, projection without an activation, and the input where it fits."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = Normed(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = Normed(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = Normed(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, side, side] → [batch, outputs, side/stride, side/stride]."""
        hidden = x if self.expand is None else functional.relu(self.expand(x))
        out: torch.Tensor = self.project(functional.relu(self.depthwise(hidden)))
        return out + x if self.residual else out


class DepthwiseNet(nn.Module):
    """A stem at half the resolution, nine inverted residuals, and a wide head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Normed(3, STEM, 3, stride=2)
        blocks, inputs = [], STEM
        for expansion, outputs, stride in BLOCKS:
            blocks.append(Inverted(inputs, outputs, expansion, stride))
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Normed(inputs, HEAD, 1)
        self.linear = nn.Linear(HEAD, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 10] of normalized images [batch, 3, 32, 32]."""
        x = self.blocks(functional.relu(self.stem(image)))
        x = functional.relu(self.head(x))
        logits: torch.Tensor = self.linear(x.mean((2, 3)))
        return logits


def depthwise() -> nn.Module:
    """The network with random weights."""
    return DepthwiseNet()


def train(data: Path, path: Path) -> None:
    """Train on the images and labels of an .npz, make channels uneven; write a state dict."""
    network = seeded(DepthwiseNet)
    fit(network, data, epochs=EPOCHS, batch=BATCH, rate=RATE, decay=DECAY)
    with torch.no_grad():
        make_uneven(network)
    save(network, path)


def make_uneven(network: DepthwiseNet) -> None:
    """Rescale the hidden channels of every block at random, in place; outputs stay the same.

    ReLU(k·x) = k·ReLU(x), so that a factor of a BatchNorm's γ and β is made up for by the weights
    that read the channel.
    """
    generator = torch.Generator().manual_seed(0)

    def rescale(writing: Normed, reading: Normed, shape: tuple[int, ...]) -> None:
        channels = writing.norm.num_features
        factor = torch.exp(SPREAD * torch.randn(channels, generator=generator))
        writing.norm.weight.mul_(factor)
        writing.norm.bias.mul_(factor)
        reading.conv.weight.div_(factor.reshape(shape))

    for block in network.blocks:
        assert isinstance(block, Inverted)
        if block.expand is not None:
            rescale(block.expand, block.depthwise, (-1, 1, 1, 1))
        rescale(block.depthwise, block.project, (1, -1, 1, 1))
