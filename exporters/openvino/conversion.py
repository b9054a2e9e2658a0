"""Between graphs, the runtime's models, and files of its IR."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compressor.errors import GraphError
from compressor.graph.files import initializer_bytes, save_model, serialize
from compressor.graph.session import LARGE
from compressor.system.scratch import scratch
from exporters.base.execution import Execution
from exporters.openvino.runtime import core, reason_of

SUFFIX = ".xml"
_NUMBERED = re.compile(r"(\w+?)_\d+")
NOTE = ["compressor", "execution"]
"""Where the IR has the note of `exporters.base.execution`."""


@contextmanager
def converted(model: ir.Model | Path) -> Iterator[tuple[Any, Execution]]:
    """The runtime's model of a graph or a file, and how it is to be executed.

    Large weights are mapped from a file, which lies there until the context ends.

    Raises:
        GraphError: The runtime refuses it: it lacks an operator, say; the message has its words.
    """
    if isinstance(model, Path):
        yield _read(str(model))
        return
    if initializer_bytes(model) < LARGE:
        found, _ = _read(io.BytesIO(serialize(model)))
        yield named(found, model), Execution.of(model)
        return
    with scratch() as folder:
        path = Path(folder) / "model.onnx"
        save_model(model, path, apart=True)
        found, _ = _read(str(path))
        yield named(found, model), Execution.of(model)


def save_ir(model: ir.Model, path: Path) -> None:
    """Write `path`, which ends in .xml, and the weights beside it in a .bin.

    Weights keep their type: by itself the runtime would store those of float32 in half.

    Raises:
        GraphError: The runtime refuses the graph.
    """
    import openvino  # noqa: PLC0415 - heavy: only jobs that execute pay for it

    with converted(model) as (found, how):
        _rename(found, model)
        found.set_rt_info(how.text, NOTE)
        openvino.save_model(found, path, compress_to_fp16=False)


def named(found: Any, model: ir.Model) -> Any:
    """The runtime's model with the graph's names for its outputs, where it knows several."""
    for output, value in zip(found.outputs, model.graph.outputs, strict=True):
        if len(output.names) > 1 and value.name and value.producer() is not None:
            output.tensor.set_names({value.name})
    return found


def _rename(found: Any, model: ir.Model) -> None:
    """Number what the runtime made itself anew: it counts on from model to model of a process."""
    known = {node.name for node in model.graph.all_nodes()}
    known |= {value.name for node in model.graph.all_nodes() for value in node.outputs}
    known |= {value.name for value in (*model.graph.inputs, *model.graph.initializers.values())}
    for index, operation in enumerate(found.get_ordered_ops()):
        name = operation.get_friendly_name()
        if name not in known and (numbered := _NUMBERED.fullmatch(name)):
            made = f"{numbered[1]}__{index}"
            operation.set_friendly_name(f"{made}_" if made in known else made)


def _read(source: Any) -> tuple[Any, Execution]:
    try:
        found = core().read_model(source)
    except RuntimeError as error:
        raise GraphError(f"OpenVINO refuses the model: {reason_of(error)}") from error
    has_note = found.has_rt_info(NOTE)
    note = found.get_rt_info(NOTE).astype(str) if has_note else None
    return found, Execution() if note is None else Execution.parsed(note)
