"""A runner around another: what it does not change is the other's."""

from collections.abc import Callable
from typing import Self

from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base.runner import Runner


class PassingRunner:
    """Passes everything through; whoever changes something overrides that alone.

    Attributes:
        runner: What runs; opened and closed with this.
    """

    def __init__(self, runner: Runner) -> None:
        """Around a runner."""
        self.runner = runner

    def __enter__(self) -> Self:
        self.runner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.runner.__exit__(*raised)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those of the runner."""
        return self.runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the runner."""
        return self.runner.outputs

    @property
    def on_caller(self) -> bool:
        """As the runner."""
        return self.runner.on_caller

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """As the runner."""
        return self.runner.run(feeds)

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """As the runner."""
        return self.runner.bind(feeds)
