"""Runners of which only some outputs are seen, and such whose graph is known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import onnx_ir as ir

from compressor.evaluation.metrics.base import BASELINE
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import PassingRunner, Runner


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


class OfGraph(PassingRunner):
    """A runner whose graph is known, for what takes more than its answers, as gradients do.

    Attributes:
        source: The graph, or the file that has it.
    """

    def __init__(self, runner: Runner, source: ir.Model | Path) -> None:
        """Around a runner, which is closed with this."""
        super().__init__(runner)
        self.source = source


def behind(runner: Runner) -> tuple[ir.Model | Path, str] | None:
    """The graph of a runner and its first output that is seen; None where no graph is known."""
    shown = [spec.name for spec in runner.outputs]
    while isinstance(runner, View):
        own = {name: key for key, name in runner.shown.items()}
        shown, runner = [own[name] for name in shown], runner.runner
    return (runner.source, shown[0]) if isinstance(runner, OfGraph) else None


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
