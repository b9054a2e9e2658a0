"""What every target offers: availability, a quantization policy, artifacts and runners."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Self

import onnx_ir as ir

from compressor.graph.tensors import Arrays
from compressor.results.precision import STORED
from compressor.system.progress import SILENT, Progress
from exporters.base.artifact import Artifact, CallShapes, Samples
from exporters.base.form import Form
from exporters.base.options import TargetOptions
from exporters.base.policy import QuantPolicy
from exporters.base.profiled import Profiled
from exporters.base.refusal import Refusal
from exporters.base.runner import Runner
from exporters.base.shared_cache import SharedCaches


class Target(ABC):
    """A runtime that artifacts are made for.

    Abstract is what every runtime has to answer. The rest has an answer that most can leave as it
    is. Where only one runtime needs another one so far, the last line says which.

    Attributes:
        name: As `--target` names it.
        title: As people name it.
        opset: What graphs are captured at, and raised to where a converter can.
        least_opset: What ONNX models are raised to, where a converter can: quantization per
            channel.
        stores: Ways to store weights in fewer bits that its runtime loads, as `--quantize` names
            them.
        blocks_as: Whether matrices in blocks go to kernels of the runtime's own, or are standard
            DequantizeLinear of whole blocks, without zero points.
        built_for_shapes: Whether a build is for certain shapes, and runs at no others. TensorRT.
        shares_weights: Whether several models read their weights from one file, if it lies in their
            folder. ONNX Runtime.
        sparsities: Patterns of zeros in weights that its kernels skip, as `--sparsity` names them.
            TensorRT.
        forms: Exact rewrites that may have faster kernels. ONNX Runtime.
        integer_caches: Whether its products read a decoder's cache as integers. ONNX Runtime.
        shared_caches: Puts a decoder's cache into buffers that its runtime appends to in place;
            None where it has no such operator. ONNX Runtime.
        branches: Whether it runs only the branch of an If that is taken. ONNX Runtime.
        streams: Whether an artifact is a graph alone, which blocks that were built by themselves
            can be joined to. ONNX Runtime.
        runtime: The package that executes models, on whose version figures depend.
        own_files: Endings of model files that only its runtime reads.
        rounds_stored: Whether its runtime may round what products of stored weights read, though
            the graph does not say so: then a note in the graph does (`execution`).
    """

    name: str
    title: str
    opset: int
    least_opset: int = 13
    stores: frozenset[str] = frozenset()
    blocks_as: Literal["kernels", "standard"] = "kernels"
    built_for_shapes: bool = False
    shares_weights: bool = False
    sparsities: frozenset[str] = frozenset()
    forms: tuple[Form, ...] = ()
    integer_caches: bool = False
    shared_caches: SharedCaches | None = None
    branches: bool = False
    streams: bool = False
    runtime: str = "onnxruntime"
    own_files: tuple[str, ...] = ()
    rounds_stored: bool = False

    # Whether it can be used, and for what.

    @abstractmethod
    def why_not_available(self) -> str | None:
        """Why artifacts cannot be built and run here; None where they can."""

    @property
    def state(self) -> str:
        """How far it is usable here, where nothing speaks against it."""
        return "usable here"

    def why_not_measurable(self) -> str | None:
        """Why nothing can be timed here; None where it can."""
        return None

    def why_not_memory_measurable(self) -> str | None:
        """Why peak memory is not that of a process that runs the model; None where it is."""
        return self.why_not_measurable()

    def require_buildable(self, model: ir.Model) -> None:
        """Refuse early what a build of this graph would be refused for.

        TensorRT.

        Raises:
            CompressorError: What was asked for does not fit the model.
        """
        del model

    # Its own section of the recipe: `exporters/NAME/options.py`.

    def configured(self, options: TargetOptions) -> Self:
        """The target with its own section of the recipe; only targets with one are asked."""
        del options
        return self

    def for_graph(self, name: str, names: Collection[str]) -> Self:
        """The target as one graph of a pipeline has it, where its section tells graphs apart.

        TensorRT.

        Args:
            name: The graph.
            names: All of them.
        """
        del name, names
        return self

    def implied(self, quantize: Mapping[str, object]) -> Mapping[str, object]:
        """What its own section says of the recipe's section [quantize]: key → value.

        TensorRT.

        Args:
            quantize: That section, as it was asked for.
        """
        del quantize
        return {}

    def why_not_mode(self, mode: str) -> Refusal | None:
        """Why `--quantize` asks for what its runtime or its own section excludes."""
        if mode not in STORED or mode in self.stores:
            return None
        known = ", ".join(sorted(self.stores)) or "none of these"
        return Refusal(
            f"target {self.name!r} cannot run --quantize {mode}",
            f"Of the modes that only store weights it runs {known}; int8 and none are left.",
        )

    # What is quantized, and how.

    @abstractmethod
    def policy(self, cpu: str) -> QuantPolicy:
        """The quantization policy for a deployment CPU: "host", "vnni", "avx2" or "arm64"."""

    def why_not_compatible(self, policy: QuantPolicy) -> Refusal | None:
        """Why a policy other than its own gives wrong results; None where it does not.

        TensorRT.
        """
        del policy
        return None

    def cautions(self, policy: QuantPolicy) -> tuple[str, ...]:
        """What the target loses by a policy other than its own, in sentences.

        ONNX Runtime.
        """
        del policy
        return ()

    @property
    def quantizes(self) -> bool:
        """Whether it is configured to quantize at all.

        TensorRT, whose precision may be float.
        """
        return True

    @property
    def remainder(self) -> Literal["float32", "float16"]:
        """What is computed in that is not integer."""
        return "float32"

    @property
    def arithmetics(self) -> tuple[str, ...]:
        """What float work may be computed in beside float32, to be tried, as its recipe asks."""
        return ()

    @property
    def why_no_arithmetic(self) -> str | None:
        """Why another arithmetic that was asked for is not tried; None where nothing was."""
        return None

    def arithmetic_words(self, name: str) -> str:
        """What it means that float work is computed in one of its `arithmetics`, and where it pays.

        Args:
            name: One of them.
        """
        return f"what is not integer is computed in {name}"

    def keep_norms_plain(self, model: ir.Model) -> int:
        """Rewrite a graph so that additions are not fused with the norms behind them, in place.

        ONNX Runtime.

        Returns:
            How many there are; 0 where the runtime does not fuse them.
        """
        del model
        return 0

    # What is pruned.

    def channel_multiple(self, *, integer: bool) -> int:
        """What channel counts should be multiples of, for the kernels to gain by fewer.

        Args:
            integer: Whether the layers run as integer.
        """
        del integer
        return 8

    def finer_multiples(self, multiple: int) -> tuple[int, ...]:
        """Smaller multiples that still serve, from large to small, for groups of few channels.

        TensorRT.
        """
        del multiple
        return ()

    def why_not_sparse(self, node: ir.Node) -> str | None:
        """Why a layer would gain nothing by zeros in its weight; None where it may gain.

        TensorRT: asked only of targets with `sparsities`.
        """
        del node
        return None

    # Artifacts.

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

    def files_of(self, model: Path) -> tuple[Path, ...]:
        """A built artifact's model file and what it needs beside it."""
        return (model,)

    def open_in_loop(
        self, model: ir.Model, calls: Mapping[CallShapes, int], *, threads: int, timed: bool
    ) -> Runner:
        """A runner for a model that a loop feeds with these shapes.

        TensorRT, which builds for them all at once.

        Args:
            model: What to run.
            calls: Shapes of the inputs of a call → how many calls had them.
            threads: As of `open`.
            timed: Likewise.
        """
        del calls
        return self.open(model, threads=threads, timed=timed)

    def profiled(self, model: ir.Model, feeds: Arrays, *, threads: int) -> Profiled | None:
        """A model with the times of the runtime's kernels.

        Args:
            model: What to run.
            feeds: One inference.
            threads: As of `open`.

        Returns:
            None where ONNX Runtime's profiler tells them, or no other runtime can.
        """
        del model, feeds, threads
        return None

    def loading(self, model: Path, threads: int) -> str | None:
        """How a user loads an artifact without this package, in sentences; None as an ONNX file.

        Args:
            model: A built artifact's model file.
            threads: Threads that it was measured with.
        """
        del model, threads
        return None

    def departures(self, model: Path, feeds: Arrays) -> tuple[str, ...]:
        """Where a runtime that users load the model in computes other numbers, in sentences.

        TensorRT, whose artifact is a graph that ONNX Runtime loads too.

        Args:
            model: A built artifact's model file.
            feeds: Samples of every input.
        """
        del model, feeds
        return ()

    @abstractmethod
    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """Count what runs as integer and what as float, by operator, in the optimized graph."""
