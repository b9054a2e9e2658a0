"""The sample's network: a transformer that tells which package a docstring is from."""

import torch
from torch import nn

VOCABULARY, LENGTH, WIDTH, LAYERS, HEADS, CLASSES = 2048, 48, 192, 3, 4, 8
PAD = 0
"""The token that fills what a text leaves of its row."""


class Attention(nn.Module):
    """Self-attention to all tokens that are no filling (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What is added to x [batch, tokens, width]; `mask` [batch, 1, 1, tokens] is added."""
        query, key, value = (
            layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        added: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return added


class Block(nn.Module):
    """Attention and a feed-forward network, each normed before and added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Keeps the shape [batch, tokens, width]."""
        x = x + self.attention(self.norm(x), mask)
        grown: torch.Tensor = x + self.feed_forward(x)
        return grown


class Classifier(nn.Module):
    """Logits of eight families of modules."""

    def __init__(self, width: int = WIDTH, layers: int = LAYERS) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Parameter(0.02 * torch.randn(LENGTH, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits [batch, 8] of int64 [batch, 48], from the mean over what is no filling."""
        known = (input_ids != PAD).float()
        mask = (known[:, None, None, :] - 1) * 1e9
        x = self.dropout(self.embedding(input_ids) + self.positions)
        for block in self.blocks:
            x = block(x, mask)
        mean = (self.norm(x) * known[:, :, None]).sum(1) / known.sum(1, keepdim=True)
        logits: torch.Tensor = self.head(self.dropout(mean))
        return logits


def build(width: int = WIDTH, layers: int = LAYERS) -> nn.Module:
    """The network with fresh weights; `compress` calls this."""
    return Classifier(width, layers)
