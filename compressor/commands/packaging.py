"""`--package triton`: the artifact as a model repository of NVIDIA Triton Inference Server.

    triton/NAME/config.pbtxt
    triton/NAME/1/model.onnx

Triton's own batching needs every input and output to have samples along its first axis: then that
axis is left out of the shapes, as `model_configuration.md` of the server asks. Else
`max_batch_size` is 0 and the shapes are whole.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import onnx

from compressor.errors import UsageError
from compressor.graph.batch import BATCH
from compressor.results.report import Report
from compressor.system.quoting import quoted

Package = Literal["triton"]
PACKAGES: tuple[str, ...] = get_args(Package)

_TYPES = {
    "FLOAT": "TYPE_FP32", "FLOAT16": "TYPE_FP16", "BFLOAT16": "TYPE_BF16", "DOUBLE": "TYPE_FP64",
    "INT8": "TYPE_INT8", "INT16": "TYPE_INT16", "INT32": "TYPE_INT32", "INT64": "TYPE_INT64",
    "UINT8": "TYPE_UINT8", "UINT16": "TYPE_UINT16", "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64", "BOOL": "TYPE_BOOL", "STRING": "TYPE_STRING",
}  # fmt: skip
"""ONNX's element types as Triton names them."""

_BATCH = 32
"""Samples that the server may put into one call, where the batch is open."""

Tensor = tuple[str, str, tuple[int, ...], bool]
"""Name, type, sizes with -1 for open ones, and whether the first one counts samples."""


def package(kind: str, report: Report, folder: Path, threads: int) -> tuple[str, ...]:
    """Lay an artifact out for a server, within its folder.

    Args:
        kind: "triton".
        report: The run, for the graphs and their files.
        folder: Holds the artifact.
        threads: Threads of an inference, as speed was measured with.

    Returns:
        The files that were written, from the folder on.

    Raises:
        UsageError: There is no such package, or the artifact is no ONNX file.
    """
    if kind not in PACKAGES:
        raise UsageError(
            f"--package {kind}: there is none", hint=f"There is {', '.join(PACKAGES)}."
        )
    made: list[str] = []
    for role, path in report.files.items():
        if role != "model" and not role.endswith("/model"):
            continue
        source = folder / Path(path).relative_to(report.artifact or "")
        if source.suffix != ".onnx":
            raise UsageError(
                f"--package {kind} is of ONNX files, and the artifact is {source.name}"
            )
        graph = role.removesuffix("/model") if "/" in role else ""
        name = graph or Path(report.artifact or folder).name
        made += _written(folder / kind / name, source, name, threads, folder)
    return tuple(made)


def _written(place: Path, source: Path, name: str, threads: int, folder: Path) -> Iterator[str]:
    (place / "1").mkdir(parents=True)
    beside = [path for path in source.parent.glob(f"{source.name}*") if path != source]
    shared = [path for path in source.parent.glob("*.data") if path not in beside]
    for path in (source, *beside, *shared):
        target = place / "1" / ("model.onnx" if path == source else path.name)
        _linked(path, target)
        yield target.relative_to(folder).as_posix()
    config = place / "config.pbtxt"
    config.write_text(config_of(source, name, threads), encoding="utf-8")
    yield config.relative_to(folder).as_posix()


def _linked(source: Path, target: Path) -> None:
    """The same bytes once, where the file system can; else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def config_of(model: Path, name: str, threads: int) -> str:
    """`config.pbtxt` of an ONNX file.

    Args:
        model: The file.
        name: That of the folder, as the server wants it.
        threads: Threads of an inference.
    """
    graph = onnx.load(str(model), load_external_data=False).graph
    weights = {one.name for one in graph.initializer}
    inputs = [_tensor(one) for one in graph.input if one.name not in weights]
    outputs = [_tensor(one) for one in graph.output]
    batched = all(batch for *_, batch in (*inputs, *outputs))
    lines = [
        f"name: {quoted(name)}",
        'backend: "onnxruntime"',
        f"max_batch_size: {_BATCH if batched else 0}",
    ]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for tensor in tensors:
            lines += _described(kind, tensor, batched=batched)
    if batched:
        lines.append("dynamic_batching { }")
    lines += [
        "instance_group [ { kind: KIND_CPU } ]",
        f'parameters {{ key: "intra_op_thread_count" value: {{ string_value: "{threads}" }} }}',
    ]
    return "\n".join(lines) + "\n"


def _described(kind: str, tensor: Tensor, *, batched: bool) -> Iterator[str]:
    name, dtype, sizes, _ = tensor
    sizes = sizes[1:] if batched else sizes
    yield f"{kind} ["
    yield "  {"
    yield f"    name: {quoted(name)}"
    yield f"    data_type: {dtype}"
    if sizes:
        yield f"    dims: [ {', '.join(map(str, sizes))} ]"
    else:  # a number a sample: the server knows no empty shape
        yield "    dims: [ 1 ]"
        yield "    reshape: { shape: [ ] }"
    yield from ("  }", "]")


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    names: Mapping[int, str] = {number: name for name, number in onnx.TensorProto.DataType.items()}
    dims = list(kind.shape.dim)
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)
    batch = bool(dims) and dims[0].dim_param in (BATCH, "batch_size", "N")
    return value.name, _TYPES.get(names[kind.elem_type], "TYPE_INVALID"), sizes, batch
