"""What capture starts from: a model as the user gave it, of one of four kinds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir

from compressor.graph.tensors import TensorSpec

SourceKind = Literal["onnx", "exported program", "torchscript", "module"]


@dataclass(frozen=True)
class ModelSource:
    """A model before capture. Which of `model`, `program` and `module` is set follows from `kind`.

    The torch objects are typed `Any`, so that a job from ONNX needs no torch.

    Attributes:
        kind: What it is.
        description: Its name in messages and the report: the path, or the class of a live module.
        path: The checkpoint; None for a live object.
        model: The model, of kind "onnx".
        program: The program, of kind "exported program": a `torch.export.ExportedProgram`.
        module: A `torch.nn.Module` of kind "module", a `ScriptModule` of kind "torchscript".
        notices: What loading did that the user should know.
        inputs: What a module takes, where what it came from tells; `--input` goes before it.
    """

    kind: SourceKind
    description: str
    path: Path | None = None
    model: ir.Model | None = None
    program: Any = None
    module: Any = None
    notices: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
