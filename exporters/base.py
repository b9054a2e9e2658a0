"""What every target offers: availability, a quantization policy, artifacts and runners.

A new target is one module `exporters/NAME.py` that ends in `TARGET = ...`; it is found by its
file name. Stages know a target only through these types.
"""

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, cast

import onnx_ir as ir
from pydantic import BaseModel, Field

from calibration.scheme import Scheme
from compressor.errors import UsageError
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.progress import SILENT, Progress
from compressor.records import Record


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

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once; `feeds` may hold more than the inputs, the rest is ignored."""

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Place the feeds where the runtime wants them; each call of the result is one inference.

        Nothing but the inference happens in the call, so that it can be timed.
        """


@dataclass(frozen=True)
class QuantPolicy:
    """Where and how a target wants Q/DQ.

    Attributes:
        activation: Scheme of activations (per tensor).
        weight: Scheme of weights (per output channel).
        bias: "int32" when biases pass through DequantizeLinear, "float" when they stay.
        weighted: Operators with a weight that have an integer kernel.
        elementwise: Other operators with an integer kernel; they join only between integer ones.
        passthrough: Operators that move values without changing them, which must see one scale
            on both sides.
        absorbed: Activations that vanish into the output quantization of their producer.
        float_output: Weighted operators whose output may stay float without losing the kernel.
        dynamic: Weighted operators that gain from activations that are quantized at run time.
        slow: Why the integer kernel of a weighted node loses to the float one; None when it does
            not.
        inputs_only: Whether Q/DQ stands only on what integer nodes read, and the runtime fuses
            what lies between by itself; else integer nodes form regions, whose inner values all
            pass Q/DQ.
    """

    activation: Scheme
    weight: Scheme
    bias: Literal["int32", "float"]
    weighted: frozenset[str]
    elementwise: frozenset[str]
    passthrough: frozenset[str]
    absorbed: frozenset[str]
    float_output: frozenset[str]
    dynamic: frozenset[str] = frozenset()
    slow: Callable[[ir.Node], str | None] = lambda node: None
    inputs_only: bool = False

    def with_schemes(
        self,
        *,
        activation: Literal["uint8", "int8"] | None = None,
        symmetric: bool | None = None,
        weight_bits: int | None = None,
        granularity: Literal["channel", "tensor"] | None = None,
    ) -> "QuantPolicy":
        """The policy with other schemes; None keeps what the target prefers.

        An activation is absorbed because its lower bound falls on the least integer, which a
        symmetric scheme cannot give: then none is absorbed.
        """
        dtype = activation or self.activation.dtype
        even = self.activation.symmetric if symmetric is None else symmetric
        per_channel = self.weight.per_channel if granularity is None else granularity == "channel"
        return replace(
            self,
            activation=replace(self.activation, dtype=dtype, symmetric=even),
            weight=replace(
                self.weight, bits=weight_bits or self.weight.bits, per_channel=per_channel
            ),
            absorbed=frozenset() if even and not self.activation.symmetric else self.absorbed,
        )


class Agreement(Record):
    """An output of an engine, held against the reference executor on the same graph.

    Attributes:
        output: Its name.
        shapes: Input → shape.
        cosine: Of the angle between both.
        max_abs: The greatest difference.
        top1: Share of rows whose greatest element is the same; None for outputs that are no rows.
    """

    output: str
    shapes: dict[str, tuple[int, ...]]
    cosine: float
    max_abs: float
    top1: float | None = None


class EngineBuild(Record):
    """A compiled engine beside the model, or why there is none.

    Attributes:
        status: "built" and run here; "built, not run"; or "script only", where none was built.
        backend: The package that built it; None where none was there.
        version: Of that package.
        precision: What was asked for.
        file: The engine's file name in the output folder.
        file_bytes: Its size.
        seconds: What the build took.
        reason: Why it was not run, or not built.
        failed: Whether a build was tried and failed.
        required: Whether the run is to fail without one.
        profiles: Of each optimization profile, input → its least, most likely and greatest shape.
        integer: Operator → layers of the parsed network that read integers.
        floating: Operator → such layers that read floats.
        warnings: What the linter and the parser warn of.
        inputs: Names, types and shapes.
        outputs: Likewise.
        tolerance: Cosine that outputs should have with those of ONNX Runtime on the same graph.
        agreement: What they have where the engine was run: each output, at the least, the most
            likely and the greatest shapes.
        not_integer: Nodes that read integers in the graph and floats in the engine that was run.
    """

    status: Literal["built", "built, not run", "script only"]
    backend: str | None = None
    version: str | None = None
    precision: str
    file: str | None = None
    file_bytes: int | None = None
    seconds: float | None = None
    reason: str | None = None
    failed: bool = False
    required: bool = False
    profiles: tuple[dict[str, tuple[tuple[int, ...], ...]], ...] = ()
    integer: dict[str, int] = Field(default_factory=dict)
    floating: dict[str, int] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    tolerance: float | None = None
    agreement: tuple[Agreement, ...] = ()
    not_integer: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """What `Target.build` wrote.

    Attributes:
        model: The file that a runtime loads.
        files: It and the files that it needs, whose size is the artifact's.
        roles: What else lies beside it: role → file.
        engine: The compiled engine, for targets that have one.
    """

    model: Path
    files: tuple[Path, ...] = ()
    roles: Mapping[str, Path] = field(default_factory=dict)
    engine: EngineBuild | None = None


@dataclass(frozen=True)
class Samples:
    """What a build may know of the inputs.

    Attributes:
        feeds: Samples of every input.
        batches: The least, the deciding and the greatest batch.
        are_real: Whether they come from data.
    """

    feeds: Arrays
    batches: tuple[int, int, int]
    are_real: bool = True


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

    @abstractmethod
    def available(self) -> str | None:
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
        """How far it is usable here, where `available` has no objection."""
        return "usable here"

    def configured(self, options: BaseModel) -> Self:
        """The target with its own section of the recipe."""
        del options
        return self

    @property
    def profiles(self) -> bool:
        """Whether ONNX Runtime's profiler tells what kernels take on this target."""
        return False

    def unmeasurable(self) -> str | None:
        """Why nothing can be timed here; None where it can."""
        return None

    def memory_unmeasured(self) -> str | None:
        """Why peak memory is not that of a process that runs the model; None where it is."""
        return self.unmeasurable()

    def refusal(self, policy: QuantPolicy) -> str | None:
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
            directory: Where to.
            samples: For targets that compile for certain shapes, or write reference outputs.
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

    @abstractmethod
    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """Count what runs as integer and what as float, by operator, in the optimized graph."""


def target_names() -> list[str]:
    """The targets that exist in this installation."""
    package = import_module("exporters")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.name not in ("base", "lint") and not module.name.startswith("_")
    )


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    known = target_names()
    if name not in known:
        raise UsageError(f"unknown target {name!r}", hint=f"Choose one of: {', '.join(known)}.")
    return cast(Target, import_module(f"exporters.{name}").TARGET)
