"""Whether a graph in torch computes what it does in ONNX Runtime, before anything is trained.

Every output passes if max |torch - runtime| ≤ 1e-4 · max |runtime|. Of graphs with Q/DQ a value
half-way between two integers may go either way, and does so in both; there the root of the mean
square error is held to 2 % of that of the output.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from compressor.capture.parity import run
from compressor.errors import GraphError
from compressor.evaluation.roles import roles_of
from compressor.graph.session import open_session
from compressor.graph.tensors import Array, Arrays
from compressor.results.training import ParityFigure
from compressor.training.executor import GraphModule
from compressor.training.types import to_tensor

TOLERANCE = 1e-4
QUANTIZED_TOLERANCE = 0.02
LARGE = 500
"""Nodes of which values are asked for at once when the one that departs is looked for."""


@dataclass(frozen=True)
class Departure:
    """The first node that computes something else.

    Attributes:
        node: Its name.
        operator: Its operator.
        error: Relative, of what it computes.
    """

    node: str
    operator: str
    error: float

    def __str__(self) -> str:
        return f"{self.operator} {self.node!r} departs by {self.error:.2g} of its largest value"


def why_not_equal(
    model: ir.Model, calls: Sequence[Arrays], module: GraphModule | None = None
) -> tuple[str | None, tuple[ParityFigure, ...]]:
    """Compare on some calls.

    Args:
        model: The graph.
        calls: Feeds, such as of two batch sizes.
        module: The same in torch; made of the graph without.

    Returns:
        Which node departs, in words, or None; and the figures by call.

    Raises:
        GraphError: torch cannot run the graph.
    """
    made = module or GraphModule(model)
    names = [value.name or "" for value in model.graph.outputs]
    session = open_session(model, integers=False)
    tolerance = tolerance_of(model)
    figures, departed = list[ParityFigure](), False
    for feeds in calls:
        expected = run(session, feeds, names)
        found = torch_run(made, feeds)
        errors = {name: error_of(found[name], expected[name], tolerance) for name in names}
        worst = max(errors, key=lambda name: errors[name])
        batch = next((int(a.shape[0]) for a in feeds.values() if a.ndim), 1)
        figures.append(
            ParityFigure(batch=batch, output=worst, error=errors[worst], tolerance=tolerance)
        )
        if not errors[worst] <= tolerance:
            departed = True
            break
    if not departed:
        return None, tuple(figures)
    found_at = departure(model, feeds, tolerance)
    figure = figures[-1]
    at = f"output {figure.output!r} departs by {figure.error:.2g}"
    return str(found_at) if found_at is not None else at, tuple(figures)


def departure(model: ir.Model, feeds: Arrays, tolerance: float) -> Departure | None:
    """The first node whose output differs; None where each by itself agrees."""
    wanted = [
        (node, value.name)
        for node in model.graph
        for value in node.outputs
        if value.name and (value.uses() or value.is_graph_output()) and value.dtype is not None
    ]
    for start in range(0, len(wanted), LARGE):
        part = wanted[start : start + LARGE]
        names = list(dict.fromkeys(name for _, name in part))
        try:
            expected = run(open_session(watched(model, names), optimize=False), feeds, names)
            found = torch_run(GraphModule(model, outputs=names), feeds)
        except GraphError:
            return None
        for node, name in part:
            error = error_of(found[name], expected[name], tolerance)
            if not error <= tolerance:
                return Departure(node.name or "", node.op_type, error)
    return None


def watched(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """The graph with some of its values as outputs, beside its own."""
    copy = model.clone()
    known = {value.name: value for node in copy.graph for value in node.outputs}
    present = {value.name for value in copy.graph.outputs}
    copy.graph.outputs.extend(
        known[name] for name in names if name not in present and name in known
    )
    return copy


def tolerance_of(model: ir.Model) -> float:
    """What a graph is held to."""
    rounds = ("QuantizeLinear", "MatMulNBits")  # the latter may round what it reads, too
    quantized = any(node.op_type.endswith(rounds) for node in model.graph.all_nodes())
    return QUANTIZED_TOLERANCE if quantized else TOLERANCE


def torch_run(module: GraphModule, feeds: Arrays) -> dict[str, Array]:
    """What a graph in torch makes of some arrays."""
    with torch.no_grad():
        found = module({name: to_tensor(array) for name, array in feeds.items()})
    return {name: _array(tensor) for name, tensor in found.items()}


def has_gradients(model: ir.Model, module: GraphModule, feeds: Arrays) -> bool:
    """Whether any answer of a graph, not a state alone, changes by little where its weights do.

    Args:
        model: The graph.
        module: The same in torch, with weights that are trained.
        feeds: A call.
    """
    states = roles_of(model).states
    with torch.enable_grad():
        made = module({name: to_tensor(array) for name, array in feeds.items()})
    return any(tensor.requires_grad for name, tensor in made.items() if name not in states)


def error_of(found: Array, expected: Array, tolerance: float) -> float:
    """Relative; infinite where shapes differ, or one is no number where the other is."""
    if found.shape != expected.shape:
        return float("inf")
    a, b = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return float("inf")
    a, b = a[finite], b[finite]
    if not a.size:
        return 0.0
    if tolerance == QUANTIZED_TOLERANCE:
        scale = float(np.sqrt(np.mean(a**2)))
        error = float(np.sqrt(np.mean((a - b) ** 2)))
    else:
        scale, error = float(np.abs(a).max()), float(np.abs(a - b).max())
    return error / scale if scale else (0.0 if error < 1e-6 else float("inf"))


def _array(tensor: torch.Tensor) -> Array:
    held = tensor.detach().cpu()
    return (held.float() if held.dtype is torch.bfloat16 else held).numpy()
