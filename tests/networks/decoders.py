"""Decoders beside those of `language`, each with its own norm, gate, position or memory."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Network, tokens
from networks.language import HEADS, HIDDEN, IDS, LAYERS, LENGTH, VOCABULARY, WIDTH

SHAPE = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS // 2, "max_position_embeddings": LENGTH,
    "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip


def qwen() -> Any:
    """Queries and keys are normed, each head by itself."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=WIDTH // HEADS))


def gemma() -> Any:
    """Norms before and after, logits and scores bent by tanh, every other layer in a window."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        **SHAPE, head_dim=WIDTH // HEADS, query_pre_attn_scalar=WIDTH // HEADS, sliding_window=8,
        attn_implementation="eager",
    )  # fmt: skip
    return Gemma2ForCausalLM(config)


def phi() -> Any:
    """Attention and feed-forward beside each other; part of each head is rotated."""
    from transformers import PhiConfig, PhiForCausalLM

    return PhiForCausalLM(PhiConfig(**SHAPE, partial_rotary_factor=0.5))


class Recurrence(nn.Module):
    """RWKV's mixing of time (Peng et al. 2023): a mean that forgets, over tokens one by one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3, width))
        self.decay, self.first = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.key, self.value, self.gate, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        before = functional.pad(x, (0, 0, 1, -1))
        mixed = [x * part.sigmoid() + before * (1 - part.sigmoid()) for part in self.shift]
        key, value = self.key(mixed[0]), self.value(mixed[1])
        decay = torch.exp(-torch.exp(self.decay))
        total = weight = torch.zeros_like(key[:, 0])
        states = []
        for step in range(x.shape[1]):
            grown = torch.exp(key[:, step].clamp(max=8.0))
            now = torch.exp(self.first) * grown
            states.append((total + now * value[:, step]) / (weight + now))
            total, weight = decay * total + grown * value[:, step], decay * weight + grown
        return self.out(torch.sigmoid(self.gate(mixed[2])) * torch.stack(states, 1))


class ChannelMix(nn.Module):
    """RWKV's feed-forward: a squared ReLU, and a gate."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.key, self.value = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        before = functional.pad(x, (0, 0, 1, -1))
        mixed = before + (x - before) * self.shift.sigmoid()
        return torch.sigmoid(self.gate(mixed)) * self.value(functional.relu(self.key(mixed)) ** 2)


class Residual(nn.Module):
    """A norm and a layer, and a way around both."""

    def __init__(self, width: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm, self.layer = nn.LayerNorm(width), layer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(self.norm(x))


def rwkv() -> nn.Module:
    layers = [
        Residual(WIDTH, part)
        for _ in range(LAYERS)
        for part in (Recurrence(WIDTH), ChannelMix(WIDTH, HIDDEN))
    ]
    return Named(nn.Embedding(VOCABULARY, WIDTH), *layers, nn.LayerNorm(WIDTH),
                 nn.Linear(WIDTH, VOCABULARY))  # fmt: skip


class Named(nn.Sequential):
    """Takes its tokens by their usual name."""

    def forward(self, input_ids: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(input_ids)


class Experts(nn.Module):
    """A mixture (Shazeer et al. 2017): two of four feed-forwards for each token, all computed."""

    def __init__(self, width: int, hidden: int, count: int = 4, chosen: int = 2) -> None:
        super().__init__()
        self.router, self.chosen = nn.Linear(width, count, bias=False), chosen
        self.up = nn.Parameter(torch.zeros(count, width, hidden))
        self.down = nn.Parameter(torch.zeros(count, hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        chance = self.router(x).softmax(-1)
        best, which = chance.topk(self.chosen, -1)
        weight = torch.zeros_like(chance).scatter(-1, which, best / best.sum(-1, keepdim=True))
        hidden = functional.silu(torch.einsum("btw,ewh->beth", x, self.up))
        return torch.einsum("beth,ehw,bte->btw", hidden, self.down, weight)


class SelfAttention(nn.Module):
    """Causal, in torch's own form."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2)
        )
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


def experts() -> nn.Module:
    layers = [
        Residual(WIDTH, part)
        for _ in range(LAYERS)
        for part in (SelfAttention(WIDTH, HEADS), Experts(WIDTH, 96))
    ]
    return Named(nn.Embedding(VOCABULARY, WIDTH), *layers, nn.LayerNorm(WIDTH),
                 nn.Linear(WIDTH, VOCABULARY))  # fmt: skip


def mixtral() -> Any:
    """Experts as transformers computes them: each token visits its own."""
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2))


DECODERS = (
    Network("qwen", qwen, IDS),
    Network("gemma", gemma, IDS),
    Network("phi", phi, IDS),
    # Its recurrence is unrolled over the tokens that it is traced at.
    Network(
        "rwkv", rwkv, {"input_ids": tokens(8, VOCABULARY)}, fixed=("input_ids:int64[batch,8]",)
    ),
    Network("mixture_of_experts", experts, IDS),
    Network("mixtral", mixtral, IDS),
)
