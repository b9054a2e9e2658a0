"""Readers of text in pictures: a row of columns becomes a row of letters."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Input, Network
from networks.classifiers import ConvNorm

LETTERS = 37


class CRNN(nn.Module):
    """Shi et al. 2015: pools that keep the width, then an LSTM over the columns both ways."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            ConvNorm(1, 32), nn.MaxPool2d(2), ConvNorm(32, 64), nn.MaxPool2d(2),
            ConvNorm(64, 96), nn.MaxPool2d((2, 1)), ConvNorm(96, 96), nn.MaxPool2d((2, 1)),
            nn.Conv2d(96, 96, (2, 1)), nn.ReLU(),
        )  # fmt: skip
        self.lstm = nn.LSTM(96, 48, bidirectional=True)
        self.letters = nn.Linear(96, LETTERS)

    def forward(self, pixels: Tensor) -> Tensor:
        columns = self.image(pixels).squeeze(2).permute(2, 0, 1)  # time first, as it was trained
        states, _ = self.lstm(columns)
        return functional.log_softmax(self.letters(states), 2).permute(1, 0, 2)


class Mixer(nn.Module):
    """SVTR's block (Du et al. 2022): attention, within a window of columns where it is local."""

    def __init__(self, channels: int, heads: int, size: tuple[int, int], local: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )
        height, width = size
        y, x = torch.arange(height * width) // width, torch.arange(height * width) % width
        near = ((y[:, None] - y).abs() <= 3) & ((x[:, None] - x).abs() <= 5)
        mask = torch.zeros(height * width, height * width).masked_fill(~near, float("-inf"))
        self.register_buffer("mask", mask if local else None)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weight = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        if self.mask is not None:
            weight = weight + self.mask
        y = (weight.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, channels)
        x = x + self.out(y)
        return x + self.mlp(self.norm2(x))


class SVTR(nn.Module):
    """One model of vision: the height is merged away, the columns are letters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.GELU(),
            nn.Conv2d(24, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.GELU(),
        )  # fmt: skip
        self.position = nn.Parameter(torch.zeros(1, 8 * 16, 48))
        self.local = Mixer(48, 4, (8, 16), local=True)
        self.merge, self.norm = nn.Conv2d(48, 64, 3, (2, 1), 1), nn.LayerNorm(64)
        self.far = Mixer(64, 4, (4, 16), local=False)
        self.pool = nn.AdaptiveAvgPool2d((1, 16))
        self.last = nn.Sequential(nn.Conv2d(64, 96, 1, bias=False), nn.Hardswish())
        self.letters = nn.Linear(96, LETTERS)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embed(pixels).flatten(2).transpose(1, 2) + self.position
        x = self.local(x).transpose(1, 2).reshape(-1, 48, 8, 16)
        x = self.norm(self.merge(x).flatten(2).transpose(1, 2))
        x = self.far(x).transpose(1, 2).reshape(-1, 64, 4, 16)
        x = self.last(self.pool(x)).squeeze(2).transpose(1, 2)
        return self.letters(x).softmax(2)


READERS = (
    Network("crnn", CRNN, {"pixels": Input((1, 32, 64))}),
    Network("svtr", SVTR, {"pixels": Input((3, 32, 64))}),
)
