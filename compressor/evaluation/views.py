"""Runners of which only some outputs are seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from compressor.evaluation.metrics.base import BASELINE
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import Runner


@dataclass(frozen=True)
class View:
    """A runner that shows some outputs, under names that may differ from its own.

    Attributes:
        runner: What runs.
        shown: Its output → the name it is shown under.
    """

    runner: Runner
    shown: Mapping[str, str]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The runner's own."""
        return self.runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those that are shown."""
        return tuple(
            TensorSpec(self.shown[spec.name], spec.dtype, spec.shape)
            for spec in self.runner.outputs
            if spec.name in self.shown
        )

    @property
    def on_caller(self) -> bool:
        """The runner's own."""
        return self.runner.on_caller

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """The runner belongs to who opened it."""

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run, and show what is to be seen."""
        found = self.runner.run(feeds)
        return {shown: found[name] for name, shown in self.shown.items()}

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """The runner's own."""
        return self.runner.bind(feeds)


def only(runners: Mapping[str, Runner], names: Sequence[str]) -> dict[str, Runner]:
    """The runners with these outputs of the first of them, the original.

    Outputs are paired by name, or by position where another model names one differently.
    """
    first = runners.get(BASELINE, next(iter(runners.values())))
    places = {spec.name: place for place, spec in enumerate(first.outputs)}
    found: dict[str, Runner] = {}
    for key, runner in runners.items():
        own = [spec.name for spec in runner.outputs]
        shown = {
            (name if name in own else own[places[name]]): name
            for name in names
            if name in own or places[name] < len(own)
        }
        found[key] = View(runner, shown)
    return found
