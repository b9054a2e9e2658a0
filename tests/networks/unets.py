"""U-Nets: what goes down is kept and joined on the way up."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Input, Network, image
from networks.classifiers import ConvNorm


class UNet(nn.Module):
    """Segmentation (Ronneberger et al. 2015), upwards by transposed convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down1 = nn.Sequential(ConvNorm(3, width), ConvNorm(width, width))
        self.down2 = nn.Sequential(ConvNorm(width, 2 * width), ConvNorm(2 * width, 2 * width))
        self.bottom = ConvNorm(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2)
        self.join2 = ConvNorm(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.join1 = ConvNorm(2 * width, width)
        self.mask = nn.Conv2d(width, 4, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        one = self.down1(pixels)
        two = self.down2(functional.max_pool2d(one, 2))
        x = self.up2(self.bottom(functional.max_pool2d(two, 2)))
        x = self.up1(self.join2(torch.cat([two, x], 1)))
        return self.mask(self.join1(torch.cat([one, x], 1)))


def unet() -> nn.Module:
    return UNet(24)


class Timed(nn.Module):
    """A residual block of a diffusion model (Ho et al. 2020), shifted by the time's embedding."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.time = nn.Linear(time, outputs)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        y = y + self.time(functional.silu(embedded))[:, :, None, None]
        return self.shortcut(x) + self.conv2(functional.silu(self.norm2(y)))


class SpatialAttention(nn.Module):
    """Self-attention over the pixels, with one convolution for queries, keys and values."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(8, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        shape = (batch, self.heads, channels // self.heads, height * width)
        q, k, v = (part.reshape(shape) for part in self.qkv(self.norm(x)).chunk(3, 1))
        weight = torch.softmax(q.transpose(2, 3) @ k / math.sqrt(shape[2]), -1)
        y = (v @ weight.transpose(2, 3)).reshape(batch, channels, height, width)
        return x + self.out(y)


class Diffusion(nn.Module):
    """Predicts the noise in an image at a time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        time = 2 * width
        self.embed = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        self.down1 = Timed(width, width, time)
        self.shrink = nn.Conv2d(width, width, 3, 2, 1)
        self.down2 = Timed(width, 2 * width, time)
        self.attention = SpatialAttention(2 * width, 4)
        self.middle = Timed(2 * width, 2 * width, time)
        self.up2 = Timed(4 * width, width, time)
        self.grow = nn.Conv2d(width, width, 3, 1, 1)
        self.up1 = Timed(2 * width, width, time)
        self.norm, self.out = nn.GroupNorm(8, width), nn.Conv2d(width, 3, 3, 1, 1)
        self.width = width

    def forward(self, noisy: Tensor, time: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(torch.arange(half) * (-math.log(1e4) / half))
        angles = time[:, None].float() * rates[None]
        embedded = self.embed(torch.cat([angles.sin(), angles.cos()], 1))
        one = self.down1(self.stem(noisy), embedded)
        two = self.down2(self.shrink(one), embedded)
        x = self.middle(self.attention(two), embedded)
        x = self.up2(torch.cat([x, two], 1), embedded)
        x = self.grow(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.up1(torch.cat([x, one], 1), embedded)
        return self.out(functional.silu(self.norm(x)))


def diffusion() -> nn.Module:
    return Diffusion(32)


UNETS = (
    Network("unet", unet, {"pixels": image(3, 32)}),
    Network("diffusion_unet", diffusion, {"noisy": image(3, 16), "time": Input((), 1000)}),
)
