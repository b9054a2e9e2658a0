"""The source's own latency, as PyTorch runs it: for orientation, and nothing rests on it.

It is of a time of its own and not in turn with anything else, and calls have what Python adds to
them. Speed-ups are over the float graph in the runtime.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from compressor.capture.eager import EagerRunner
from compressor.capture.source import ModelSource
from compressor.evaluation.latency import time_runner
from compressor.graph.tensors import Arrays, TensorSpec
from compressor.results.measurements import LatencyConfig, Timing
from exporters.base import PassingRunner

logger = logging.getLogger("compressor.checkpoint")

SECONDS = 0.5
"""That it takes at most, warm-up included, but for a single inference that takes longer."""


def eager_latency(
    source: ModelSource, specs: Sequence[TensorSpec], feeds: Arrays, config: LatencyConfig
) -> Timing | None:
    """Time a module as it is, without gradients.

    Args:
        source: The model.
        specs: Its inputs, as the captured graph names them.
        feeds: An array for each of them.
        config: Of which the threads are set.

    Returns:
        None for an ONNX file, and for a module that these inputs do not run: a graph's may have
        another type, or stand for what the module draws.
    """
    if source.model is not None:
        return None
    runner = _Named(EagerRunner(source), tuple(specs), config.threads == 1)
    try:
        with _threads(config.threads), runner:
            return time_runner(runner, feeds, threads=config.threads, seconds=SECONDS)
    except (
        Exception
    ) as error:  # a user's module may raise anything, and a figure is all that is lost
        logger.info("the source's own latency was not measured: %s", error)
        return None


class _Named(PassingRunner):
    """A source whose inputs are known from its capture."""

    def __init__(self, source: EagerRunner, specs: tuple[TensorSpec, ...], on_caller: bool) -> None:
        super().__init__(source)
        self._specs, self._on_caller = specs, on_caller

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As the graph has them."""
        return self._specs

    @property
    def on_caller(self) -> bool:
        """On one thread torch computes where it is called."""
        return self._on_caller


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads of torch, and as many as there were afterwards."""
    import torch  # noqa: PLC0415 - a job from ONNX never imports it

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
