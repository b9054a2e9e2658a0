"""Makers of images beside `generators`: styles, codes, and noise that is taken away."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Input, Network, image
from networks.classifiers import ConvNorm
from networks.generators import Up

STYLE = 64


class Modulated(nn.Module):
    """StyleGAN 2's convolution (Karras et al. 2019): a weight for each image, by its style.

    As it is trained, the images of a batch are groups of one convolution. Here inputs are scaled
    and outputs rescaled, which computes the same.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.style, self.bias = nn.Linear(STYLE, inputs), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.style(style)
        norm = torch.rsqrt(scale**2 @ (self.weight**2).sum((2, 3)).T + 1e-8)
        y = functional.conv2d(x * scale[:, :, None, None], self.weight, padding=1)
        return functional.leaky_relu(y * norm[:, :, None, None] + self.bias[:, None, None], 0.2)


class StyleGAN(nn.Module):
    """A mapping of the noise, a constant that grows, and the image as a sum over sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(
            nn.Linear(STYLE, STYLE), nn.LeakyReLU(0.2), nn.Linear(STYLE, STYLE), nn.LeakyReLU(0.2)
        )
        self.constant = nn.Parameter(torch.zeros(1, 64, 4, 4))
        self.layers = nn.ModuleList([Modulated(64, 64), Modulated(64, 48), Modulated(48, 32)])
        self.pixels = nn.ModuleList(nn.Conv2d(width, 3, 1) for width in (64, 48, 32))

    def forward(self, noise: Tensor) -> Tensor:
        style = self.mapping(noise * torch.rsqrt((noise**2).mean(1, keepdim=True) + 1e-8))
        x, found = self.constant.expand(noise.shape[0], -1, -1, -1), None
        for layer, pixels in zip(self.layers, self.pixels, strict=True):
            if found is not None:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
                found = functional.interpolate(found, scale_factor=2.0, mode="bilinear")
            x = layer(x, style)
            found = pixels(x) if found is None else found + pixels(x)
        return found


class VQVAE(nn.Module):
    """Each pixel's code is the nearest of a book (van den Oord et al. 2017)."""

    def __init__(self, width: int = 32, codes: int = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            ConvNorm(3, 48, 3, 2), ConvNorm(48, 64, 3, 2), nn.Conv2d(64, width, 1)
        )
        self.book = nn.Embedding(codes, width)
        self.decoder = nn.Sequential(
            nn.Conv2d(width, 64, 3, 1, 1), nn.ReLU(), Up(64, 48), nn.ConvTranspose2d(48, 3, 4, 2, 1)
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        code = self.encoder(pixels).permute(0, 2, 3, 1)
        book = self.book.weight
        apart = (code**2).sum(-1, keepdim=True) - 2 * code @ book.T + (book**2).sum(1)
        index = apart.argmin(-1)
        chosen = self.book(index).permute(0, 3, 1, 2)
        return {"image": torch.sigmoid(self.decoder(chosen)), "codes": index}


def angles(time: Tensor, width: int) -> Tensor:
    """Sines and cosines of a time [B], [B, width]."""
    rates = torch.exp(torch.arange(width // 2) * (-math.log(1e4) / (width // 2)))
    turned = time[:, None].float() * rates[None]
    return torch.cat([turned.sin(), turned.cos()], 1)


class AdaptiveBlock(nn.Module):
    """DiT's block (Peebles and Xie 2022): norms without weights, shifted and scaled by the time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU("tanh"), nn.Linear(2 * width, width)
        )
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        parts = self.modulation(condition).unsqueeze(1).chunk(6, -1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        y = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(y).chunk(3, 2)
        )
        y = functional.scaled_dot_product_attention(q, k, v)
        x = x + gate1 * self.out(y.transpose(1, 2).flatten(2))
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class DiT(nn.Module):
    """Noise in patches, by a transformer that is told time and label."""

    def __init__(self, width: int = 96, patch: int = 4, side: int = 16) -> None:
        super().__init__()
        self.width, self.patch, self.across = width, patch, side // patch
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.position = nn.Parameter(torch.zeros(1, self.across**2, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.label = nn.Embedding(11, width)
        self.blocks = nn.ModuleList([AdaptiveBlock(width, 4), AdaptiveBlock(width, 4)])
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, patch * patch * 3)

    def forward(self, noisy: Tensor, time: Tensor, label: Tensor) -> Tensor:
        x = self.embed(noisy).flatten(2).transpose(1, 2) + self.position
        condition = self.time(angles(time, self.width)) + self.label(label)
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.modulation(functional.silu(condition)).unsqueeze(1).chunk(2, -1)
        x = self.out(self.norm(x) * (1 + scale) + shift)
        x = x.reshape(-1, self.across, self.across, self.patch, self.patch, 3)
        side = self.across * self.patch
        return torch.einsum("nhwpqc->nchpwq", x).reshape(-1, 3, side, side)


class Consistency(nn.Module):
    """One step from noise to image (Song et al. 2023): skipped and scaled by the noise's size."""

    def __init__(self, width: int = 48, data: float = 0.5) -> None:
        super().__init__()
        self.width, self.data = width, data
        self.start = nn.Conv2d(3, width, 3, 1, 1)
        self.shift = nn.Linear(width, 2 * width)
        self.down = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, 96, 3, 2, 1))
        self.norm = nn.GroupNorm(8, 96, affine=False)
        self.scale = nn.Linear(width, 2 * 96)
        self.up = nn.Sequential(nn.SiLU(), nn.Conv2d(96, 4 * width, 3, 1, 1), nn.PixelShuffle(2))
        self.out = nn.Conv2d(2 * width, 3, 3, 1, 1)

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        size = sigma.abs()[:, None, None, None] + 0.01
        total = (size**2 + self.data**2).sqrt()
        known = functional.silu(angles(size.flatten().log() * 250, self.width))
        first = self.start(noisy / total)
        scale, shift = self.scale(known)[:, :, None, None].chunk(2, 1)
        x = self.up(self.norm(self.down(first)) * (1 + scale) + shift)
        shifted, gate = self.shift(known)[:, :, None, None].chunk(2, 1)
        found = self.out(torch.cat([x * torch.sigmoid(gate) + shifted, first], 1))
        skip = self.data**2 / (size**2 + self.data**2)
        return skip * noisy + size * self.data / total * found


MAKERS = (
    Network("stylegan", StyleGAN, {"noise": Input((STYLE,))}),
    Network("vqvae", VQVAE, {"pixels": image(3, 32)}),
    Network("dit", DiT, {"noisy": image(3, 16), "time": Input((), 1000), "label": Input((), 11)}),
    Network("consistency", Consistency, {"noisy": image(3, 16), "sigma": Input(())}),
)
