"""A target that gives files to the runtimes that read them: for comparisons across runtimes."""

from pathlib import Path

import onnx_ir as ir

from compressor.graph.tensors import Arrays
from compressor.system.progress import SILENT, Progress
from exporters.base.artifact import Artifact, Samples
from exporters.base.policy import QuantPolicy
from exporters.base.registry import target_of
from exporters.base.runner import Runner
from exporters.base.target import Target


class RoutedTarget(Target):
    """A target, but for files that only the runtime of another one reads.

    Attributes:
        default: The target of all others, and of models in memory.
    """

    def __init__(self, default: Target) -> None:
        """With the target that was asked for."""
        self.default = default
        self.name, self.title, self.runtime = default.name, default.title, default.runtime
        self.opset, self.least_opset = default.opset, default.least_opset
        self.own_files = default.own_files

    def of(self, model: ir.Model | Path) -> Target:
        """Whose runtime runs a model."""
        own = target_of(model) if isinstance(model, Path) else None
        return self.default if own is None or own.name == self.default.name else own

    def why_not_available(self) -> str | None:
        """As the default one."""
        return self.default.why_not_available()

    def why_not_measurable(self) -> str | None:
        """As the default one."""
        return self.default.why_not_measurable()

    def why_not_memory_measurable(self) -> str | None:
        """As the default one."""
        return self.default.why_not_memory_measurable()

    def policy(self, cpu: str) -> QuantPolicy:
        """As the default one."""
        return self.default.policy(cpu)

    def build(
        self,
        model: ir.Model,
        directory: Path,
        *,
        samples: Samples | None = None,
        progress: Progress = SILENT,
    ) -> Artifact:
        """By the default one."""
        return self.default.build(model, directory, samples=samples, progress=progress)

    def draft(self, model: ir.Model, directory: Path) -> Artifact:
        """By the default one."""
        return self.default.draft(model, directory)

    def open(self, model: ir.Model | Path, *, threads: int = 1, timed: bool = True) -> Runner:
        """By the runtime that reads it."""
        return self.of(model).open(model, threads=threads, timed=timed)

    def departures(self, model: Path, feeds: Arrays) -> tuple[str, ...]:
        """By the runtime that reads it."""
        return self.of(model).departures(model, feeds)

    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """By the runtime that reads it."""
        return self.of(model).integer_nodes(model)
