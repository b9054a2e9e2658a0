"""ONNX Runtime on the CPU.

The artifact is portable: `model.onnx` with QuantizeLinear / DequantizeLinear, which the runtime
turns into integer kernels when it loads it. Its own optimized serialization is tied to the
machine it was made on and is never shipped.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import onnx_ir as ir

from calibration.scheme import Scheme
from compressor.errors import DataError
from compressor.graph.cache_notes import CacheNote, by_output, read
from compressor.graph.files import initializer_bytes, save_model
from compressor.graph.noise import drawing_nodes
from compressor.graph.runtime import onnx_runtime
from compressor.graph.session import LARGE, open_session
from compressor.graph.session_specs import session_specs
from compressor.graph.shared_cache import SharedCaches
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.system.hardware import has_int8_dot
from compressor.system.progress import SILENT, Progress
from compressor.system.scratch import scratch
from exporters.base import Artifact, QuantPolicy, Samples, Target
from exporters.base.reference import LARGEST as LARGEST_REFERENCE
from exporters.base.reference import REFERENCE, write_reference
from exporters.ort import shared_cache
from exporters.ort.forms import FORMS

INTEGER_OPERATORS = frozenset(
    {"QGemm", "ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
    | {"DynamicQuantizeLSTM"}
)
"""Integer kernels whose names do not start with QLinear."""

LEAST_CHANNELS_3D = 12
"""Input channels of a group from which a 3-D convolution gains from integers."""

BOUNDARY = frozenset({"QuantizeLinear", "DequantizeLinear"})


class OrtRunner:
    """An ONNX Runtime session as a `Runner`.

    Caches of integers are taken in numbers, too. Where nothing is timed they are given and shown in
    numbers, so that graphs with either can be compared.
    """

    def __init__(
        self, model: ir.Model | Path, threads: int, spin: bool, *, integers: bool = True
    ) -> None:
        self._session = open_session(
            model, threads=threads, spin=spin, integers=integers, timed=spin
        )
        self.on_caller = threads == 1  # with one the runtime makes no thread of its own
        told = self._session.get_modelmeta().custom_metadata_map
        self._caches = read(told)
        self._given = by_output(self._caches)
        self._in_numbers = not spin
        self._stored, outputs = session_specs(self._session)
        self._shared = SharedCaches.of(self._session)
        if self._shared is not None:
            self._stored, outputs = self._shared.inputs, self._shared.outputs
        self.caches = {} if self._in_numbers else self._caches
        self.inputs = self._shown(self._stored, self._caches)
        self.outputs = self._shown(outputs, self._given)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._session = None

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once and fetch every output."""
        wanted = self._fed(feeds)
        try:
            made = self._made(wanted)
        except Exception as error:  # the runtime raises its own, unrelated classes
            shapes = ", ".join(f"{name}{list(a.shape)}" for name, a in wanted.items())
            raise DataError(f"ONNX Runtime cannot run the model on {shapes}: {error}") from error
        if self._in_numbers:
            made |= {name: one.numbers(made[name]) for name, one in self._given.items()}
        return made

    def _made(self, fed: dict[str, Array]) -> dict[str, Array]:
        """Every output, as the graph gives it."""
        if self._shared is not None:
            made = self._shared.run(fed)
            return {n: a.copy() for n, a in made.items()} if self._in_numbers else made
        arrays = self._session.run(None, fed)
        return {spec.name: np.asarray(a) for spec, a in zip(self.outputs, arrays, strict=True)}

    def _fed(self, feeds: Arrays) -> dict[str, Array]:
        """What the graph takes."""
        wanted = {spec.name: feeds[spec.name] for spec in self._stored}
        return wanted | {name: one.integers(wanted[name]) for name, one in self._caches.items()}

    def _shown(
        self, specs: tuple[TensorSpec, ...], caches: Mapping[str, CacheNote]
    ) -> tuple[TensorSpec, ...]:
        if not self._in_numbers:
            return specs
        return tuple(caches[s.name].spec(s) if s.name in caches else s for s in specs)

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Bind inputs once; outputs stay in the runtime's own buffers.

        An output with other axes than it is declared with, as a head has that squeezes a batch of
        one away, cannot be bound: the runtime only runs such a model unbound.
        """
        session, binding = self._session, self._session.io_binding()
        fed = self._fed(feeds)
        if self._shared is not None:
            return self._shared.bind(fed)
        for name, given in fed.items():
            array = np.asarray(given, order="C")  # a scalar stays one
            value = onnx_runtime().OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_input(name, value)
        for spec in self.outputs:
            binding.bind_output(spec.name)
        try:
            for _ in range(
                2
            ):  # the second time what the first made is held against its declaration
                session.run_with_iobinding(binding)
        except Exception:  # the runtime raises its own, unrelated classes; `run` says what is wrong
            self.run(feeds)
            return lambda: session.run(None, fed)
        return lambda: session.run_with_iobinding(binding)


class OrtTarget(Target):
    """ONNX Runtime, CPU execution provider."""

    name = "ort"
    title = "ONNX Runtime (CPU)"
    opset = 20
    stores = frozenset({"int4", "int8-weights", "fp16", "bf16"})
    forms = FORMS
    shares_weights = True
    integer_caches = True
    shared_caches = shared_cache
    branches = True
    streams = True

    def why_not_available(self) -> str | None:
        """ONNX Runtime is a dependency; a broken installation is the only way to lack it."""
        try:
            onnx_runtime()
        except ImportError as error:
            return f"onnxruntime does not import: {error}"
        return None

    def policy(self, cpu: str) -> QuantPolicy:
        """Asymmetric uint8 activations, symmetric per-channel int8 weights, int32 bias.

        The runtime absorbs Relu into the quantization of its producer only when the zero point is
        the type's least value, which asymmetric activations give. On CPUs without an 8-bit dot
        product two products are summed in 16 bits, which no pair of weights may exceed.
        """
        return QuantPolicy(
            activation=Scheme("uint8", symmetric=False),
            weight=Scheme("int8", symmetric=True, per_channel=True, pairs=not has_int8_dot(cpu)),
            bias="int32",
            weighted=frozenset({"Conv", "Gemm", "MatMul"}),
            elementwise=frozenset(
                {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "LeakyRelu"}
                | {"Sigmoid"}
            ),
            passthrough=frozenset(
                {"MaxPool", "Reshape", "Flatten", "Transpose", "Slice", "Squeeze", "Unsqueeze"}
                | {"Resize", "Gather", "Tile", "Expand", "Pad", "Split", "DepthToSpace"}
            ),
            absorbed=frozenset({"Relu", "Clip"}),
            float_output=frozenset({"Gemm", "MatMul"}),
            dynamic=frozenset({"Gemm", "MatMul", "LSTM"}),
            why_not_faster=_why_not_faster,
            why_not_integer=why_not_integer,
        )

    def cautions(self, policy: QuantPolicy) -> tuple[str, ...]:
        """Symmetric activations keep Relu in float; int8 ones have slower kernels on x86."""
        said = []
        if policy.activation.symmetric:
            said.append(
                "symmetric activations: ONNX Runtime absorbs Relu and Clip only at the least "
                "integer, so they stay float between integer kernels"
            )
        if policy.activation.dtype == "int8":
            said.append(
                "int8 activations: ONNX Runtime's fast kernels on x86 take uint8 activations"
            )
        return tuple(said)

    def channel_multiple(self, *, integer: bool) -> int:
        """Blocks of the float kernels hold 8 channels; integer kernels lose below 16."""
        return 16 if integer else 8

    def keep_norms_plain(self, model: ir.Model) -> int:
        """Write Add in front of LayerNormalization as Sum, which is not fused with it.

        The fused kernel, SkipLayerNormalization, reduces element by element: 77 µs of 32 x 384
        numbers in 1.31 on AVX2, where Add and LayerNormalization take 25.
        """
        count = 0
        for node in model.graph:
            made_by = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
            if node.op_type != "LayerNormalization" or made_by is None:
                continue
            if made_by.op_type == "Add" and made_by.domain == "":
                made_by.op_type = "Sum"
                count += 1
        return count

    def build(
        self,
        model: ir.Model,
        directory: Path,
        *,
        samples: Samples | None = None,
        progress: Progress = SILENT,
    ) -> Artifact:
        """Write `model.onnx`, with data beside it above 2 GB, and what it answers to a sample.

        Of a graph that draws random numbers there is nothing to compare an answer with.
        """
        del progress
        path = directory / "model.onnx"
        save_model(model, path)
        files = _files(path)
        if samples is None or drawing_nodes(model):
            return Artifact(path, files)
        with self.open(path, timed=False) as runner:
            stored = write_reference(
                runner, samples.feeds, directory / REFERENCE, largest=LARGEST_REFERENCE
            )
        return Artifact(path, files, {} if stored is None else {"reference": stored})

    def draft(self, model: ir.Model, directory: Path) -> Artifact:
        """The artifact with large weights beside it, which the runtime maps and does not copy."""
        path = directory / "model.onnx"
        save_model(model, path, apart=initializer_bytes(model) >= LARGE)
        return Artifact(path, _files(path))

    def open(self, model: ir.Model | Path, *, threads: int = 1, timed: bool = True) -> OrtRunner:
        """A session of its own."""
        return OrtRunner(model, threads, spin=timed)

    def integer_nodes(self, model: ir.Model | Path) -> tuple[dict[str, int], dict[str, int]]:
        """Save the optimized graph and count its operators: the only proof of what is integer."""
        with scratch() as folder:
            path = Path(folder) / "optimized.onnx"
            open_session(model, optimized_model=path)
            # Not load_model: the optimized graph may point to weights that are gone by now.
            graph = ir.load(path).graph
            counts = Counter(node.op_type for node in graph.all_nodes())
            quantized = _moved_integers(graph)
        integer = {op: n for op, n in counts.items() if _is_integer(op)}
        for op, n in quantized.items():
            integer[op] = integer.get(op, 0) + n
        floating = {
            op: n - quantized.get(op, 0)
            for op, n in counts.items()
            if not _is_integer(op) and n > quantized.get(op, 0)
        }
        return integer, floating


def _why_not_faster(node: ir.Node) -> str | None:
    """The integer kernel gathers a 3-D patch tap by tap, each over the channels of a group.

    With few of them gathering is all it does: 0.1x of float for one channel, 0.2x for 3, 0.7x for
    8, 1.0x for 12, 1.2x for 16 (AVX2). Depthwise kernels do not gather.
    """
    weight = node.inputs[1]
    tensor = None if weight is None else weight.const_value
    if node.op_type != "Conv" or tensor is None or len(tensor.shape) != 5:
        return None
    outputs, channels, *kernel = tensor.shape.numpy()
    groups = node.attributes.get_int("group", 1)
    depthwise = channels == 1 and groups == outputs
    if depthwise or channels >= LEAST_CHANNELS_3D or math.prod(kernel) == 1:
        return None
    return f"a 3-D convolution over {channels} channels is slower as integer"


def why_not_integer(node: ir.Node) -> str | None:
    """What the integer kernels of pools lack: dilations of averages, and indices of maxima.

    Where a window reaches behind the padded input, as it may with `ceil_mode`, the float kernel
    leaves out what is not there, and the integer one divides by the whole window.
    """
    if node.op_type == "MaxPool" and any(value.name for value in node.outputs[1:]):
        return "the integer kernel of MaxPool writes no indices"
    if node.op_type != "AveragePool":
        return None
    attributes = node.attributes
    if any(size != 1 for size in attributes.get_ints("dilations", ())):
        return "the integer kernel of AveragePool knows no dilations"
    steps = any(stride != 1 for stride in attributes.get_ints("strides", ()))
    counts = attributes.get_int("ceil_mode", 0) and attributes.get_int("count_include_pad", 0)
    if steps and counts:
        return "the integer kernel of AveragePool counts the padding of `ceil_mode` otherwise"
    return None


def _is_integer(op: str) -> bool:
    return op.startswith("QLinear") or op in INTEGER_OPERATORS


def _moved_integers(graph: ir.Graph) -> Counter[str]:
    """Operators that move 8-bit values, and products that round what they read to 8 bits."""
    eight_bit: set[str] = set()
    moved: Counter[str] = Counter()
    for node in graph.all_nodes():
        if node.op_type == "MatMulNBits" and node.attributes.get_int("accuracy_level", 0) == 4:
            moved[node.op_type] += 1
        elif _writes_eight_bit(node):
            eight_bit.update(value.name or "" for value in node.outputs)
        elif (
            node.op_type not in BOUNDARY
            and not _is_integer(node.op_type)
            and node.inputs
            and node.inputs[0] is not None
            and node.inputs[0].name in eight_bit
        ):
            eight_bit.update(value.name or "" for value in node.outputs)
            moved[node.op_type] += 1
    return moved


def _files(model: Path) -> tuple[Path, ...]:
    """The model's file and its weights beside it; more may lie there that is none of it."""
    return tuple(sorted(model.parent.glob(f"{model.name}*")))


def _writes_eight_bit(node: ir.Node) -> bool:
    """QGemm writes float unless it is given the scale of its output as eighth input."""
    if node.op_type == "QGemm":
        return len(node.inputs) > 7 and node.inputs[7] is not None
    return node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear")


TARGET = OrtTarget()
