"""OpenVINO on the CPU.

The artifact is an IR, `model.xml` with its weights in `model.bin`, and the same graph as portable
ONNX beside it. How it is to be compiled (what float work is computed in, whether products round
what they read) stands in the IR, as that was measured and judged.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import onnx_ir as ir

from compressor.errors import GraphError, TargetError
from compressor.graph.files import save_model
from compressor.graph.noise import drawing_nodes
from compressor.graph.tensors import Arrays
from compressor.system.progress import SILENT, Progress
from exporters.base import Artifact, QuantPolicy, Samples, Target, TargetOptions
from exporters.base.reference import LARGEST, REFERENCE, write_reference
from exporters.openvino import runtime
from exporters.openvino.compiled import (
    compiled,
    compiled_as,
    computes_integers,
    configuration,
    layers,
)
from exporters.openvino.conversion import SUFFIX, converted, save_ir
from exporters.openvino.options import OpenVinoOptions
from exporters.openvino.policy import openvino_policy
from exporters.openvino.runner import OpenVinoRunner, ProfiledRunner


class OpenVinoTarget(Target):
    """OpenVINO's CPU plugin."""

    name = "openvino"
    title = OpenVinoOptions.title
    runtime = runtime.PACKAGE
    own_files = (SUFFIX,)
    opset = 21
    least_opset = 21  # blocks of integers came with it
    stores = frozenset({"int4", "int8-weights", "fp16", "bf16"})
    blocks_as = "standard"
    rounds_stored = True

    def __init__(self, options: OpenVinoOptions | None = None) -> None:
        self.options = options or OpenVinoOptions()

    def configured(self, options: TargetOptions) -> Self:
        """The target with the section [openvino] of a recipe."""
        assert isinstance(options, OpenVinoOptions), "the recipe's section [openvino]"
        return type(self)(options)

    def why_not_available(self) -> str | None:
        """It is an extra: missing, too old, or without a CPU plugin."""
        return runtime.why_not_available()

    @property
    def state(self) -> str:
        """What float work can be computed in here beside float32."""
        native = sorted(runtime.capabilities() & {"BF16", "FP16"})
        return f"usable here, computes in {', '.join(['FP32', *native])} and INT8"

    def require_buildable(self, model: ir.Model) -> None:
        """The runtime has to take the graph as it was captured.

        Raises:
            TargetError: It lacks an operator, or refuses a rank.
        """
        try:
            compiled(model, 1)
        except GraphError as error:
            raise TargetError(
                error.message,
                hint="Choose another target: ONNX Runtime runs any ONNX graph. Or change the "
                "model where that is.",
            ) from error

    def implied(self, quantize: Mapping[str, object]) -> Mapping[str, object]:
        """Weights in blocks of integers have no zero points, as the standard operator has them."""
        return {"symmetric": True} if quantize["mode"] in ("int4", "int8-weights") else {}

    def policy(self, cpu: str) -> QuantPolicy:
        """As its low-precision transformations want it."""
        return openvino_policy(cpu)

    def channel_multiple(self, *, integer: bool) -> int:
        """Blocks of the kernels hold 16 channels."""
        del integer
        return 16

    def finer_multiples(self, multiple: int) -> tuple[int, ...]:
        """Channels that do not fill a block cost what they are with integers, about."""
        return tuple(n for n in (8,) if n < multiple)

    @property
    def arithmetics(self) -> tuple[str, ...]:
        """bfloat16 where it was asked for and the CPU computes in it."""
        asked = self.options.precision
        if asked == "auto":
            own = runtime.own_hint()
            return () if own == "f32" else (own,)
        return ("bf16",) if asked == "bf16" and "BF16" in runtime.capabilities() else ()

    @property
    def why_no_arithmetic(self) -> str | None:
        """What was asked for and cannot be, or changes nothing."""
        if self.arithmetics or self.options.precision == "f32":
            return None
        if self.options.precision == "bf16":
            return "--precision bf16: this CPU does not compute in bfloat16, so it was not tried"
        return "--precision auto: the plugin would choose float32 here, which is what ships anyway"

    def arithmetic_words(self, name: str) -> str:
        """Where it pays."""
        if name == "bf16":
            return (
                "what is not integer is computed in bfloat16 (INFERENCE_PRECISION_HINT=bf16). It "
                "pays on CPUs with AVX512-BF16 or AMX-BF16; others compute in float32"
            )
        return f"what is not integer is computed in {name} (INFERENCE_PRECISION_HINT={name})"

    def build(
        self,
        model: ir.Model,
        directory: Path,
        *,
        samples: Samples | None = None,
        progress: Progress = SILENT,
    ) -> Artifact:
        """The IR, the graph as portable ONNX, and what the IR answers to a sample.

        Of a graph that draws random numbers there is nothing to compare an answer with.
        """
        del progress
        made = self.draft(model, directory)
        portable = directory / "model.onnx"
        save_model(model, portable)
        roles = {"weights": made.files[-1], "onnx": portable}
        if samples is not None and not drawing_nodes(model):
            with self.open(made.model, timed=False) as runner:
                path = directory / REFERENCE
                stored = write_reference(runner, samples.feeds, path, largest=LARGEST)
            roles |= {} if stored is None else {"reference": stored}
        return Artifact(made.model, made.files, roles)

    def draft(self, model: ir.Model, directory: Path) -> Artifact:
        """The IR alone."""
        path = directory / f"model{SUFFIX}"
        save_ir(model, path)
        return Artifact(path, self.files_of(path))

    def files_of(self, model: Path) -> tuple[Path, ...]:
        """The IR and its weights."""
        weights = model.with_suffix(".bin")
        return (model, weights) if weights.is_file() else (model,)

    def open(
        self, model: ir.Model | Path, *, threads: int = 1, timed: bool = True
    ) -> OpenVinoRunner:
        """A compiled model of its own."""
        del timed
        return OpenVinoRunner(model, threads)

    def profiled(self, model: ir.Model, feeds: Arrays, *, threads: int) -> ProfiledRunner:
        """By the plugin's own counters."""
        return ProfiledRunner(model, feeds, threads)

    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """Ask the compiled model what it executes, and in what."""
        counts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        with converted(model) as (found, how):
            executed = layers(compiled_as(found, how, 1))
        for layer in executed:
            counts[0 if computes_integers(layer, rounds=how.rounds) else 1][layer.operator] += 1
        return dict(counts[0]), dict(counts[1])

    def loading(self, model: Path, threads: int) -> str:
        """With the properties that it was measured with."""
        with converted(model) as (_, how):
            properties = configuration(how, threads)
        told = ", ".join(f'"{name}": {json.dumps(value)}' for name, value in properties.items())
        return (
            "It needs numpy and openvino alone. Without this package it is a file for "
            f'`openvino.Core().compile_model("{model.name}", "{runtime.DEVICE}", {{{told}}})`: '
            "so it was measured. By itself the plugin may compute float work in bfloat16, and "
            "round what products read. `model.onnx` is the same graph for other runtimes."
        )


TARGET = OpenVinoTarget()
