"""Networks of `trt_device.py` that no other benchmark and no sample has."""

from itertools import pairwise

import torch
from torch import nn

VOCABULARY, WIDTH, LAYERS, HEADS, LONGEST = 1024, 256, 4, 4, 128


class Block(nn.Module):
    """Causal attention and a feed-forward network, each normed before (Radford et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Keeps the shape [batch, tokens, width]; `mask` [tokens, tokens] is added to scores."""
        parts = self.qkv(self.first(x)).chunk(3, 2)
        q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5 + mask
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        grown: torch.Tensor = x + self.down(nn.functional.gelu(self.up(self.second(x))))
        return grown


class Decoder(nn.Module):
    """A small GPT that reads a prompt."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(0.02 * torch.randn(LONGEST, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        mask = torch.full((LONGEST, LONGEST), -1e4).triu(1)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, tokens, vocabulary] of int64 [batch, tokens]."""
        x = self.tokens(input_ids) + self.positions
        for block in self.blocks:
            x = block(x, self.mask)
        logits: torch.Tensor = self.head(self.norm(x))
        return logits


def decoder() -> nn.Module:
    """The decoder, at its longest."""
    return Decoder()


def dcgan() -> nn.Module:
    """A generator of 32x32 images by transposed convolutions (Radford et al. 2015, section 3)."""
    widths = (64, 256, 128, 64)
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        stride, padding = (2, 1) if index else (1, 0)
        layers += [
            nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1), nn.Tanh())


class Recurrent(nn.Module):
    """An LSTM between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(128, 256)
        self.lstm = nn.LSTM(256, 256, batch_first=True)
        self.out = nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, steps, 64] of [batch, steps, 128]."""
        states, _ = self.lstm(torch.relu(self.into(x)))
        out: torch.Tensor = self.out(states)
        return out


def recurrent() -> nn.Module:
    """The network with random weights."""
    return Recurrent()
