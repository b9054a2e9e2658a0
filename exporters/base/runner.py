"""What runs a model: all that latency and quality know of a runtime."""

from collections.abc import Callable
from typing import Protocol, Self

from compressor.graph.tensors import Array, Arrays, TensorSpec


class Runner(Protocol):
    """A context manager from named arrays to named arrays.

    Latency and quality know nothing else of a runtime.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors to feed, in the graph's order."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The tensors that come out, in the graph's order."""

    @property
    def on_caller(self) -> bool:
        """Whether the thread that calls does all the work, so that its CPU time is what it takes.

        Not where other threads or a device work, or it sleeps.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once; `feeds` may hold more than the inputs, the rest is ignored."""

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Place the feeds where the runtime wants them; each call of the result is one inference.

        Nothing but the inference happens in the call, so that it can be timed.
        """
