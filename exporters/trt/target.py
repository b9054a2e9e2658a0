"""The target: what is asked of the graph, and what lies in the output folder.

`model.onnx` is standard ONNX that any TensorRT reads; the engine is of the version and, but for
TensorRT-RTX, of the GPU that it was built with. What a GPU would do is not known without one: then
quality is of ONNX Runtime on the same graph, and nothing is timed.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, Self, cast

import onnx_ir as ir

from compressor.errors import CompressorError, LintError
from compressor.graph.files import save_model
from compressor.graph.noise import drawing_nodes
from compressor.graph.tensors import Arrays
from compressor.system.progress import SILENT, Progress
from exporters.base import (
    Artifact,
    CallShapes,
    EngineBuild,
    QuantPolicy,
    Refusal,
    Runner,
    Samples,
    Target,
    TargetOptions,
)
from exporters.base.of_graph import of_graph
from exporters.base.reference import REFERENCE, write_reference
from exporters.lint.base import Finding
from exporters.lint.trt.rules import RULES
from exporters.ort.target import OrtRunner
from exporters.trt.agreement import agreements, fitting, not_integer
from exporters.trt.backends import ChosenBackend, Name, choose, device
from exporters.trt.build_engine import ENGINES
from exporters.trt.building import Built, build_engine, settings, write_script
from exporters.trt.facts import (
    CHANNELS_8_BITS,
    CHANNELS_HALF,
    CHANNELS_SPARSE_HALF,
    sparse_layers,
)
from exporters.trt.graph import is_integer, layers, prepared
from exporters.trt.kernels import kernels_by_type, sparse_kernels
from exporters.trt.notation import Profile, asked
from exporters.trt.options import TrtOptions
from exporters.trt.plain import departures
from exporters.trt.policy import fp8_policy, trt_policy, why_not_sparse
from exporters.trt.profiles import profiles_for, require_fitting
from exporters.trt.timed import TimedRunner, open_engine

BLOCKS = (64, 128)
"""Inputs of a matrix that may share a scale of 4 bits; the default last."""
TOLERANCES = {
    "int8": 0.99,
    "int8-fp32": 0.99,
    "fp8": 0.99,
    "fp16": 0.999,
    "fp32": 0.9999,
    "int4-weights": 0.999,
}
"""Precision → cosine of an engine's outputs with those of ONNX Runtime on the same graph."""

_STORED_OTHERWISE = {
    "int4": "Pass --precision int4-weights.",
    "fp16": "Pass --precision fp16, in which it computes, too.",
}
_OWN_POLICY = "Leave --activation, --symmetric and --weight-bits to it."


class TrtTarget(Target):
    """NVIDIA TensorRT and TensorRT-RTX."""

    name = "trt"
    title = TrtOptions.title
    blocks_as = "standard"
    built_for_shapes = True
    sparsities = frozenset({"2:4"})

    def __init__(self, options: TrtOptions | None = None) -> None:
        self.options = options or TrtOptions()
        weights_only = self.options.precision == "int4-weights"
        self.opset = 21 if weights_only else 20  # 4-bit integers and blocks came with 21
        if weights_only or self.remainder == "float16":
            self.least_opset = 21 if weights_only else 19  # as half scales did with 19
        self.stores = frozenset({"int4"} if weights_only else ())

    def configured(self, options: TargetOptions) -> Self:
        """The target with the section [trt] of a recipe."""
        assert isinstance(options, TrtOptions), "the recipe's section [trt]"
        return type(self)(options)

    def for_graph(self, name: str, names: Collection[str]) -> Self:
        """With the profiles of that graph, written `GRAPH/INPUT:…`, and those that name none."""
        own = of_graph(self.options.profiles, name, names)
        return type(self)(self.options.model_copy(update={"profiles": own}))

    def implied(self, quantize: Mapping[str, object]) -> Mapping[str, object]:
        """Weights of 4 bits lie in symmetric blocks of 64 or 128, as the kernels read them."""
        if self.options.precision != "int4-weights":
            return {}
        block = quantize["block"] if quantize["block"] in BLOCKS else BLOCKS[-1]
        return {"mode": "int4", "block": block, "symmetric": True}

    def why_not_mode(self, mode: str) -> Refusal | None:
        """FP8 is of layers that are quantized; some ways to store weights are precisions here."""
        if mode == "none" and self.options.precision == "fp8":
            return Refusal(
                "--precision fp8 and --quantize none contradict each other: the first quantizes, "
                "which --precision fp16 does not",
                "Leave one out.",
            )
        refused = super().why_not_mode(mode)
        return refused and refused._replace(hint=_STORED_OTHERWISE.get(mode, refused.hint))

    def why_not_available(self) -> str | None:
        """Model and script can be written anywhere; what was asked for by name has to be there.

        Raises:
            TargetError: The backend that was asked for cannot build here.
        """
        chosen = choose(self.options.backend)
        if self.options.require_engine and chosen.name is None:
            return f"--require-engine: {chosen.reason}"
        if chosen.name == "tensorrt-rtx":
            return self._why_not_rtx()
        return None

    def _why_not_rtx(self) -> str | None:
        """What TensorRT-RTX fails at, so that the work before is not in vain."""
        reason, options = device().reason, self.options
        if options.version_compatible:
            return "version_compatible: tensorrt-rtx has no lean runtime to put into the engine"
        if reason is not None and (options.refit or options.strip_weights):
            return f"refit and strip_weights need a GPU to build with tensorrt-rtx: {reason}"
        return None

    @property
    def quantizes(self) -> bool:
        """Whether the precision asks for fewer bits than half has."""
        return self.options.quantizes

    @property
    def remainder(self) -> Literal["float32", "float16"]:
        """Half, unless the precision says float32."""
        return self.options.remainder

    @property
    def state(self) -> str:
        """What builds here and whether it runs."""
        chosen = choose(self.options.backend)
        if chosen.name is None:
            return f"writes model and build script only: {chosen.reason}"
        runs = "" if chosen.why_not_run is None else f", does not run them: {chosen.why_not_run}"
        return f"builds engines with {chosen.name} {chosen.version}{runs}"

    def why_not_measurable(self) -> str | None:
        """Without an engine that runs here no other runtime tells how fast it would be."""
        chosen = choose(self.options.backend)
        return device().reason or (chosen.reason if chosen.name is None else chosen.why_not_run)

    def why_not_memory_measurable(self) -> str | None:
        """What a process holds is not what its engine takes of the GPU."""
        return self.why_not_measurable() or "the memory of a GPU is not measured"

    def why_not_compatible(self, policy: QuantPolicy) -> Refusal | None:
        """Unsigned activations are read as signed, and a zero point other than 0 is rejected."""
        if self.options.precision == "fp8":
            one, other = policy.activation, policy.weight
            if one.is_float and one.symmetric and other.bits == other.stored.itemsize * 8:
                return None
            told = "8-bit floats are symmetric, of 8 bits, for activations and weights alike"
            return Refusal(told, _OWN_POLICY)
        if policy.activation.dtype != "int8":
            told = "TensorRT reads uint8 activations as int8: wrong numbers; it wants int8"
            return Refusal(told, _OWN_POLICY)
        return None

    def policy(self, cpu: str) -> QuantPolicy:
        """TensorRT's own placement, whatever the CPU."""
        del cpu
        return fp8_policy() if self.options.precision == "fp8" else trt_policy()

    def channel_multiple(self, *, integer: bool) -> int:
        """Kernels of 8 bits work on 32 channels, half ones on 8."""
        return CHANNELS_8_BITS if integer else CHANNELS_HALF

    def why_not_sparse(self, node: ir.Node) -> str | None:
        """Kernels that skip zeros are of tensor cores, which few channels do not fill."""
        return why_not_sparse(node)

    def finer_multiples(self, multiple: int) -> tuple[int, ...]:
        """Below those of 8 bits come those of sparse half, then of half."""
        return tuple(n for n in (CHANNELS_SPARSE_HALF, CHANNELS_HALF) if n < multiple)

    def require_buildable(self, model: ir.Model) -> None:
        """Profiles that were asked for have to fit.

        Raises:
            RecipeError: A name, a rank or a size differs.
        """
        if self.options.profiles:
            require_fitting(model, asked(self.options.profiles))

    def build(
        self,
        model: ir.Model,
        directory: Path,
        *,
        samples: Samples | None = None,
        progress: Progress = SILENT,
    ) -> Artifact:
        """Model, script, reference outputs, and an engine where one can be built.

        Of a graph that draws random numbers there are no outputs to compare an engine with.

        Raises:
            LintError: TensorRT would reject the graph or compute other numbers.
            RecipeError: The profiles do not fit.
        """
        findings = linted(model)
        profiles = profiles_for(model, self.options.profiles, samples)
        sparse = sparse_layers(model)
        script = write_script(directory, settings(self.options, profiles, sparse=sparse))
        path = directory / "model.onnx"
        save_model(model, path)
        files = tuple(sorted(directory.glob("model.onnx*")))
        roles = {"build_engine.py": script}
        noisy = bool(drawing_nodes(model))
        if samples is not None and not noisy:
            feeds = fitting(profiles, samples.feeds)
            with OrtRunner(path, 0, spin=False, integers=False) as runner:
                stored = write_reference(runner, feeds, directory / REFERENCE)
            roles |= {} if stored is None else {"reference": stored}
        chosen, built = choose(self.options.backend), Built()
        if chosen.name is not None:
            built = build_engine(
                directory,
                chosen,
                list(model.graph),
                cache=self.options.timing_cache,
                time_limit=self.options.time_limit,
                progress=progress,
            )
        if built.engine is not None:
            roles["engine"] = built.engine
        if (directory / "timing.cache").is_file():
            roles["timing.cache"] = directory / "timing.cache"
        engine = self._told(model, profiles, chosen, built, findings)
        engine = engine.model_copy(update={"sparse": sparse})
        known = None if noisy or self.why_not_measurable() is not None else samples
        if built.engine is not None and known is not None:
            engine = ran(engine, path, built.engine, profiles, known)
        return Artifact(path, files, roles, engine)

    def draft(self, model: ir.Model, directory: Path) -> Artifact:
        """The model alone."""
        path = directory / "model.onnx"
        save_model(model, path)
        return Artifact(path, tuple(sorted(directory.glob("model.onnx*"))))

    def open(self, model: ir.Model | Path, *, threads: int = 1, timed: bool = True) -> Runner:
        """The engine where it runs; else ONNX Runtime on the same graph: for quality, not speed."""
        if self.why_not_measurable() is None:
            chosen = choose(self.options.backend)
            if isinstance(model, Path) and chosen.name is not None:
                engine = model.with_name(ENGINES[chosen.name])
                if engine.is_file():
                    return open_engine(engine, chosen.name)
            if timed:
                return TimedRunner(model, self.options, chosen)
        return OrtRunner(model, threads, spin=False, integers=False)

    def open_in_loop(
        self, model: ir.Model, calls: Mapping[CallShapes, int], *, threads: int, timed: bool
    ) -> Runner:
        """One engine with the profiles of the loop, where it is timed and runs."""
        if timed and self.why_not_measurable() is None:
            return TimedRunner(model, self.options, choose(self.options.backend), calls=calls)
        return self.open(model, threads=threads, timed=timed)

    def departures(self, model: Path, feeds: Arrays) -> tuple[str, ...]:
        """The departures of ONNX Runtime's CPU provider, without options."""
        return departures(model, feeds)

    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """Convolutions and products with integer operands, as TensorRT's rules see the graph."""
        ready = prepared(ir.load(model) if isinstance(model, Path) else model)
        integer: dict[str, int] = {}
        floating: dict[str, int] = {}
        for node in layers(ready):
            counts = integer if is_integer(node) else floating
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
        return integer, floating

    def _told(
        self,
        model: ir.Model,
        profiles: tuple[Profile, ...],
        chosen: ChosenBackend,
        built: Built,
        findings: tuple[Finding, ...],
    ) -> EngineBuild:
        done = built.engine is not None
        warned = [f for f in (*findings, *built.findings) if f.severity == "warning"]
        return EngineBuild(
            status="built, not run" if done else "script only",
            backend=chosen.name,
            version=chosen.version,
            precision=self.options.precision,
            file=built.engine.name if built.engine else None,
            file_bytes=built.engine.stat().st_size if built.engine else None,
            seconds=built.seconds,
            reason=chosen.why_not_run if done else built.failure or chosen.reason,
            failed=built.failure is not None,
            required=self.options.require_engine,
            profiles=tuple({k: tuple(span) for k, span in one.items()} for one in profiles),
            integer=dict(built.integer),
            floating=dict(built.floating),
            warnings=tuple(f"{f.node or 'graph'}: {f.rule}: {f.reason}" for f in warned),
            inputs=tuple(_interface(value) for value in model.graph.inputs),
            outputs=tuple(_interface(value) for value in model.graph.outputs),
            tolerance=TOLERANCES[self.options.precision],
        )


def linted(model: ir.Model) -> tuple[Finding, ...]:
    """What the rules of the linter find; the parser's turn comes with the build.

    Raises:
        LintError: There are errors among it.
    """
    ready = prepared(model)
    found = tuple(finding for rule in RULES for finding in rule(ready))
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        first = errors[0]
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise LintError(
            f"TensorRT cannot take this graph: {first.rule} at {first.node or 'the graph'}: "
            f"{first.reason}{more}",
            hint=first.fix,
        )
    return found


def ran(
    engine: EngineBuild, model: Path, file: Path, profiles: tuple[Profile, ...], samples: Samples
) -> EngineBuild:
    """What is known once the engine has run: whether it computes what the graph says."""
    name = next(one for one, place in ENGINES.items() if place == file.name)
    try:
        with open_engine(file, cast(Name, name)) as runner:
            found = agreements(runner, model, profiles, samples.feeds)
            told = runner.layers()
    except CompressorError as error:
        return engine.model_copy(update={"reason": f"it was tried and does not run: {error}"})
    far = [one for one in found if not one.cosine >= (engine.tolerance or 0)]
    warned = tuple(
        f"{one.output}: disagreement: cosine {one.cosine:.5f} with ONNX Runtime on the same graph "
        f"at {', '.join(f'{n}{list(s)}' for n, s in one.shapes.items())}"
        for one in far
    )
    return engine.model_copy(
        update={
            "status": "built",
            "reason": None,
            "agreement": found,
            "not_integer": not_integer(told, ir.load(model)),
            "kernels": kernels_by_type(told),
            "sparse_kernels": sparse_kernels(told),
            "warnings": (*engine.warnings, *warned),
        }
    )


def _interface(value: ir.Value) -> str:
    """`x:float[batch,3,32,32]`."""
    kind = "?" if value.dtype is None else value.dtype.name.lower()
    sizes = "?" if value.shape is None else ",".join(str(size) for size in value.shape)
    return f"{value.name}:{kind}[{sizes}]"


TARGET = TrtTarget()
