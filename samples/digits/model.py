"""The sample's network: residual blocks and a depthwise-separable block, on 32x32 digits."""

import torch
from torch import nn


def conv_bn(
    inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias and its BatchNorm."""
    return [
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


class Residual(nn.Module):
    """relu(x + f(x)), f two 3x3 convolutions (He et al. 2015, section 3.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv_bn(width, width, 3), nn.ReLU(), *conv_bn(width, width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape [batch, channels, height, width]."""
        return torch.relu(x + self.body(x))


class Separable(nn.Sequential):
    """A depthwise 3x3 and a pointwise convolution (Howard et al. 2017, section 3.1)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__(
            *conv_bn(inputs, inputs, 3, stride=stride, groups=inputs),
            nn.ReLU(),
            *conv_bn(inputs, outputs, 1),
            nn.ReLU(),
        )


class DigitNet(nn.Module):
    """Logits of ten digits from images [batch, 1, 32, 32] in 0..1."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(1, width, 3), nn.ReLU())
        self.fine = Residual(width)
        self.down = Separable(width, 2 * width, stride=2)
        self.coarse = nn.Sequential(Residual(2 * width), Residual(2 * width))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 10]."""
        x = self.coarse(self.down(self.fine(self.stem(image))))
        logits: torch.Tensor = self.head(self.pool(x).flatten(1))
        return logits


def build(width: int = 32) -> nn.Module:
    """The network with fresh weights; `compress --model` calls this."""
    return DigitNet(width)
