"""The original, which answers in ONNX Runtime, and the values inside that both graphs have."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import onnx_ir as ir
import torch

from compressor.graph.constants import constant
from compressor.graph.session import open_session
from compressor.graph.tensors import Arrays
from compressor.training.executor import GraphModule
from compressor.training.parity import torch_run, watched
from compressor.training.types import to_tensor

_NORMS = (
    "LayerNormalization",
    "RMSNormalization",
    "SimplifiedLayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "BatchNormalization",
)


class Teacher:
    """The original graph with some of its inner values beside its outputs."""

    def __init__(self, model: ir.Model, features: Sequence[str] = (), *, threads: int = 1) -> None:
        """Open it.

        Args:
            model: The original.
            features: Values inside that are asked for, too.
            threads: Of the runtime.
        """
        self._names = [value.name or "" for value in model.graph.outputs]
        self._names += [name for name in features if name not in self._names]
        self._session = open_session(
            watched(model, list(features)), threads=threads, spin=False, integers=False
        )
        self._fed = {value.name for value in self._session.get_inputs()}

    def __call__(self, feeds: Arrays) -> dict[str, torch.Tensor]:
        """What it makes of some inputs, by name."""
        given = {name: array for name, array in feeds.items() if name in self._fed}
        made = self._session.run(self._names, given)
        return {name: to_tensor(array) for name, array in zip(self._names, made, strict=True)}


def matched(
    student: ir.Model, teacher: ir.Model, feeds: Arrays, patterns: Sequence[str] = ()
) -> tuple[str, ...]:
    """Inner values that both graphs compute in the same shape.

    By default those are residual sums, of two values that are computed, and what norms write.

    Args:
        student: The graph that is trained.
        teacher: The original.
        feeds: One call, which tells shapes.
        patterns: Names to take instead.
    """
    outputs = {value.name for value in student.graph.outputs}
    known = _floats(teacher)
    wanted = [
        name
        for name, node in _floats(student).items()
        if name in known and name not in outputs and _is_wanted(name, node, patterns)
    ]
    if not wanted:
        return ()
    found = torch_run(GraphModule(student, outputs=wanted), feeds)
    expected = Teacher(teacher, wanted)(feeds)
    return tuple(name for name in wanted if found[name].shape == tuple(expected[name].shape))


def _floats(model: ir.Model) -> dict[str, ir.Node]:
    """What the graph computes in float, by name, and the node that does."""
    return {
        value.name: node
        for node in model.graph
        for value in node.outputs
        if value.name and value.dtype in (ir.DataType.FLOAT, None) and value.uses()
    }


def _is_wanted(name: str, node: ir.Node, patterns: Sequence[str]) -> bool:
    if patterns:
        return any(fnmatchcase(name, pattern) for pattern in patterns)
    if node.op_type in _NORMS:
        return name == node.outputs[0].name
    return node.op_type == "Add" and all(
        value is not None and constant(value) is None and value.producer() is not None
        for value in node.inputs
    )
