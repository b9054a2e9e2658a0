"""A compiled model: the configuration that it is compiled with, and what it executes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compressor.errors import GraphError
from compressor.system.processors import available_processors
from exporters.base.execution import Execution
from exporters.openvino.conversion import converted
from exporters.openvino.runtime import DEVICE, core, reason_of

FLOAT32 = "f32"
GROUP = 32
"""Neighbouring inputs that share a scale where products round what they read: the plugin's own."""
INTEGERS = frozenset({"i8", "u8", "i4", "u4"})
STRUCTURE = frozenset({"Input", "Output", "Const", "Reshape"})
"""Layers that compute nothing."""
CONVERSIONS = frozenset({"Reorder", "FakeQuantize", "Convert"})
"""Layers that only change types or layouts."""
_PRODUCT = "FullyConnected"


@dataclass(frozen=True)
class Layer:
    """A layer as the plugin executes it.

    Attributes:
        name: The plugin's own.
        operator: Its type, in the runtime's words.
        originals: The nodes of the graph that it was made of, the main one first.
        precision: What it computes in: f32, bf16, u8, i8.
        reads: What its first input holds.
    """

    name: str
    operator: str
    originals: tuple[str, ...]
    precision: str
    reads: str | None


def configuration(how: Execution, threads: int) -> dict[str, Any]:
    """The plugin's properties for latency.

    Args:
        how: What the graph's note says.
        threads: Threads of an inference; 0 is all that this process may use.
    """
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads or available_processors(),
        "INFERENCE_PRECISION_HINT": how.floats or FLOAT32,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if how.rounds else 0,
    }


def compiled(model: ir.Model | Path, threads: int, *, counts: bool = False) -> Any:
    """Compile a graph or a file.

    Args:
        model: What to compile.
        threads: As above.
        counts: Whether the time of each layer is counted.

    Raises:
        GraphError: The runtime refuses it.
    """
    with converted(model) as (found, how):
        return compiled_as(found, how, threads, counts=counts)


def compiled_as(found: Any, how: Execution, threads: int, *, counts: bool = False) -> Any:
    """Likewise what is converted already, as long as that lasts."""
    properties = configuration(how, threads) | {"PERF_COUNT": counts}
    try:
        return core().compile_model(found, DEVICE, properties)
    except RuntimeError as error:
        raise GraphError(f"OpenVINO refuses the model: {reason_of(error)}") from error


def layers(found: Any) -> list[Layer]:
    """What a compiled model executes, in order, but for its inputs and constants."""
    made = []
    for node in found.get_runtime_model().get_ordered_ops():
        told = node.get_rt_info()
        operator = told["layerType"].astype(str)
        if operator in STRUCTURE:
            continue
        originals = told["originalLayersNames"].astype(str).split(",")
        made.append(
            Layer(
                name=node.friendly_name,
                operator=operator,
                originals=tuple(name.removesuffix("/WithoutBiases") for name in originals if name),
                precision=told["runtimePrecision"].astype(str),
                reads=_written_by(node),
            )
        )
    return made


def computes_integers(layer: Layer, *, rounds: bool) -> bool:
    """Whether a layer computes in integers.

    The plugin tells the type of the weights of a product, too, where it computes in floats: then
    what it reads decides, or whether it rounds that.
    """
    if layer.precision.lower() not in INTEGERS:
        return False
    if layer.operator != _PRODUCT or layer.reads is None:
        return True
    return rounds or layer.reads.lower() in INTEGERS


def _written_by(node: Any) -> str | None:
    """The type that a node's first input holds."""
    if not node.get_input_size():
        return None
    output = node.input(0).get_source_output()
    told = output.get_node().get_rt_info()
    if "outputPrecisions" not in told:
        return None
    types = told["outputPrecisions"].astype(str).split(",")
    index = output.get_index()
    return str(types[index] if index < len(types) else types[0])
