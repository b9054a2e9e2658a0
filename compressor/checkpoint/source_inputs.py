"""What a source tells of its inputs, and what its data is read by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from calibration.encoders.base import Encoders
from calibration.encoders.finding import picture_fields
from calibration.fields import Signature
from compressor.capture.inputs import named
from compressor.capture.source import ModelSource
from compressor.graph.tensors import Dimension, TensorSpec


def told_by(source: ModelSource, encoders: Encoders) -> Encoders:
    """The encoders, with what only the model itself tells: the same where it tells nothing.

    A graph may have the number of tokens baked in; a module of timm says by its `pretrained_cfg`
    how pictures are made, and what its classes are called.
    """
    length = _text_length(source)
    if length is not None and encoders.text is not None:
        return replace(encoders, text=encoders.text.of_length(length))
    own = getattr(source.module, "pretrained_cfg", None)
    if encoders.images is None and isinstance(own, Mapping):
        names = own.get("label_names")
        labels = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
        images = picture_fields({"pretrained_cfg": own})
        return replace(encoders, images=images, labels=encoders.labels or labels)
    return encoders


def _text_length(source: ModelSource) -> int | None:
    """The number of tokens that a graph has baked in; None where it takes any, or no tokens."""
    if source.model is None:
        return None
    for value in source.model.graph.inputs:
        if value.name == "input_ids" and value.shape is not None and len(value.shape) == 2:
            size = value.shape[1]
            return size if isinstance(size, int) and size > 0 else None
    return None


def called_by(
    source: ModelSource, asked: Sequence[TensorSpec], data: CalibrationSet | None
) -> Signature | None:
    """The inputs under the names that a source has for them, as far as the data has them.

    A single array is the first input, whatever its name: a folder of pictures has `image`, and the
    model `pixel_values`. None where the source does not tell, or `--input` does.
    """
    if data is None or asked or not source.inputs:
        return None
    fed = {spec.name for spec in data.fields}
    own = [spec for spec in source.inputs if spec.name in fed]
    if not own and len(fed) == 1:
        own = list(source.inputs[:1])
    if not own:
        return None
    specs = tuple(named(replace(spec, shape=_lengths(spec))) for spec in own)
    names = tuple(spec.name for spec in specs)
    return Signature(names, len(names), specs=specs, complete=True)


def own_inputs(
    source: ModelSource, asked: Sequence[TensorSpec], example: Batch | None = None
) -> Iterator[TensorSpec]:
    """What a source says of its inputs, where `--input` does not, and as far as data has them."""
    given = {spec.name for spec in asked}
    fed = {} if example is None else {name: a.shape for name, a in example.inputs.items()}
    for spec in source.inputs:
        shape = fed.get(spec.name, ())
        if spec.name in given or (fed and len(shape) != len(spec.shape)):
            continue
        if not fed:
            yield spec
            continue
        sizes = zip(spec.shape, shape, strict=True)
        yield replace(spec, shape=tuple(own if isinstance(own, str) else n for own, n in sizes))


def _lengths(spec: TensorSpec) -> tuple[Dimension, ...]:
    """The shape with what is open alone: sizes that the data has are the data's."""
    return tuple(size if isinstance(size, str) else None for size in spec.shape)
