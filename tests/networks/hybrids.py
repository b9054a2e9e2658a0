"""Convolutions and attention in one network, neither of them as usual."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Network, image
from networks.classifiers import LABELS, Head
from networks.mobile import HardExcite, normed

WINDOW = 4


def partitioned(x: Tensor, size: int) -> Tensor:
    """[B, C, H, W] → [B · windows, size², C], of neighbouring pixels."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels, height // size, size, width // size, size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, size * size, channels)


def joined(x: Tensor, size: int, height: int, width: int) -> Tensor:
    """The reverse of `partitioned`."""
    x = x.view(-1, height // size, width // size, size, size, x.shape[-1])
    return x.permute(0, 5, 1, 3, 2, 4).reshape(-1, x.shape[-1], height, width)


class RelativeAttention(nn.Module):
    """Attention among the tokens of a window, with a table of biases by relative position."""

    def __init__(self, channels: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv = nn.LayerNorm(channels), nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.table = nn.Parameter(torch.zeros((2 * size - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij"))
        apart = at.flatten(1)[:, :, None] - at.flatten(1)[:, None] + size - 1
        self.register_buffer("index", apart[0] * (2 * size - 1) + apart[1])
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        windows, tokens, channels = x.shape
        qkv = self.qkv(self.norm(x)).view(windows, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.table[self.index.flatten()].view(tokens, tokens, -1).permute(2, 0, 1)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
        x = x + self.out(y.transpose(1, 2).reshape(windows, tokens, channels))
        return x + self.mlp(self.norm2(x))


class MaxBlock(nn.Module):
    """MaxViT (Tu et al. 2022): MBConv, attention in blocks, attention in a grid."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * channels
        self.convolve = nn.Sequential(
            nn.BatchNorm2d(inputs), normed(inputs, hidden, 1), nn.GELU(),
            normed(hidden, hidden, 3, stride, hidden), nn.GELU(), HardExcite(hidden),
            nn.Conv2d(hidden, channels, 1),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(inputs, channels, 1))
        self.block = RelativeAttention(channels, 4, WINDOW)
        self.grid = RelativeAttention(channels, 4, WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shortcut(x) + self.convolve(x)
        height, width = x.shape[2:]
        x = joined(self.block(partitioned(x, WINDOW)), WINDOW, height, width)
        # The grid: those that are a step apart, so that rows of a window become its steps.
        far = partitioned(x, height // WINDOW).transpose(0, 1)
        batch, steps = x.shape[0], (height // WINDOW) * (width // WINDOW)
        far = far.reshape(steps, batch, -1, x.shape[1]).transpose(0, 1)
        far = self.grid(far.reshape(batch * steps, -1, x.shape[1]))
        far = far.view(batch, steps, -1, x.shape[1]).transpose(1, 2)
        far = far.reshape(-1, steps, x.shape[1])
        return joined(far, height // WINDOW, height, width)


def maxvit() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.GELU(), MaxBlock(32, 48, 1), MaxBlock(48, 64, 2), Head(64)
    )


class Reparameterized(nn.Module):
    """FastViT's token mixer (Vasu et al. 2023) as trained: parallel branches, subtracted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.large = normed(channels, channels, 3, 1, channels)
        self.small = normed(channels, channels, 1, 1, channels)
        self.passed = nn.BatchNorm2d(channels)
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.large(x) + self.small(x) + self.passed(x)
        return x + self.scale * (mixed - self.norm(x))


class ConvFeedForward(nn.Module):
    """A large depthwise convolution before two pointwise ones, scaled by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            normed(channels, channels, 7, 1, channels),
            nn.Conv2d(channels, 3 * channels, 1), nn.GELU(), nn.Conv2d(3 * channels, channels, 1),
        )  # fmt: skip
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.body(x)


class PixelAttention(nn.Module):
    """Self-attention by `nn.MultiheadAttention`, behind a position from a convolution."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.position = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position(x)
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        y, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return x + y.transpose(1, 2).reshape(x.shape)


def fastvit() -> nn.Module:
    return nn.Sequential(
        normed(3, 48, 3, 2), nn.GELU(), normed(48, 48, 3, 2, 48), nn.GELU(),
        Reparameterized(48), ConvFeedForward(48),
        normed(48, 96, 7, 2, 48), nn.Conv2d(96, 96, 1), nn.GELU(),
        PixelAttention(96, 4), ConvFeedForward(96),
        normed(96, 192, 3, 1, 96), HardExcite(192), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, LABELS),
    )  # fmt: skip


HYBRIDS = (
    Network("maxvit", maxvit, {"input": image(3, 32)}),
    Network("fastvit", fastvit, {"input": image(3, 32)}),
)
