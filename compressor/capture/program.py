"""Exported programs: what their inputs are, and how they are called.

Their sizes, dynamic or not, were decided when they were exported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch.utils import _pytree as pytree

from compressor.capture.choice import bind_samples, check_declared
from compressor.capture.inputs import BATCH, TRACED_BATCH, Inputs, sized
from compressor.capture.reference import FlatModule, to_numpy
from compressor.errors import CaptureError
from compressor.graph.tensors import Array, Dimension, TensorSpec


@dataclass(frozen=True)
class ProgramInputs:
    """Inputs of a program, and its own names of dynamic sizes → ours."""

    inputs: Inputs
    symbols: Mapping[str, str]


def flat_program(program: Any, order: Sequence[str]) -> FlatModule:
    """The program's module, called with its tensor inputs; constants among them are filled in.

    Args:
        program: A `torch.export.ExportedProgram`.
        order: What its tensor inputs are called.
    """
    arguments = [spec.arg for spec in _user_inputs(program)]

    def call(module: Any, tensors: Sequence[torch.Tensor]) -> object:
        rest = iter(tensors)
        flat = [next(rest) if _is_tensor(arg) else arg.value for arg in arguments]
        args, kwargs = pytree.tree_unflatten(flat, program.call_spec.in_spec)
        return module(*args, **kwargs)

    # The guards are Python code from the archive, and forbid sizes that were not traced.
    return FlatModule(program.module(check_guards=False), order, call)


def program_inputs(
    program: Any, declared: Sequence[TensorSpec], examples: Mapping[str, Array] | None
) -> ProgramInputs:
    """Inputs of an exported program, with names and arrays from calibration samples.

    A single input binds by position, several by name. Without samples, those serve that the
    program was exported with and carries.

    Raises:
        CaptureError: The program has no tensor inputs, or the samples or what `--input` declares do
            not fit them.
    """
    own, symbols = _own_specs(program)
    if not own:
        raise CaptureError("the exported program has no tensor inputs")
    check_declared(own, _under_own_name(own, declared, examples), "the exported program")
    batch = _traced_batch(program, symbols)
    if not examples:
        return ProgramInputs(sized(own, _own_samples(program, own), batch), symbols)
    bound = bind_samples(own, examples, "the exported program")
    names = list(examples) if len(own) == 1 else [spec.name for spec in own]
    specs = tuple(replace(spec, name=name) for spec, name in zip(own, names, strict=True))
    samples = dict(zip(names, (bound[spec.name] for spec in own), strict=True))
    return ProgramInputs(sized(specs, samples, batch), symbols)


def _under_own_name(
    own: Sequence[TensorSpec],
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
) -> Sequence[TensorSpec]:
    """What is declared, where a single input goes by the name of its samples."""
    if len(own) == len(declared) == 1 and declared[0].name in (examples or {}):
        return [replace(declared[0], name=own[0].name)]
    return declared


def own_specs(program: Any) -> tuple[TensorSpec, ...]:
    """What a program takes, by its own account."""
    return _own_specs(program)[0]


def _own_specs(program: Any) -> tuple[tuple[TensorSpec, ...], dict[str, str]]:
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    symbols = dict[str, str]()
    specs = list[TensorSpec]()
    for spec in _user_inputs(program):
        if not _is_tensor(spec.arg):
            continue
        value = nodes[spec.arg.name].meta["val"]
        shape: list[Dimension] = []
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, int):
                shape.append(dim)
                continue
            ours = BATCH if axis == 0 and not specs else f"{spec.arg.name}_dim{axis}"
            shape.append(symbols.setdefault(str(dim), ours))
        specs.append(TensorSpec(spec.arg.name, _dtype(value.dtype), tuple(shape)))
    return tuple(specs), symbols


def _own_samples(program: Any, own: Sequence[TensorSpec]) -> dict[str, Array]:
    if program.example_inputs is None:
        return {}
    given = pytree.tree_leaves(program.example_inputs)
    tensors = [leaf for leaf in given if isinstance(leaf, torch.Tensor)]
    if len(tensors) != len(own):
        return {}
    return {spec.name: to_numpy(tensor) for spec, tensor in zip(own, tensors, strict=True)}


def _traced_batch(program: Any, symbols: Mapping[str, str]) -> int:
    for symbol, bounds in program.range_constraints.items():
        if symbols.get(str(symbol)) == BATCH:
            # Compared rather than converted: the upper bound may be infinite.
            if bounds.lower > TRACED_BATCH:
                return int(bounds.lower)
            if bounds.upper < TRACED_BATCH:
                return int(bounds.upper)
    return TRACED_BATCH


def _user_inputs(program: Any) -> list[Any]:
    specs = program.graph_signature.input_specs
    return [spec for spec in specs if spec.kind.name == "USER_INPUT"]


def _is_tensor(argument: Any) -> bool:
    return type(argument).__name__ == "TensorArgument"


def _dtype(kind: torch.dtype) -> np.dtype[np.generic]:
    name = str(kind).removeprefix("torch.")
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
