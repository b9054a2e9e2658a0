"""Classifiers for phones: depthwise convolutions, and another block around them each time."""

import torch
from torch import Tensor, nn

from networks.build import Network, image
from networks.classifiers import LABELS, ConvNorm, Head


class Separable(nn.Sequential):
    """MobileNet v1 (Howard et al. 2017): depthwise, then pointwise, with no way around."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(ConvNorm(inputs, inputs, 3, stride, inputs), ConvNorm(inputs, outputs, 1))


def mobilenet_v1() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 32, 3, 2), Separable(32, 64), Separable(64, 128, 2), Separable(128, 128),
        Separable(128, 192, 2), Separable(192, 192), Head(192),
    )  # fmt: skip


class HardExcite(nn.Module):
    """Squeeze and excite in convolutions, with a sigmoid made of lines."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)
        self.relu, self.gate = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.excite(self.relu(self.squeeze(self.pool(x)))))


def normed(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution and BatchNorm, nothing behind them."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    )


class InvertedV3(nn.Module):
    """MobileNet v3 (Howard et al. 2019): hard swish, and excitement before the projection."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, kernel: int, stride: int, excited: bool
    ) -> None:
        super().__init__()
        swish = nn.Hardswish if excited else nn.ReLU
        self.body = nn.Sequential(
            normed(inputs, hidden, 1), swish(),
            normed(hidden, hidden, kernel, stride, hidden), swish(),
            HardExcite(hidden) if excited else nn.Identity(),
            normed(hidden, outputs, 1),
        )  # fmt: skip
        self.passes = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.passes else y


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        normed(3, 16, 3, 2), nn.Hardswish(),
        InvertedV3(16, 64, 24, 3, 2, excited=False), InvertedV3(24, 72, 24, 3, 1, excited=False),
        InvertedV3(24, 96, 40, 5, 2, excited=True), InvertedV3(40, 160, 40, 5, 1, excited=True),
        normed(40, 240, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(240, 256), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(256, LABELS),
    )  # fmt: skip


class Universal(nn.Module):
    """MobileNet v4's inverted bottleneck (Qin et al. 2024): depthwise layers before and within."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, start: int, middle: int, stride: int = 1
    ) -> None:
        super().__init__()
        first = stride if start and not middle else 1
        self.start = normed(inputs, inputs, start, first, inputs) if start else nn.Identity()
        self.expand = nn.Sequential(normed(inputs, hidden, 1), nn.ReLU())
        self.middle = (
            nn.Sequential(normed(hidden, hidden, middle, stride, hidden), nn.ReLU())
            if middle
            else nn.Identity()
        )
        self.project = normed(hidden, outputs, 1)
        self.scale = nn.Parameter(torch.ones(outputs, 1, 1))
        self.passes = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.middle(self.expand(self.start(x)))) * self.scale
        return x + y if self.passes else y


class MultiQuery(nn.Module):
    """MobileNet v4's attention: many queries, one key and value, of a shrunk image."""

    def __init__(self, channels: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.norm = nn.BatchNorm2d(channels)
        self.query = nn.Conv2d(channels, heads * size, 1, bias=False)
        self.shrink = normed(channels, channels, 3, 2, channels)
        self.key = nn.Conv2d(channels, size, 1, bias=False)
        self.value = nn.Conv2d(channels, size, 1, bias=False)
        self.out = nn.Conv2d(heads * size, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        y = self.norm(x)
        query = self.query(y).view(batch, self.heads, self.size, height * width).transpose(2, 3)
        small = self.shrink(y)
        key = self.key(small).flatten(2).unsqueeze(1)
        value = self.value(small).flatten(2).unsqueeze(1).transpose(2, 3)
        weight = torch.softmax(query @ key * self.size**-0.5, -1)
        joined = (weight @ value).transpose(2, 3).reshape(batch, -1, height, width)
        return x + self.out(joined)


def mobilenet_v4() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 32, 3, 2), ConvNorm(32, 32, 3, 2), normed(32, 48, 1), nn.ReLU(),
        Universal(48, 96, 64, 5, 5, 2), Universal(64, 192, 64, 0, 3), Universal(64, 192, 64, 3, 0),
        MultiQuery(64, 4, 16), Universal(64, 128, 64, 0, 0), ConvNorm(64, 240, 1), Head(240),
    )  # fmt: skip


IMAGE = {"input": image(3, 32)}

MOBILE = (
    Network("mobilenet_v1", mobilenet_v1, IMAGE),
    Network("mobilenet_v3", mobilenet_v3, IMAGE),
    Network("mobilenet_v4", mobilenet_v4, IMAGE),
)
