"""What every target offers: availability, a quantization policy, artifacts and runners."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

import onnx_ir as ir
from pydantic import BaseModel

from compressor.graph.tensors import Arrays
from compressor.system.progress import SILENT, Progress
from exporters.base.artifact import Artifact, Samples
from exporters.base.policy import QuantPolicy
from exporters.base.runner import Runner


class Target(ABC):
    """A runtime that artifacts are made for."""

    name: str
    title: str
    opset: int
    least_opset: int = 13
    """What ONNX models are raised to, where a converter can: quantization per channel."""
    blocks_as: Literal["kernels", "standard"] = "kernels"
    """Whether matrices in blocks go to kernels of the runtime's own, or are standard
    DequantizeLinear of whole blocks, without zero points."""
    stores: frozenset[str] = frozenset()
    """Ways to store weights in fewer bits that its runtime loads, as `--quantize` names them."""
    stored_otherwise: Mapping[str, str] = MappingProxyType({})
    """Other ways to store weights → what to pass instead, where another option does the same."""
    sparsities: frozenset[str] = frozenset()
    """Patterns of zeros in weights that its kernels skip, as `--sparsity` names them."""

    @abstractmethod
    def why_not_available(self) -> str | None:
        """None when artifacts can be built and run here, else the reason why not."""

    @property
    def quantizes(self) -> bool:
        """Whether it is configured to quantize at all."""
        return True

    @property
    def remainder(self) -> Literal["float32", "float16"]:
        """What is computed in that is not integer."""
        return "float32"

    @property
    def state(self) -> str:
        """How far it is usable here, where nothing speaks against it."""
        return "usable here"

    def configured(self, options: BaseModel) -> Self:
        """The target with its own section of the recipe."""
        del options
        return self

    def why_not_measurable(self) -> str | None:
        """Why nothing can be timed here; None where it can."""
        return None

    def why_not_memory_measurable(self) -> str | None:
        """Why peak memory is not that of a process that runs the model; None where it is."""
        return self.why_not_measurable()

    def why_not_compatible(self, policy: QuantPolicy) -> str | None:
        """Why a policy other than its own gives wrong results; None where it does not."""
        del policy
        return None

    def require_buildable(self, model: ir.Model) -> None:
        """Refuse early what a build of this graph would be refused for.

        Raises:
            CompressorError: What was asked for does not fit the model.
        """
        del model

    @abstractmethod
    def policy(self, cpu: str) -> QuantPolicy:
        """The quantization policy for a deployment CPU: "host", "vnni", "avx2" or "arm64"."""

    def cautions(self, policy: QuantPolicy) -> tuple[str, ...]:
        """What the target loses by a policy other than its own, in sentences."""
        del policy
        return ()

    def channel_multiple(self, *, integer: bool) -> int:
        """What channel counts should be multiples of, for the kernels to gain by fewer.

        Args:
            integer: Whether the layers run as integer.
        """
        del integer
        return 8

    def why_not_sparse(self, node: ir.Node) -> str | None:
        """Why a layer would gain nothing by zeros in its weight; None where it may gain.

        Asked only of targets with `sparsities`.
        """
        del node
        return None

    def keep_norms_plain(self, model: ir.Model) -> int:
        """Rewrite a graph so that additions are not fused with the norms behind them, in place.

        Returns:
            How many there are; 0 where the runtime does not fuse them.
        """
        del model
        return 0

    def finer_multiples(self, multiple: int) -> tuple[int, ...]:
        """Smaller multiples that still serve, from large to small, for groups of few channels."""
        del multiple
        return ()

    @abstractmethod
    def build(
        self,
        model: ir.Model,
        directory: Path,
        *,
        samples: Samples | None = None,
        progress: Progress = SILENT,
    ) -> Artifact:
        """Write the artifact of `model` into `directory`, which exists.

        Args:
            model: The graph that ships.
            directory: The folder that the artifact is written to.
            samples: Samples for targets that compile for certain shapes or write reference outputs.
            progress: Where a long build is shown.
        """

    def draft(self, model: ir.Model, directory: Path) -> Artifact:
        """Write what size and quality are measured of, without a long build."""
        return self.build(model, directory)

    @abstractmethod
    def open(self, model: ir.Model | Path, *, threads: int = 1, timed: bool = True) -> Runner:
        """A runner for a built artifact's model file, or for a model in memory.

        Args:
            model: What to run.
            threads: Threads of one inference; 0 is all.
            timed: Whether latency counts. If not, it yields to other work in the process.
        """

    def departures(self, model: Path, feeds: Arrays) -> tuple[str, ...]:
        """Where a runtime that users load the model in computes other numbers, in sentences.

        Args:
            model: A built artifact's model file.
            feeds: Samples of every input.
        """
        del model, feeds
        return ()

    @abstractmethod
    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """Count what runs as integer and what as float, by operator, in the optimized graph."""
