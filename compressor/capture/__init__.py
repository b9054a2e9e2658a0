"""From a source to an equivalent ONNX graph, unfolded and with a check of its numbers."""

from collections.abc import Mapping, Sequence

from compressor.capture.captured import Captured
from compressor.capture.finishing import OLDEST_OPSET
from compressor.capture.onnx_source import capture_onnx
from compressor.capture.source import ModelSource
from compressor.graph.batch import BatchAxis
from compressor.graph.tensors import Array, TensorSpec


def capture(
    source: ModelSource,
    *,
    inputs: Sequence[TensorSpec] | None,
    examples: Mapping[str, Array] | None,
    axes: Mapping[str, BatchAxis | None] | None = None,
    varied: frozenset[str] = frozenset(),
    opset: int,
    least_opset: int = OLDEST_OPSET,
) -> Captured:
    """Capture a source as an ONNX graph.

    Names, shapes and types of the inputs come from `examples` where there are any, else from the
    source if it knows them, else from `inputs`. The batch is dynamic where the model allows it.
    What computes in float16 is made to compute in float32; inputs and outputs keep their types. The
    graph is run in ONNX Runtime and compared with the source at two batch sizes.

    Args:
        source: What `load_checkpoint` or `source_of` returns. Live objects are not changed.
        inputs: What `--input` declares; names in shapes are dynamic sizes, equal names equal
            sizes. With `examples`, only what they say of dynamic sizes counts.
        examples: Real samples, name → array.
        axes: The axis along which they lie in each; the first, and in none that has another
            length there, where it is not said.
        varied: The dynamic sizes of which the data has other values as well.
        opset: The graph gets at least this opset where a converter brings it there; ONNX sources
            keep theirs from `least_opset` on.
        least_opset: The lowest that an ONNX source may keep, where a converter can raise it.

    Raises:
        CaptureError: The inputs are unknown or do not fit; the source fails on them or is not
            deterministic; no exporter makes a graph that agrees with it; or an ONNX source is
            broken.
    """
    declared = tuple(inputs or ())
    if source.kind == "onnx":
        return capture_onnx(source, declared, examples, opset, least_opset)
    # Only here, so that a job from ONNX never imports torch.
    from compressor.capture.torch_source import capture_torch  # noqa: PLC0415

    return capture_torch(source, declared, examples, axes, varied, opset)


__all__ = ["Captured", "capture"]
