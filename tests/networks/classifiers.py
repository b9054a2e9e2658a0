"""Convolutional classifiers, each with its own way of joining channels."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Network, image

LABELS = 10


class ConvNorm(nn.Sequential):
    """Convolution, BatchNorm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class Head(nn.Sequential):
    """Global mean and a linear layer."""

    def __init__(self, inputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, LABELS))


class Dense(nn.Module):
    """A layer of DenseNet (Huang et al. 2016): its input is kept beside its output."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.relu(self.norm1(x)))
        return torch.cat([x, self.conv2(functional.relu(self.norm2(y)))], 1)


def densenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 1, 1), Dense(32, 24), Dense(56, 24), Dense(80, 24),
        nn.BatchNorm2d(104), nn.ReLU(), nn.Conv2d(104, 52, 1), nn.AvgPool2d(2),
        Dense(52, 24), Dense(76, 24), nn.BatchNorm2d(100), nn.ReLU(), Head(100),
    )  # fmt: skip


class Mixed(nn.Module):
    """A module of Inception (Szegedy et al. 2015): four branches side by side."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.one = ConvNorm(inputs, width, 1)
        self.three = nn.Sequential(ConvNorm(inputs, width // 2, 1), ConvNorm(width // 2, width))
        self.five = nn.Sequential(
            ConvNorm(inputs, width // 2, 1), ConvNorm(width // 2, width), ConvNorm(width, width)
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvNorm(inputs, width // 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


def inception() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 32, 3, 2), Mixed(32, 32), nn.MaxPool2d(2), Mixed(112, 48), Head(168)
    )


class Shuffle(nn.Module):
    """A unit of ShuffleNet v2 (Ma et al. 2018): one half passes, then channels are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch = nn.Sequential(
            ConvNorm(half, half, 1),
            nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            ConvNorm(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        batch, channels, height, width = x.shape
        pairs = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return pairs.reshape(batch, channels, height, width)


def shufflenet_v2() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 96, 3, 2), Shuffle(96), Shuffle(96), ConvNorm(96, 192, 1), nn.MaxPool2d(2),
        Shuffle(192), Shuffle(192), Head(192),
    )  # fmt: skip


class GroupedShuffle(nn.Module):
    """A unit of ShuffleNet v1 (Zhang et al. 2017): grouped convolutions with a shuffle between."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, channels // 2, 1, groups=groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.depthwise = nn.Conv2d(channels // 2, channels // 2, 3, 1, 1, groups=channels // 2)
        self.expand = nn.Conv2d(channels // 2, channels, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.depthwise(self.shuffle(self.reduce(x))))
        return functional.relu(x + y)


def shufflenet_v1() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 288, 3, 2), GroupedShuffle(288, 3), GroupedShuffle(288, 3), Head(288)
    )


class Residual(nn.Module):
    """A bottleneck with a grouped convolution (ResNeXt, Xie et al. 2016)."""

    def __init__(self, inputs: int, width: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(inputs, width, 1),
            ConvNorm(width, width, 3, groups=groups),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.body(x))


def resnext() -> nn.Module:
    return nn.Sequential(
        ConvNorm(3, 64, 3, 2), Residual(64, 128, 256, 8), Residual(256, 128, 256, 8), Head(256)
    )


class Excite(nn.Module):
    """Squeeze and excite (Hu et al. 2017): a factor for each channel, from all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = (
            nn.Linear(channels, channels // 4),
            nn.Linear(channels // 4, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        factor = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))
        return x * factor[:, :, None, None]


class ExcitedResidual(nn.Module):
    """Two convolutions whose result is excited before the addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(channels, channels), ConvNorm(channels, channels)
        self.excite = Excite(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.excite(self.conv2(self.conv1(x))))


def squeeze_excite() -> nn.Module:
    return nn.Sequential(ConvNorm(3, 64, 3, 2), ExcitedResidual(64), ExcitedResidual(64), Head(64))


IMAGE = {"input": image(3, 32)}

CLASSIFIERS = (
    Network("densenet", densenet, IMAGE),
    Network("inception", inception, IMAGE),
    Network("shufflenet_v1", shufflenet_v1, IMAGE),
    Network("shufflenet_v2", shufflenet_v2, IMAGE),
    Network("resnext", resnext, IMAGE),
    Network("squeeze_excite", squeeze_excite, IMAGE),
)
