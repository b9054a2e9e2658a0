"""What a source is known to take before it is captured, so that data can be told from labels."""

from collections.abc import Sequence
from dataclasses import replace

from calibration.dataset import CalibrationSet
from calibration.fields import Signature
from compressor.capture.inputs import named
from compressor.capture.source import ModelSource
from compressor.errors import GraphError
from compressor.graph.hints import opened
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Dimension, TensorSpec


def taken(source: ModelSource, declared: Sequence[TensorSpec]) -> Signature | None:
    """The inputs of a source by its own account, and by `--input`; None where neither tells.

    A graph knows all of its inputs, a module the names of what `forward` takes.
    """
    if source.kind == "onnx":
        assert source.model is not None
        try:
            noted = input_specs(source.model)
        except GraphError:  # capture will say what is wrong
            return None
        own = [replace(spec, shape=opened(spec.shape)) for spec in noted]
        return _complete(own, declared)
    # Only here, so that a job from ONNX never imports torch.
    if source.kind == "exported program":
        from compressor.capture.program import own_specs  # noqa: PLC0415

        return _complete(own_specs(source.program), declared)
    from compressor.capture.binding import signature  # noqa: PLC0415

    return replace(signature(source.module), specs=tuple(map(named, declared)))


def told(data: CalibrationSet, known: Signature | None) -> CalibrationSet:
    """The data, as the inputs that are known of the model take it.

    Raises:
        DataError: Names, types or shapes do not fit.
    """
    if known is None:
        return data
    if known.complete and all(spec.dtype.kind != "O" for spec in known.specs):
        return data.bind(known.specs)
    return data.told(known)


def _complete(own: Sequence[TensorSpec], declared: Sequence[TensorSpec]) -> Signature:
    """A graph's inputs, with the names that `--input` has for sizes they leave open."""
    given = {spec.name: spec for spec in declared}
    specs = tuple(named(_refined(spec, given.get(spec.name, spec))) for spec in own)
    names = tuple(spec.name for spec in specs)
    return Signature(names, len(names), specs=specs, complete=bool(names))


def _refined(own: TensorSpec, declared: TensorSpec) -> TensorSpec:
    if len(own.shape) != len(declared.shape):
        return own  # capture will refuse it

    def one(ours: Dimension, theirs: Dimension) -> Dimension:
        return theirs if isinstance(theirs, str) and not isinstance(ours, int) else ours

    return replace(own, shape=tuple(map(one, own.shape, declared.shape)))
