"""The decoder of `decoding.py`: a GPT whose cache comes in and goes out, by Optimum's names."""

import math
import warnings
from pathlib import Path

import torch
from torch import nn

VOCABULARY, LAYERS, HEAD, LONGEST = 8192, 6, 64, 1024


class Block(nn.Module):
    """Attention and a feed-forward network, each normed before and added (Radford et al. 2019)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Keeps the shape [batch, new, width]; also the grown cache [batch, heads, tokens, 64]."""
        parts = self.qkv(self.first(x)).chunk(3, 2)
        q, k, v = (part.unflatten(2, (-1, HEAD)).transpose(1, 2) for part in parts)
        key, value = torch.cat([key, k], 2), torch.cat([value, v], 2)
        scores = q @ key.transpose(2, 3) * HEAD**-0.5 + mask
        x = x + self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        hidden = nn.functional.gelu(self.up(self.second(x)))
        return x + self.down(hidden), key, value


class GPT(nn.Module):
    """Logits of the next token at each position."""

    def __init__(self, width: int, *, vocabulary: int = VOCABULARY, layers: int = LAYERS) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(LONGEST, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                deep = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (math.sqrt(2 * layers) if deep else 1))

    def forward(
        self, input_ids: torch.Tensor, past: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits [batch, new, vocabulary] of int64 [batch, new], and keys and values in turn."""
        length, new = past[0].shape[2], input_ids.shape[1]
        places = torch.arange(length + new)
        here = places[length:]
        mask = torch.where(places <= here[:, None], 0.0, -1e9)
        x, present = self.tokens(input_ids) + self.positions(here), []
        for block, *before in zip(self.blocks, past[::2], past[1::2], strict=True):
            x, *after = block(x, *before, mask)
            present += after
        return self.head(self.norm(x)), present


def names(layers: int, begin: str) -> list[str]:
    """Tensors of a cache as Optimum calls them."""
    return [f"{begin}.{layer}.{kind}" for layer in range(layers) for kind in ("key", "value")]


def exported(network: GPT, path: Path) -> None:
    """Write the network as ONNX, with batch, tokens and past open."""
    layers, width = len(network.blocks), network.norm.normalized_shape[0]
    past = [torch.randn(2, width // HEAD, 5, HEAD) for _ in range(2 * layers)]
    batch, new, before = (torch.export.Dim(name) for name in ("batch", "new", "past"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (torch.zeros(2, 3, dtype=torch.int64), past), path, dynamo=True,
            verbose=False, input_names=["input_ids", *names(layers, "past_key_values")],
            output_names=["logits", *names(layers, "present")],
            dynamic_shapes=({0: batch, 1: new}, [{0: batch, 2: before}] * len(past)),
        )  # fmt: skip
