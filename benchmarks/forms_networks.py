"""Generative networks whose time lies in operators that have faster forms; weights are random."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LATENT, WIDTH, BANDS, FRAMES = 100, 64, 80, 32
PIXELS, TOKENS, CACHED, MODEL, HEADS, LAYERS = 32, 128, 64, 512, 8, 6


def enlarged(inputs: int, outputs: int, *, resize: bool) -> list[nn.Module]:
    """Twice the size, by ConvTranspose 4 x 4 or by Resize and Conv 3 x 3."""
    if resize:
        layers = [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)]
    else:
        layers = [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    return [*layers, nn.BatchNorm2d(outputs), nn.ReLU()]


def generator(*, resize: bool) -> nn.Module:
    """From numbers to 64 x 64 images."""
    wide = [8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH]
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, wide[0], 4, 1, 0, bias=False)]
    layers += [nn.BatchNorm2d(wide[0]), nn.ReLU()]
    for inputs, outputs in pairwise(wide):
        layers += enlarged(inputs, outputs, resize=resize)
    layers += enlarged(WIDTH, 3, resize=resize)[:-2]
    return nn.Sequential(nn.Unflatten(1, (LATENT, 1, 1)), *layers, nn.Tanh())


def vocoder() -> nn.Module:
    """From a spectrogram to 256 samples of sound a frame."""
    layers: list[nn.Module] = [nn.Conv1d(BANDS, 256, 7, padding=3), nn.LeakyReLU(0.2)]
    channels = 256
    for stride in (8, 8, 2, 2):
        layers += [
            nn.ConvTranspose1d(channels, channels // 2, 2 * stride, stride, stride // 2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(channels // 2, channels // 2, 3, padding=1),
            nn.LeakyReLU(0.2),
        ]
        channels //= 2
    return nn.Sequential(*layers, nn.Conv1d(channels, 1, 7, padding=3), nn.Tanh())


class Residual(nn.Module):
    """x + f(x, t) of a diffusion model (Ho et al. 2020, appendix B)."""

    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(32, inputs), nn.Conv2d(inputs, outputs, 3, 1, 1)
        self.time = nn.Linear(time, outputs)
        self.norm2, self.conv2 = nn.GroupNorm(32, outputs), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[batch, outputs, height, width]."""
        y = self.conv1(functional.silu(self.norm1(x)))
        y = y + self.time(functional.silu(time))[:, :, None, None]
        made: Tensor = self.skip(x) + self.conv2(functional.silu(self.norm2(y)))
        return made


class PixelAttention(nn.Module):
    """x + self-attention over the pixels."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(32, channels)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape [batch, channels, height, width]."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        mixed = self.out(mixed).transpose(1, 2).reshape(x.shape)
        added: Tensor = x + mixed
        return added


class UNet(nn.Module):
    """The noise in images [batch, 3, 32, 32] at time steps [batch]; attention at 16 and 8 px."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.width, time, wide = width, 4 * width, [width, 2 * width, 4 * width]
        self.embed = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(3, width, 3, 1, 1)
        self.down = nn.ModuleList(Residual(w, w, time) for w in wide)
        self.attend_down = nn.ModuleList([nn.Identity(), *map(PixelAttention, wide[1:])])
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(wide))
        self.middle = Residual(wide[-1], wide[-1], time)
        self.up = nn.ModuleList(Residual(2 * w, w, time) for w in wide)
        self.attend_up = nn.ModuleList([nn.Identity(), *map(PixelAttention, wide[1:])])
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 3, 1, 1) for a, b in pairwise(wide))
        self.norm, self.out = nn.GroupNorm(32, width), nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """[batch, 3, 32, 32]."""
        half = self.width // 2
        angles = t[:, None].float() * torch.exp(torch.arange(half) * (-math.log(1e4) / half))
        time = self.embed(torch.cat([angles.sin(), angles.cos()], 1))
        x, kept = self.stem(x), []
        for level, (block, attend) in enumerate(zip(self.down, self.attend_down, strict=True)):
            x = attend(block(x, time))
            kept.append(x)
            if level < len(self.shrink):
                x = self.shrink[level](x)
        x = self.middle(x, time)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([x, kept[level]], 1), time)
            x = self.attend_up[level](x)
            if level:
                x = self.grow[level - 1](functional.interpolate(x, scale_factor=2.0))
        made: Tensor = self.out(functional.silu(self.norm(x)))
        return made


class RMSNorm(nn.Module):
    """x / √mean(x²) · γ (Zhang and Sennrich 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6))


class Block(nn.Module):
    """A layer of a T5 decoder: self-attention on a cache, cross-attention, products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(3))
        self.own = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(4))
        self.cross = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.wide = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """[batch, heads, tokens, width of a head]."""
        batch, tokens, width = x.shape
        return x.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor], read: tuple[Tensor, Tensor], bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token more."""
        y = self.norms[0](x)
        q, k, v = (self.split(layer(y)) for layer in self.own[:3])
        k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        attend = functional.scaled_dot_product_attention
        x = x + self.own[3](attend(q, k, v, bias, scale=1.0).transpose(1, 2).flatten(2))
        q = self.split(self.cross[0](self.norms[1](x)))
        x = x + self.cross[1](attend(q, *read, scale=1.0).transpose(1, 2).flatten(2))
        x = x + self.narrow(functional.relu(self.wide(self.norms[2](x))))
        return x, k, v


class Decoder(nn.Module):
    """One step of a decoder like T5's: a token, its cache, and what was read of the source."""

    def __init__(self, width: int = MODEL) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, HEADS) for _ in range(LAYERS))
        self.norm, self.head = RMSNorm(width), nn.Linear(width, 8192, bias=False)

    def forward(self, x: Tensor, bias: Tensor, past: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the cache; `past` and `read` are [batch, layers, 2, heads, tokens, width]."""
        kept = []
        for layer, block in enumerate(self.blocks):
            own = past[:, layer, 0], past[:, layer, 1]
            x, k, v = block(x, own, (read[:, layer, 0], read[:, layer, 1]), bias)
            kept.append(torch.stack([k, v], 1))
        return self.head(self.norm(x)), torch.stack(kept, 1)
