"""Whether the default metric tells a ruined artifact from a good one, kind by kind.

    python benchmarks/ruined.py

A regressor, a wake word, a detector, a generator, a denoiser and a decoder with cache are trained
for seconds each and compressed to INT8: once on their own data, and once on data of a thirtieth of
its size, so that the ranges clip nearly everything. `--metric` is given to none. A row passes where
the good artifact is not called ruined and the ruined one is, by the run (float ships in its place)
and by `compare` of the two files.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import compressor
from compressor.results.report import Comparison, Report

Feeds = dict[str, np.ndarray]
Outputs = torch.Tensor | dict[str, torch.Tensor]
SMALLER = 30.0
"""Times that data of a ruined calibration is too small."""


class Regressor(nn.Module):
    """Two numbers of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, 64] → [n, 2]."""
        out: torch.Tensor = self.net(x)
        return out


class WakeWord(nn.Module):
    """One probability of a spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv1d(40, 96, 5, 2, 2), nn.ReLU(), nn.Conv1d(96, 96, 5, 2, 2), nn.ReLU(),
            nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(96, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """[n, 40, 64] → [n, 1]."""
        out: torch.Tensor = self.net(mel)
        return out


class Detector(nn.Module):
    """A box and a score for each of 64 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 5, 3, 1, 1),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """[n, 1, 32, 32] → boxes [n, 64, 4] in pixels and scores [n, 64]."""
        found = self.net(image).flatten(2).transpose(1, 2)
        return {"boxes": 16 + 16 * found[..., 1:], "scores": found[..., 0].sigmoid()}


class Generator(nn.Module):
    """Pictures from 16 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(16, 64 * 16)
        self.net = nn.Sequential(
            nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(64, 1, 3, 1, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """[n, 16] → [n, 1, 16, 16]."""
        out: torch.Tensor = self.net(self.into(z).reshape(-1, 64, 4, 4))
        return out


class Denoiser(nn.Module):
    """A picture without its noise, which is what the network computes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 64, 3, 1, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(64, 1, 3, 1, 1),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[n, 1, 16, 16] → the same."""
        out: torch.Tensor = image - self.net(image)
        return out


class Decoder(nn.Module):
    """The next of 32 tokens after a cache, by one layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Embedding(32, 128), nn.Linear(128, 384)
        self.net = nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128))
        self.head = nn.Linear(128, 32)

    def forward(self, embeds: torch.Tensor, past_kv: torch.Tensor) -> dict[str, torch.Tensor]:
        """[n, 1, 128] after [n, past, 256] → logits [n, 1, 32] and the cache with one more."""
        q, k, v = self.qkv(embeds).split(128, -1)
        cache = torch.cat([past_kv, torch.cat([k, v], -1)], 1)
        keys, values = cache[..., :128], cache[..., 128:]
        hidden = (q @ keys.transpose(-1, -2) / 128**0.5).softmax(-1) @ values + embeds
        return {"logits": self.head(hidden + self.net(hidden)), "present_kv": cache}


def tables(rng: np.random.Generator, n: int) -> tuple[Feeds, np.ndarray]:
    """Rows, and two functions of them far from zero."""
    x = rng.standard_normal((n, 64)).astype(np.float32)
    y = np.stack([50 + 3 * np.tanh(x[:, 0] + x[:, 1]), 20 + x[:, 2] * x[:, 3]], 1)
    return {"x": x}, y.astype(np.float32)


def sounds(rng: np.random.Generator, n: int) -> tuple[Feeds, np.ndarray]:
    """Noise, and in one of ten a tone that rises."""
    mel = rng.standard_normal((n, 40, 64)).astype(np.float32)
    said = rng.random(n) < 0.1
    for sample in np.flatnonzero(said):
        start = rng.integers(0, 24)
        for step in range(40):
            mel[sample, step, start + step] += 3
    return {"mel": mel}, said.astype(np.float32)[:, None]


def pictures(rng: np.random.Generator, n: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on a dark ground, and its corners [n, 4]."""
    image = 0.1 * rng.standard_normal((n, 1, side, side)).astype(np.float32)
    size = rng.integers(side // 4, side // 2, n)
    x, y = (rng.integers(0, side - size + 1) for _ in range(2))
    for one in range(n):
        image[one, 0, y[one] : y[one] + size[one], x[one] : x[one] + size[one]] += 1
    return image, np.stack([x, y, x + size, y + size], 1).astype(np.float32)


def scenes(rng: np.random.Generator, n: int) -> tuple[Feeds, np.ndarray]:
    """Pictures, and the box of each."""
    image, box = pictures(rng, n, 32)
    return {"image": image}, box


def latents(rng: np.random.Generator, n: int) -> tuple[Feeds, np.ndarray]:
    """Numbers, and pictures whose first four of them say where the blob is."""
    z = rng.standard_normal((n, 16)).astype(np.float32)
    grid = np.linspace(-2, 2, 16)
    y, x = (z[:, i, None, None] for i in range(2))
    blob = np.exp(-((grid[:, None] - y) ** 2) - (grid[None] - x) ** 2)
    return {"z": z}, blob[:, None].astype(np.float32)


def noisy(rng: np.random.Generator, n: int) -> tuple[Feeds, np.ndarray]:
    """Pictures with noise and without."""
    image = pictures(rng, n, 16)[0]
    noise = 0.3 * rng.standard_normal(image.shape).astype(np.float32)
    return {"image": image + noise}, image


def sentences(rng: np.random.Generator, n: int) -> tuple[Feeds, np.ndarray]:
    """Embedded tokens behind a cache, the next token is one of them."""
    table = np.random.default_rng(7).standard_normal((32, 128)).astype(np.float32)
    tokens = rng.integers(0, 32, (n, 1))
    past = rng.standard_normal((n, 12, 256)).astype(np.float32)
    return {"embeds": table[tokens], "past_kv": past}, (tokens * 5 + 3) % 32


def closeness(outputs: Outputs, y: torch.Tensor) -> torch.Tensor:
    """Squared error."""
    assert isinstance(outputs, torch.Tensor)
    return nn.functional.mse_loss(outputs, y)


def detected(outputs: Outputs, y: torch.Tensor) -> torch.Tensor:
    """Of the cell in the middle of the box: its box and score; of the others the score."""
    assert isinstance(outputs, dict)
    boxes, scores = outputs.values()
    middle = (y[:, :2] + y[:, 2:]) / 8
    cell = middle[:, 1].long() * 8 + middle[:, 0].long()
    wanted = nn.functional.one_hot(cell, 64).float()
    box = boxes[torch.arange(len(y)), cell]
    return nn.functional.mse_loss(box / 32, y / 32) + nn.functional.binary_cross_entropy(
        scores, wanted, 1 + 20 * wanted
    )


def next_token(outputs: Outputs, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy."""
    assert isinstance(outputs, dict)
    return nn.functional.cross_entropy(outputs["logits"].flatten(0, 1), y.flatten().long())


@dataclass(frozen=True)
class Kind:
    """A network, its data and what it is trained for."""

    build: Callable[[], nn.Module]
    data: Callable[[np.random.Generator, int], tuple[Feeds, np.ndarray]]
    loss: Callable[[Outputs, torch.Tensor], torch.Tensor]


KINDS = {
    "regressor": Kind(Regressor, tables, closeness),
    "wake word": Kind(WakeWord, sounds, closeness),
    "detector": Kind(Detector, scenes, detected),
    "generator": Kind(Generator, latents, closeness),
    "denoiser": Kind(Denoiser, noisy, closeness),
    "decoder with cache": Kind(Decoder, sentences, next_token),
}


def trained(kind: Kind, steps: int = 300) -> nn.Module:
    """By Adam, on new data in every step."""
    torch.manual_seed(0)
    rng, net = np.random.default_rng(1), kind.build()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(steps):
        feeds, wanted = kind.data(rng, 64)
        loss = kind.loss(net(*map(torch.from_numpy, feeds.values())), torch.from_numpy(wanted))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net.eval()


@dataclass(frozen=True)
class Told:
    """What was said of an artifact.

    Attributes:
        figure: The metric that decides, with its value.
        by_run: Whether the run that made it called it ruined.
        by_compare: Whether `compare` called it so.
    """

    figure: str
    by_run: bool
    by_compare: bool


def told(net: nn.Module, calibration: Feeds, evaluation: Feeds, plain: Path, folder: Path) -> Told:
    """Compress as a user does, then compare INT8 with `plain`, even where float shipped."""
    by_run = _ruined(_compressed(net, calibration, evaluation, folder))
    if by_run:
        _compressed(net, calibration, evaluation, folder, kept=True)
    found = compressor.compare(
        str(plain), str(folder / "model.onnx"), evaluation=evaluation, recipe=_recipe()
    )
    deciding = found.quality[0]
    return Told(f"{deciding.metric} {deciding.result:.3f}", by_run, _ruined(found))


def _ruined(report: Report | Comparison) -> bool:
    return any("outputs are ruined" in said for said in report.notices)


def _recipe(**quantize: object) -> compressor.Recipe:
    """Speed is of no interest here: INT8 ships where it is not faster, too."""
    sections = {"quantize": {**quantize, "keep_slower": True}, "measure": {"seconds": 0.1}}
    return compressor.Recipe.model_validate(sections)


def _compressed(
    net: nn.Module,
    calibration: Feeds,
    evaluation: Feeds,
    folder: Path,
    *,
    mode: str = "int8-static",
    kept: bool = False,
) -> Report:
    return compressor.compress(
        net,
        calibration=calibration,
        evaluation=evaluation,
        recipe=_recipe(mode=mode, keep_ruined=kept),
        output=folder,
        force=True,
    )


def rows(kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Told, Told]]:
    """Each kind: the good artifact and the ruined one."""
    for name, kind in kinds.items():
        net, rng = trained(kind), np.random.default_rng(2)
        calibration, evaluation = kind.data(rng, 128)[0], kind.data(rng, 256)[0]
        small = {key: (array / SMALLER).astype(array.dtype) for key, array in calibration.items()}
        with tempfile.TemporaryDirectory(prefix="ruined-") as made:
            folder = Path(made)
            _compressed(net, calibration, evaluation, folder / "float", mode="none")
            plain = folder / "float" / "model.onnx"
            yield (
                name,
                told(net, calibration, evaluation, plain, folder / "good"),
                told(net, small, evaluation, plain, folder / "ruined"),
            )


def main() -> int:
    """Print a row for each kind."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    asked = parser.parse_args()
    missed = 0
    for name, good, ruined in rows({kind: KINDS[kind] for kind in asked.kinds}):
        holds = (good.by_run, good.by_compare, ruined.by_run, ruined.by_compare) == (
            False, False, True, True,
        )  # fmt: skip
        missed += not holds
        print(f"{'pass' if holds else 'FAIL'}  {name:20} good {good}  ruined {ruined}", flush=True)
    return min(missed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
