"""The sample's network: a small U-Net that predicts noise (Ho et al. 2020, appendix B).

GroupNorm and SiLU, self-attention at the coarser size, and the time step embedded by sines. The
image of 32x32 is taken apart into 2x2 patches first, so that the finest layers work at 16x16.
"""

import math

import torch
from torch import nn

WIDTH = 48
GROUPS = 8


def normed(width: int) -> list[nn.Module]:
    """GroupNorm and SiLU."""
    return [nn.GroupNorm(GROUPS, width), nn.SiLU()]


class Time(nn.Module):
    """Sines and cosines of the time step, then two linear layers (Vaswani et al. 2017, 3.5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(width) * (-math.log(10_000) / width))
        self.register_buffer("rates", rates, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(2 * width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width), nn.SiLU()
        )

    def forward(self, t: torch.Tensor) -> torch.Tensor:
        """[batch, 4 width] of int64 [batch]."""
        angles = t.float()[:, None] * self.rates
        embedded: torch.Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], 1))
        return embedded


class Residual(nn.Module):
    """x + f(x, t) with two 3x3 convolutions; the time is added between them."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*normed(inputs), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time = nn.Linear(time, outputs)
        self.second = nn.Sequential(*normed(outputs), nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """[batch, outputs, height, width]."""
        h = self.first(x) + self.time(time)[:, :, None, None]
        added: torch.Tensor = self.skip(x) + self.second(h)
        return added


class Attention(nn.Module):
    """x + self-attention over its pixels."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keeps the shape [batch, channels, height, width]."""
        batch, channels, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        parts = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        mixed = self.out(mixed.transpose(1, 2).flatten(2))
        return x + mixed.transpose(1, 2).reshape(batch, channels, height, width)


class UNet(nn.Module):
    """The noise in images [batch, 1, 32, 32] at time steps [batch]."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        time, wide = 4 * width, 2 * width
        self.time = Time(width)
        self.apart, self.together = nn.PixelUnshuffle(2), nn.PixelShuffle(2)
        self.stem = nn.Conv2d(4, width, 3, padding=1)
        self.fine = Residual(width, width, time)
        self.down = nn.Conv2d(width, wide, 3, stride=2, padding=1)
        self.coarse = Residual(wide, wide, time)
        self.attention = Attention(wide)
        self.middle = Residual(wide, wide, time)
        self.coarse_up = Residual(2 * wide, wide, time)
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(wide, width, 3, padding=1)
        )
        self.fine_up = Residual(2 * width, width, time)
        self.head = nn.Sequential(*normed(width), nn.Conv2d(width, 4, 3, padding=1))

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> dict[str, torch.Tensor]:
        """ε of x = √ᾱ x₀ + √(1 - ᾱ) ε, with the ᾱ of time step t (0 to 999)."""
        time = self.time(t)
        stem = self.stem(self.apart(x))
        fine = self.fine(stem, time)
        coarse = self.coarse(self.down(fine), time)
        middle = self.middle(self.attention(coarse), time)
        up = self.up(self.coarse_up(torch.cat([middle, coarse], 1), time))
        made = self.fine_up(torch.cat([up, fine], 1), time)
        return {"eps": self.together(self.head(made))}


def build(width: int = WIDTH) -> nn.Module:
    """The network with fresh weights; `compress` calls this."""
    return UNet(width)
