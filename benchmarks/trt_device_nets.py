"""The eight networks and the pipeline that `trt_device.py` makes engines of, with random weights.

What an engine computes is held against ONNX Runtime on the same graph, and how fast it is depends
on no weight's value: nothing has to be trained. Each is large enough at its batch to fill a part of
a GPU, and small enough to be prepared on one core in a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx_ir as ir

from compressor.graph.tensors import Array, Arrays

ROOT = Path(__file__).resolve().parents[1]
BATCHES = 1
"""Batches that ranges are calibrated on: what they are matters to nothing that is looked at."""

Draw = Callable[[np.random.Generator], dict[str, Array]]


@dataclass(frozen=True)
class Net:
    """A network, or the one graph of a loop.

    Attributes:
        name: For rows, files and the command line.
        what: What one inference is, for the table.
        draw: One batch.
        make: The graph, at the sizes of a batch; torch is imported only then. For a loop its number
            of samples stays open.
        loop: `file.py:function` that calls the graph; None for a network.
        graph: What the loop calls it.
        count: Units that the loop makes at a time.
        profiles: As `--profile` has them: what the engine of a loop is tuned for.
    """

    name: str
    what: str
    draw: Draw
    make: Callable[["Net"], ir.Model]
    loop: str | None = None
    graph: str = "model"
    count: int = 1
    profiles: tuple[str, ...] = ()

    def batch(self, seed: int = 0) -> dict[str, Array]:
        """One batch, the same for the same seed."""
        return self.draw(np.random.default_rng(seed))

    def samples(self) -> dict[str, Array]:
        """What ranges are calibrated on: whole batches, one after the other."""
        drawn = [self.batch(seed) for seed in range(BATCHES)]
        return {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]}


def normal(name: str, *shape: int) -> Draw:
    """An input of normal floats."""
    return lambda rng: {name: rng.standard_normal(shape, np.float32)}


def tokens(name: str, batch: int, length: int, below: int) -> Draw:
    """An input of token numbers."""
    return lambda rng: {name: rng.integers(0, below, (batch, length))}


def captured(factory: Callable[[], object]) -> Callable[[Net], ir.Model]:
    """What makes the graph of a torch module with seeded weights, of the shapes of a batch."""

    def make(net: Net) -> ir.Model:
        import torch  # noqa: PLC0415 - heavy: only where graphs are made

        from compressor.capture import capture  # noqa: PLC0415 - likewise
        from compressor.checkpoint import source_of  # noqa: PLC0415 - likewise
        from compressor.graph.tensors import TensorSpec  # noqa: PLC0415 - likewise

        torch.manual_seed(0)
        module = cast(torch.nn.Module, factory()).eval()
        feeds: Arrays = net.batch()
        specs = [
            TensorSpec(name, array.dtype, ("n" if net.loop else len(array), *array.shape[1:]))
            for name, array in feeds.items()
        ]
        return capture(source_of(module), inputs=specs, examples=feeds, opset=20).model

    return make


def of_file(place: str) -> Callable[[], object]:
    """A factory in a file of this repository, which is imported when it is called."""

    def factory() -> object:
        from compressor.system.userfile import load_object  # noqa: PLC0415 - where graphs are made

        build = cast(Callable[[], object], load_object(f"{ROOT / place}", "network"))
        return build()

    return factory


NOISY = normal("x", 16, 1, 32, 32)
NETS = (
    Net(
        "resnet20", "64 images", normal("image", 64, 3, 32, 32),
        captured(of_file("benchmarks/resnet.py:resnet20")),
    ),
    Net(
        "wide", "64 images", normal("image", 64, 3, 32, 32),
        captured(of_file("benchmarks/wide_net.py:wide")),
    ),
    Net(
        "depthwise", "64 images", normal("image", 64, 3, 32, 32),
        captured(of_file("benchmarks/depthwise_net.py:depthwise")),
    ),
    Net(
        "encoder", "32 texts of 48 tokens", tokens("input_ids", 32, 48, 2048),
        captured(of_file("samples/encoder/model.py:build")),
    ),
    Net(
        "decoder", "8 prompts of 128 tokens", tokens("input_ids", 8, 128, 1024),
        captured(of_file("benchmarks/trt_device_modules.py:decoder")),
    ),
    Net(
        "dcgan", "64 images", normal("noise", 64, 64, 1, 1),
        captured(of_file("benchmarks/trt_device_modules.py:dcgan")),
    ),
    Net(
        "unet", "16 images", lambda rng: {**NOISY(rng), "t": rng.integers(0, 1000, 16)},
        captured(of_file("samples/diffusion/model.py:build")),
    ),
    Net(
        "lstm", "32 sequences of 32 steps", normal("x", 32, 32, 128),
        captured(of_file("benchmarks/trt_device_modules.py:recurrent")),
    ),
    Net(
        "diffusion", "8 images in 4 steps", lambda rng: {
            "x": rng.standard_normal((8, 1, 32, 32), np.float32), "t": rng.integers(0, 1000, 8),
        },
        captured(of_file("samples/diffusion/model.py:build")),
        loop=f"{ROOT / 'benchmarks/trt_device_loop.py'}:generate", graph="unet", count=8,
        profiles=("unet/x:1x1x32x32,8x1x32x32,8x1x32x32", "unet/t:1,8,8"),
    ),
)  # fmt: skip
"""In the order in which they are measured; the last is the pipeline."""


def net_of(name: str) -> Net:
    """A network by its name."""
    return next(net for net in NETS if net.name == name)
