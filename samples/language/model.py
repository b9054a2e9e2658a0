"""The sample's network: a small GPT with rotary positions, whose cache comes in and goes out.

One graph serves both phases: a prompt with an empty cache, and one token behind a full one. Inputs
and outputs bear the names of Optimum: `input_ids`, `past_key_values.N.key|value` → `logits`,
`present.N.key|value`.
"""

import torch
from torch import nn

VOCABULARY, WIDTH, LAYERS, HEADS = 1024, 256, 4, 4


def rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Pairs of channels turned by an angle a position (Su et al. 2021, section 3.4.2)."""
    one, other = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)


class Attention(nn.Module):
    """Causal self-attention of new tokens to those in the cache and before them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        rates = 10_000.0 ** (-torch.arange(0, width // heads, 2) / (width // heads))
        self.register_buffer("rates", rates, persistent=False)

    def forward(
        self, x: torch.Tensor, past_key: torch.Tensor, past_value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What is added to x [batch, new, width]; keys and values [batch, heads, past + new, …]."""
        new, past = x.shape[1], past_key.shape[2]
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2)
        )
        positions = torch.arange(past + new, device=x.device)
        here = positions[past:]
        angles = here[:, None] * self.rates
        key = torch.cat([past_key, rotated(key, angles)], 2)
        value = torch.cat([past_value, value], 2)
        scores = rotated(query, angles) @ key.transpose(2, 3) * (query.shape[3] ** -0.5)
        scores = scores.masked_fill(positions > here[:, None], -1e9)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        return self.out(mixed), key, value


class Block(nn.Module):
    """Attention and a feed-forward network, each normed before and added (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(
        self, x: torch.Tensor, past_key: torch.Tensor, past_value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keeps the shape [batch, new, width]; also the grown cache."""
        added, key, value = self.attention(self.norm(x), past_key, past_value)
        x = x + added
        return x + self.feed_forward(x), key, value


class GPT(nn.Module):
    """Logits of the next token at each position."""

    def __init__(self, width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS) -> None:
        super().__init__()
        self.head_size = width // heads
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, input_ids: torch.Tensor, **past: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits [batch, new, 1024] of int64 [batch, new], and the cache with the new tokens.

        The cache is `past_key_values.N.key|value`: [batch, 4, past, 64], of past 0 at first.
        """
        x, present = self.embedding(input_ids), {}
        for number, block in enumerate(self.blocks):
            name = f"past_key_values.{number}"
            x, key, value = block(x, past[f"{name}.key"], past[f"{name}.value"])
            present |= {f"present.{number}.key": key, f"present.{number}.value": value}
        return {"logits": self.head(self.norm(x)), **present}


def build(width: int = WIDTH, layers: int = LAYERS, heads: int = HEADS) -> nn.Module:
    """The network with fresh weights; `compress` calls this."""
    return GPT(width, layers, heads)
