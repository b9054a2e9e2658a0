"""Whether artifacts take what their models took: run at other sizes than those of the data.

    python benchmarks/open_sizes.py [--quantize int4]

Each network is compressed with data of one shape; artifact and network then run at four other sets
of sizes, at batches and lengths of one among them. A row passes where shapes are equal and the
relative error is below that of the bound for the precision.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from transformers import BertConfig, BertModel

import compressor

Feeds = dict[str, np.ndarray]
BOUNDS = {"none": 1e-4, "int8-weights": 0.05, "int4": 0.5}


class Bert(nn.Module):
    """Encoder of tokens under a mask."""

    def __init__(self) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=64, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4,
        )  # fmt: skip
        config._attn_implementation = "eager"
        self.net = BertModel(config)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Hidden states of the last layer."""
        hidden: torch.Tensor = self.net(input_ids, attention_mask).last_hidden_state
        return hidden


class Decoder(nn.Module):
    """One layer of attention over a cache, with the mask over cache and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.qkv = nn.Embedding(64, 64), nn.Linear(64, 192)
        self.head = nn.Linear(64, 64)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, past: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of the next token, and keys and values with those of the cache."""
        q, k, v = self.qkv(self.embed(ids)).split(64, -1)
        state = torch.cat([past, torch.cat([k, v], -1)], 1)
        keys, values = state[..., :64], state[..., 64:]
        scores = q @ keys.transpose(-1, -2) / 8 + (mask[:, None].float() - 1) * 1e4
        return self.head(scores.softmax(-1) @ values), state


class Denoiser(nn.Module):
    """Convolutions with an embedding of the time step, one for a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out, self.time = (
            nn.Conv2d(4, 32, 3, padding=1), nn.Conv2d(32, 4, 3, padding=1), nn.Linear(1, 32),
        )  # fmt: skip

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """The noise in a sample."""
        time = self.time(timestep.float()[:, None] / 1000)[:, :, None, None]
        noise: torch.Tensor = self.out(torch.relu(self.into(sample) + time))
        return noise


class Pyramid(nn.Module):
    """Features of three levels, each enlarged and added to the next (FPN, Lin et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.across = nn.ModuleList(nn.Conv2d(width, 16, 1) for width in widths[1:])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[n, 3, h, w] → three maps of 16 channels."""
        levels = []
        for down in self.down:
            image = torch.relu(down(image))
            levels.append(image)
        maps = [one(level) for one, level in zip(self.across, levels, strict=True)]
        for lower in (1, 0):
            size = maps[lower].shape[-2:]
            maps[lower] = maps[lower] + nn.functional.interpolate(maps[lower + 1], size=size)
        return tuple(maps)


class Voice(nn.Module):
    """Phonemes to sound: each is held for a number of frames, which a vocoder makes longer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(64, 32), nn.Conv1d(32, 32, 5, padding=2)
        self.long, self.out = nn.Linear(32, 1), nn.ConvTranspose1d(32, 1, 8, 4, 2)

    def forward(self, phonemes: torch.Tensor) -> torch.Tensor:
        """[1, length] → [1, 1, samples]; how many depends on what the phonemes are."""
        hidden = torch.relu(self.mix(self.embed(phonemes).mT)).mT
        frames = 1 + (3 * self.long(hidden).sigmoid()).round().long().reshape(-1)
        held = torch.repeat_interleave(hidden[0], frames, dim=0)
        sound: torch.Tensor = self.out(held.T[None]).tanh()
        return sound


def bert(batch: int, length: int, _: int) -> Feeds:
    """Tokens and their mask."""
    ids = np.random.default_rng(length).integers(0, 64, (batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def decoder(batch: int, length: int, past: int) -> Feeds:
    """Tokens behind a cache."""
    rng = np.random.default_rng(length)
    return {
        "ids": rng.integers(0, 64, (batch, length)),
        "mask": np.ones((batch, length + past), np.int64),
        "past": rng.standard_normal((batch, past, 128)).astype(np.float32),
    }


def denoiser(batch: int, _: int, __: int) -> Feeds:
    """Noisy pictures and time steps."""
    rng = np.random.default_rng(batch)
    sample = rng.standard_normal((batch, 4, 16, 16)).astype(np.float32)
    return {"sample": sample, "timestep": rng.integers(0, 1000, batch)}


def pyramid(_: int, height: int, width: int) -> Feeds:
    """One picture, of more than eight pixels a side."""
    sides = 8 * (height + 1), 8 * (width + 1)
    return {"image": np.random.default_rng(height).standard_normal((2, 3, *sides), np.float32)}


def voice(_: int, length: int, __: int) -> Feeds:
    """A sentence."""
    return {"phonemes": np.random.default_rng(length).integers(0, 64, (1, length))}


CASES: tuple[tuple[str, Callable[[], nn.Module], Callable[..., Feeds], tuple[int, int]], ...] = (
    ("bert, padded to 16", Bert, bert, (16, 0)),
    ("decoder, prefill", Decoder, decoder, (16, 0)),
    ("decoder, decode", Decoder, decoder, (1, 15)),
    ("denoiser", Denoiser, denoiser, (0, 0)),
    ("pyramid", Pyramid, pyramid, (7, 7)),
    ("voice", Voice, voice, (12, 0)),
)
DECLARED = {"pyramid": ("image:float32[n,3,h,w]",)}
"""What `--input` says: sizes of pictures stay those of the data where nothing opens them."""
SIZES = ((1, 1, 7), (3, 9, 0), (2, 1, 30), (5, 24, 3))


def rows(precision: str) -> Iterator[tuple[str, tuple[int, int, int], float]]:
    """Each network at each other set of sizes: the relative error of its worst output."""
    for name, build, feeds, (length, past) in CASES:
        torch.manual_seed(0)
        network = build().eval()
        with tempfile.TemporaryDirectory() as folder:
            compressor.compress(
                network,
                calibration=feeds(32, length, past),
                output=Path(folder) / "out",
                recipe=_recipe(precision, DECLARED.get(name, ())),
            )
            session = onnxruntime.InferenceSession(Path(folder) / "out" / "model.onnx")
            for sizes in SIZES:
                yield name, sizes, _error(network, session, feeds(*sizes))


def _recipe(precision: str, inputs: tuple[str, ...]) -> compressor.Recipe:
    return compressor.Recipe.model_validate(
        {
            "quantize": {"mode": precision},
            "measure": {"seconds": 0.2},
            "model": {"inputs": inputs},
        }
    )


def _error(network: nn.Module, session: onnxruntime.InferenceSession, feeds: Feeds) -> float:
    with torch.no_grad():
        wanted = network(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    pairs = zip(session.run(None, feeds), (tensor.numpy() for tensor in wanted), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def main() -> None:
    """Print a row for each network and set of sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quantize", choices=BOUNDS, default="int8-weights")
    precision = parser.parse_args().quantize
    for name, sizes, error in rows(precision):
        said = "pass" if error <= BOUNDS[precision] else "FAIL"
        print(f"{said}  {name:20}  batch, length, cache {sizes}  error {error:.2g}", flush=True)


if __name__ == "__main__":
    main()
