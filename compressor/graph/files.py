"""ONNX files: read with suspicion, written whole or not at all.

A model below protobuf's limit of 2 GB is one file. Above it, the weights lie beside it in
`<stem>.onnx.data` and the model refers to them; `onnx_ir` maps that file into memory, so reading
a large model costs address space rather than memory.
"""

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from compressor.errors import CheckpointError, CompressorError, GraphError, OutputError
from compressor.graph.chatter import silenced
from compressor.graph.notes import without_notes
from compressor.graph.pieces import in_memory, pieces
from compressor.graph.soundness import make_sound

PROTOBUF_LIMIT = 2**31 - 2**24
"""Bytes of weights above which a model is not serialized into one message (2 GB less a margin)."""

_INLINE = 1024
"""Bytes up to which a tensor stays in the model file when the weights lie beside it."""
_LARGE = 2**20
"""Bytes of a weight from which it is not copied into a message that refers to others in files."""

_OWN = "compressor."
"""Begins the keys of our own notes."""
_FIRST_WITHOUT_INITIALIZER_INPUTS = 4


def load_model(path: Path) -> ir.Model:
    """Read an ONNX model, with external data if it has any.

    Models of IR versions before 4, which had to list every initializer among the inputs, are
    brought to version 4 without them: there it would mean that a caller may override the weights.
    Nodes that come before what they read are put behind it.

    Args:
        path: The `.onnx` file. External data must lie inside its folder.

    Raises:
        CheckpointError: The file is not an ONNX model, is damaged, its nodes do not make a graph,
            or a tensor's external data is missing, too short, or lies outside the model's folder.
    """
    try:
        return _loaded(path)
    except CompressorError:
        raise
    except Exception as error:  # the deserializer raises whatever its parts raise, of any depth
        raise CheckpointError(
            f"{path}: the ONNX graph cannot be read: {innermost(error)}"
        ) from error


def _loaded(path: Path) -> ir.Model:
    proto = _parse(path)
    with silenced():
        model = ir.serde.deserialize_model(proto)
    folder = path.resolve().parent
    for tensor in tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            tensor.base_dir = str(folder)
            _check_external(tensor, path, folder)
        elif isinstance(tensor, ir.TensorProtoTensor):
            _check_inline(tensor, path)
    _internalize_attributes(model)
    _drop_own_notes(model)
    if model.ir_version < _FIRST_WITHOUT_INITIALIZER_INPUTS:
        _drop_initializer_inputs(model)
    make_sound(model, str(path))
    return model


def save_model(model: ir.Model, path: Path, *, apart: bool = False) -> None:
    """Write a model: one file, or above 2 GB with its weights in `<stem>.onnx.data` beside it.

    Args:
        model: What to write.
        path: The `.onnx` file.
        apart: Whether the weights lie beside it, whatever their size.

    The same model gives the same bytes. Files are written under other names in the same folder
    and renamed when complete; the model in memory stays as it is and stays valid. Notes of
    exporters, which name paths of the machine that they ran on, are left out.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    data = path.with_name(f"{path.stem}.onnx.data")
    model = without_notes(model)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as aside:
            written = Path(aside) / path.name
            if initializer_bytes(model) < PROTOBUF_LIMIT and not apart:
                with written.open("wb") as file:
                    _write(file, pieces(model))
            else:
                _keep_mapped(model, data)
                _take_small(model)
                with silenced():
                    ir.save(
                        model,
                        written,
                        format="protobuf",
                        external_data=data.name,
                        size_threshold_bytes=_INLINE,
                    )
                (Path(aside) / data.name).replace(data)
            written.replace(path)
    except OSError as error:
        raise OutputError(
            f"{path}: the model cannot be written: {error.strerror or error}",
            hint="check that the folder exists, is writable and has room",
        ) from error


def _write(file: BinaryIO, found: Iterable[bytes]) -> None:
    for piece in found:
        file.write(piece)


def serialize(model: ir.Model) -> bytes:
    """The bytes of a model with every weight inside.

    Raises:
        ValueError: The weights exceed protobuf's limit of 2 GB; use `save_model`.
        GraphError: A value, type or attribute is none that ONNX has.
    """
    if initializer_bytes(model) >= PROTOBUF_LIMIT:
        raise ValueError("a model above 2 GB does not fit into one message")
    if any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors(model)):
        model = model.clone()
        for graph in model.graphs():
            for value in graph.initializers.values():
                if isinstance(value.const_value, ir.ExternalTensor):
                    value.const_value = in_memory(value.const_value)
    return _serialized(model)


def _serialized(model: ir.Model) -> bytes:
    try:
        data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    except Exception as error:  # the serializer raises whatever its parts raise
        raise GraphError(f"the graph cannot be written: {innermost(error)}") from error
    return data


def innermost(error: BaseException) -> BaseException:
    """The error that the others of its chain came from."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return error


def folder_of_weights(model: ir.Model) -> str | None:
    """The one folder that all large weights lie in, in files; None where some do not."""
    found = set()
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                found.add(str(tensor.base_dir))
            elif tensor is not None and tensor.nbytes >= _LARGE:
                return None
    return found.pop() if len(found) == 1 else None


def without_weights(model: ir.Model) -> bytes:
    """The bytes of a model that refers to weights in files, of which small ones go inside."""
    copy = model.clone()
    _take_small(copy)
    return _serialized(copy)


def _take_small(model: ir.Model) -> None:
    """Small weights from files into the model, in place; upstream would unmap what others read."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _INLINE:
                value.const_value = in_memory(tensor)


def initializer_bytes(model: ir.Model) -> int:
    """Bytes of every weight and of every tensor in an attribute; reads no data."""
    return sum(tensor.nbytes for tensor in tensors(model))


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor a model carries: initializers and attributes, of subgraphs and functions too."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
    for node in _nodes(model):
        for attribute in node.attributes.values():
            if attribute.is_ref():
                continue
            if attribute.type == ir.AttributeType.TENSOR:
                yield attribute.as_tensor()
            elif attribute.type == ir.AttributeType.TENSORS:
                yield from attribute.as_tensors()


def _parse(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own DecodeError, which has no type stubs
        raise CheckpointError(
            f"{path}: expected an ONNX model, found bytes that are not one ({error})",
            hint="check that the file is complete; above 2 GB ONNX needs external data",
        ) from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise CheckpointError(f"{path}: expected an ONNX model, found no graph in it")
    for sparse in proto.graph.sparse_initializer:
        proto.graph.initializer.append(_dense(sparse, path))
    del proto.graph.sparse_initializer[:]
    return proto


def _dense(sparse: onnx.SparseTensorProto, path: Path) -> onnx.TensorProto:
    """A sparse initializer with its zeros, as the runtime unpacks it when it loads the model.

    Its indices are of elements `[nnz]`, or of axes `[nnz, rank]`.
    """
    name = sparse.values.name
    try:
        values, indices = (numpy_helper.to_array(one) for one in (sparse.values, sparse.indices))
        if math.prod(sparse.dims) * values.itemsize >= PROTOBUF_LIMIT:
            raise ValueError(f"with its zeros it has the sizes {list(sparse.dims)}, above 2 GB")
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        at = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)
        dense[at] = values
    except (IndexError, MemoryError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the sparse initializer {name!r} is broken: {error}"
        ) from error
    return numpy_helper.from_array(dense, name)


def _check_external(tensor: ir.ExternalTensor, path: Path, folder: Path) -> None:
    where = f"{path}: the external data of tensor {tensor.name!r}"
    location = str(tensor.location)
    target = folder / location
    try:
        inside = not Path(location).is_absolute() and target.resolve().is_relative_to(folder)
        is_file = target.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names beyond any
        raise CheckpointError(
            f"{where} lies at {location!r}, which is no name of a file: {error}",
            hint="export the model again",
        ) from error
    if not location or not inside or ".." in Path(location).parts:
        raise CheckpointError(
            f"{where} lies at {location!r}, outside the folder of the model",
            hint="put the data file into the model's folder (a copy, not a link)",
        )
    if not is_file:
        raise CheckpointError(f"{where} is missing: expected it in {target}")
    state = target.stat()
    if state.st_nlink > 1:
        raise CheckpointError(
            f"{where} has hard links outside the model's control: {target}",
            hint="replace the link by a copy of the file",
        )
    offset = tensor.offset or 0
    length = tensor.nbytes if tensor.length is None else tensor.length
    if length != tensor.nbytes:
        raise CheckpointError(f"{where} should have {tensor.nbytes} bytes and claims {length}")
    if offset < 0 or state.st_size < offset + length:
        raise CheckpointError(
            f"{where} should have {length} bytes at offset {offset}; "
            f"{target} has {state.st_size} bytes",
            hint="the file is incomplete: copy it again",
        )


def _check_inline(tensor: ir.TensorProtoTensor, path: Path) -> None:
    if tensor.dtype.is_string():
        return
    try:
        tensor.numpy()  # a view of the message: costs nothing for raw data
    except Exception as error:  # numpy and onnx_ir raise several kinds
        raise CheckpointError(
            f"{path}: tensor {tensor.name!r} should hold {tensor.dtype.name} of shape "
            f"{list(tensor.shape.numpy())}, which its data does not: {error}"
        ) from error


def _internalize_attributes(model: ir.Model) -> None:
    # Later stages and `serialize` look for external data among initializers only.
    for node in _nodes(model):
        for name, attribute in list(node.attributes.items()):
            if attribute.is_ref() or attribute.type != ir.AttributeType.TENSOR:
                continue
            if isinstance(tensor := attribute.as_tensor(), ir.ExternalTensor):
                node.attributes[name] = ir.AttrTensor(name, in_memory(tensor))


def _drop_own_notes(model: ir.Model) -> None:
    """Notes that stages here leave for each other are of graphs in memory: no file has them."""
    held: list[ir.Node | ir.Value] = []
    for graph in model.graphs():
        held += [*graph.inputs, *graph.initializers.values()]
    for node in _nodes(model):
        held += [node, *node.outputs]
    for part in held:
        for key in [key for key in part.metadata_props if key.startswith(_OWN)]:
            del part.metadata_props[key]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def _drop_initializer_inputs(model: ir.Model) -> None:
    kept = [value for value in model.graph.inputs if not value.is_initializer()]
    model.graph.inputs.clear()
    model.graph.inputs.extend(kept)
    model.ir_version = _FIRST_WITHOUT_INITIALIZER_INPUTS


def _keep_mapped(model: ir.Model, data: Path) -> None:
    # Replacing a file that the model still reads from: a mapping keeps the old content alive.
    for tensor in tensors(model):
        if isinstance(tensor, ir.ExternalTensor) and Path(tensor.path).resolve() == data.resolve():
            tensor.numpy()
