"""Torch's two exporters, each from a flat module to an `onnx_ir` model.

Neither may fold BatchNorm into convolutions: weights must keep their meaning under their names
until our own recorded folding. So the torch.export-based exporter runs with `optimize=False`, and
the TorchScript-based one with training mode "preserve", whose other modes fold.

Inputs and outputs bear placeholder names here; `finishing` gives them theirs.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import onnx_ir as ir
import torch

from compressor.capture.inputs import Inputs
from compressor.capture.reference import FlatModule, to_torch
from compressor.system.scratch import scratch

INPUT = "captured_input_{}"
OUTPUT = "captured_output_{}"

TORCHSCRIPT_OPSETS = (9, 20)
"""The opsets that the TorchScript-based exporter is tested for."""

TORCH_EXPORT_OPSET = 18
"""The opset that the torch.export-based exporter implements; it converts to higher ones."""


def export_module(
    flat: FlatModule, order: Sequence[str], inputs: Inputs, outputs: int, opset: int
) -> ir.Model:
    """Capture with the torch.export-based exporter.

    Args:
        flat: The module.
        order: Names of the inputs, in the order of its parameters.
        inputs: Their shapes, of which names are dynamic, and arrays.
        outputs: How many there are.
        opset: The opset wanted; the result may have another.
    """
    # Named sizes must be free of each other, which sums are not: those are left to the exporter.
    plain = len(inputs.symbols) == 1
    symbols = {name: torch.export.Dim(name) if plain else torch.export.Dim.AUTO
               for axes in _dynamic_axes(order, inputs) for name in axes.values()}  # fmt: skip
    shapes = _dynamic_axes(order, inputs)
    dynamic = tuple({axis: symbols[name] for axis, name in axes.items()} for axes in shapes)
    program: Any = torch.onnx.export(
        flat,
        _tensors(order, inputs),
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=max(opset, TORCH_EXPORT_OPSET),
        input_names=[INPUT.format(i) for i in range(len(order))],
        output_names=[OUTPUT.format(i) for i in range(outputs)],
        dynamic_shapes=(dynamic,) if symbols else None,
    )
    return cast(ir.Model, program.model)


def export_program(program: Any, opset: int) -> ir.Model:
    """Translate an exported program."""
    translated: Any = torch.onnx.export(
        program,
        dynamo=True,
        optimize=False,
        verbose=False,
        opset_version=max(opset, TORCH_EXPORT_OPSET),
    )
    return cast(ir.Model, translated.model)


def export_torchscript(
    flat: FlatModule, order: Sequence[str], inputs: Inputs, outputs: int, opset: int
) -> ir.Model:
    """Capture with the TorchScript-based exporter; arguments as of `export_module`.

    What holds a `ScriptModule` is traced first, as the exporter itself cannot trace it: its
    control flow survives, and its dicts and lists become plain outputs.
    """
    tensors = _tensors(order, inputs)
    exported: Any = flat
    if any(isinstance(part, torch.jit.ScriptModule) for part in flat.modules()):
        exported = _traced(flat, tensors)
    names = [INPUT.format(i) for i in range(len(order))]
    axes: Mapping[str, Mapping[int, str]] = dict(
        zip(names, _dynamic_axes(order, inputs), strict=True)
    )
    with scratch() as folder:
        path = Path(folder) / "model.onnx"  # a file, as weights above 2 GB go beside it
        torch.onnx.export(
            exported,
            tensors,
            str(path),
            dynamo=False,
            opset_version=min(max(opset, TORCHSCRIPT_OPSETS[0]), TORCHSCRIPT_OPSETS[1]),
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=names,
            output_names=[OUTPUT.format(i) for i in range(outputs)],
            dynamic_axes={name: dict(found) for name, found in axes.items() if found},
        )
        model = ir.load(path)
        return ir.external_data.load_to_model(model)


def _traced(flat: FlatModule, tensors: tuple[torch.Tensor, ...]) -> Any:
    try:
        return torch.jit.trace(flat, tensors, check_trace=False)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return flat.source  # a frozen module cannot be part of a trace: export it as it is


def _tensors(order: Sequence[str], inputs: Inputs) -> tuple[torch.Tensor, ...]:
    arrays = inputs.arrays()
    return tuple(to_torch(arrays[name]) for name in order)


def _dynamic_axes(order: Sequence[str], inputs: Inputs) -> list[dict[int, str]]:
    shapes = {spec.name: spec.shape for spec in inputs.specs}
    return [
        {axis: size for axis, size in enumerate(shapes[name]) if isinstance(size, str)}
        for name in order
    ]
