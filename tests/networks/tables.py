"""Recommenders and forecasters: tables, crossed features, and series."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks.build import Input, Network

ITEMS = 500
WIDTH = 32


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class DLRM(nn.Module):
    """Naumov et al. 2019: a table for each category, and the product of each two of them."""

    def __init__(self, tables: int = 5) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ITEMS, WIDTH) for _ in range(tables))
        self.bottom = mlp(13, 64, WIDTH)
        self.top = mlp(WIDTH + tables * (tables + 1) // 2, 128, 64, 1)
        row, column = torch.tril_indices(tables + 1, tables + 1, -1)
        self.register_buffer("pairs", row * (tables + 1) + column)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        dense = self.bottom(numbers)
        found = [table(categories[:, k]) for k, table in enumerate(self.tables)]
        rows = torch.stack([dense, *found], 1)
        crossed = (rows @ rows.transpose(1, 2)).flatten(1)[:, self.pairs]
        return torch.sigmoid(self.top(torch.cat([dense, crossed], 1))).squeeze(1)


class TwoTowers(nn.Module):
    """A user, by the mean of what was seen, and an item: their cosine over a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(ITEMS, WIDTH, padding_idx=0)
        self.user = mlp(WIDTH + 8, 128, 96, 64)
        self.item = mlp(WIDTH + 4, 96, 64)

    def forward(
        self, seen: Tensor, profile: Tensor, item: Tensor, facts: Tensor
    ) -> dict[str, Tensor]:
        there = (seen > 0).float().unsqueeze(-1)
        mean = (self.items(seen) * there).sum(1) / there.sum(1).clamp(min=1.0)
        user = functional.normalize(self.user(torch.cat([mean, profile], 1)), dim=1)
        good = functional.normalize(self.item(torch.cat([self.items(item), facts], 1)), dim=1)
        return {"score": (user * good).sum(1) / 0.1, "user": user, "item": good}


class Gated(nn.Module):
    """TFT's gated residual network (Lim et al. 2019)."""

    def __init__(self, inputs: int, width: int, outputs: int | None = None) -> None:
        super().__init__()
        outputs = outputs or width
        self.first, self.second = nn.Linear(inputs, width), nn.Linear(width, width)
        self.gate = nn.Linear(width, 2 * outputs)
        self.skip = nn.Linear(inputs, outputs) if inputs != outputs else nn.Identity()
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(functional.elu(self.first(x)))
        return self.norm(self.skip(x) + functional.glu(self.gate(y), -1))


class TemporalFusion(nn.Module):
    """Variables are weighed, an LSTM reads them, attention looks back, quantiles follow."""

    def __init__(self, variables: int = 6, width: int = 48, ahead: int = 4) -> None:
        super().__init__()
        self.embed = nn.ModuleList(nn.Linear(1, width) for _ in range(variables))
        self.each = nn.ModuleList(Gated(width, width) for _ in range(variables))
        self.weigh = Gated(variables * width, width, variables)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.before = nn.Linear(width, 2 * width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.after, self.norm = Gated(width, width), nn.LayerNorm(width)
        self.quantiles, self.ahead = nn.Linear(width, 3), ahead

    def forward(self, series: Tensor) -> Tensor:
        parts = [embed(series[:, :, k : k + 1]) for k, embed in enumerate(self.embed)]
        weight = self.weigh(torch.cat(parts, -1)).softmax(-1).unsqueeze(-2)
        chosen = torch.stack([each(part) for each, part in zip(self.each, parts, strict=True)], -1)
        x = (chosen * weight).sum(-1)
        states, _ = self.lstm(x)
        x = self.norm(x + functional.glu(self.before(states), -1))
        mask = nn.Transformer.generate_square_subsequent_mask(series.shape[1])
        y, _ = self.attention(x, x, x, attn_mask=mask, need_weights=False)
        return self.quantiles(self.after(x + y)[:, -self.ahead :])


class Forecaster(nn.Module):
    """Two LSTMs: what was, then what comes, which is fed back step by step."""

    def __init__(self, width: int = 64, ahead: int = 4) -> None:
        super().__init__()
        self.encoder = nn.LSTM(4, width, 2, batch_first=True)
        self.start, self.cell, self.out = (
            nn.Linear(4, 32),
            nn.LSTMCell(32, width),
            mlp(width, 64, 4),
        )
        self.ahead = ahead

    def forward(self, series: Tensor) -> Tensor:
        _, (hidden, memory) = self.encoder(series)
        state, value, found = (hidden[-1], memory[-1]), series[:, -1], []
        for _ in range(self.ahead):
            state = self.cell(functional.relu(self.start(value)), state)
            value = value + self.out(state[0])
            found.append(value)
        return torch.stack(found, 1)


class NBeats(nn.Module):
    """Oreshkin et al. 2019: each block takes off what it explains, and adds what it foresees."""

    def __init__(self, past: int = 32, ahead: int = 8, width: int = 128) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(mlp(past, width, width, 12) for _ in range(3))
        grid = torch.linspace(0, 1, past + ahead)[None] ** torch.arange(6)[:, None]
        self.register_buffer("back", grid[:, :past].contiguous())
        self.register_buffer("fore", grid[:, past:].contiguous())

    def forward(self, series: Tensor) -> Tensor:
        rest, found = series, torch.zeros_like(series[:, : self.fore.shape[1]])
        for block in self.blocks:
            back, fore = block(functional.relu(rest)).chunk(2, 1)
            rest, found = rest - back @ self.back, found + fore @ self.fore
        return found


TABLES = (
    Network("dlrm", DLRM, {"numbers": Input((13,)), "categories": Input((5,), ITEMS)}),
    Network(
        "two_towers",
        TwoTowers,
        {
            "seen": Input((10,), ITEMS),
            "profile": Input((8,)),
            "item": Input((), ITEMS),
            "facts": Input((4,)),
        },
    ),
    Network("temporal_fusion", TemporalFusion, {"series": Input((16, 6))}),
    Network("lstm_forecaster", Forecaster, {"series": Input((24, 4))}),
    Network("n_beats", NBeats, {"series": Input((32,))}),
)
