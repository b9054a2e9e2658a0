"""The stage: constants, no-ops, affine operators and duplicates, checked against the original."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
    RemoveUnusedOpsetsPass,
    TopologicalSortPass,
)

from compressor.errors import CompressorError, GraphError
from compressor.folding.check import equal_outputs
from compressor.folding.constants import fold_constants
from compressor.folding.duplicates import merge_equal_initializers
from compressor.folding.interface import hide_defaults, restore_defaults, restore_outputs
from compressor.folding.rules import fold_affine, simplify, to_gemm
from compressor.folding.zero_bias import remove_zero_biases
from compressor.graph.chatter import silenced
from compressor.graph.inlining import inline
from compressor.graph.invariants import check
from compressor.graph.names import make_unique
from compressor.graph.noise import RANDOM
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Arrays
from compressor.results.effects import effects, node_count
from compressor.results.records import Decision, StageRecord
from compressor.system.stopwatch import Stopwatch

_ROUNDS = 8
"""Times the simplifying steps run at most; they stop when nothing changes, mostly after two."""

_Step = Callable[[ir.Model, Counter[str]], None]


def fold(
    model: ir.Model,
    feeds: Arrays | None = None,
    *,
    rtol: float | None = None,
    atol: float = 1e-5,
) -> tuple[ir.Model, StageRecord]:
    """Fold a model exactly: the same outputs, up to rounding, from fewer operators.

    Functions are inlined, constant nodes computed, no-ops removed, Pad folded into Conv,
    per-channel affine operators (BatchNorm, Mul, Add) into the convolutions and matrix products
    beside them, MatMul and bias made Gemm, equal subexpressions and equal weights merged. Inputs
    that have a default stay overridable; names of inputs and outputs stay. A weight that was
    changed is called `<name>_folded`.

    Args:
        model: The captured model; stays as it is. Weights that do not change are shared.
        feeds: Inputs to check the result on, two samples or so. A step whose result differs is
            left out, and the record says so; without feeds nothing is run.
        rtol: Allowed difference relative to the largest magnitude of each output; 1e-3, or 2e-2
            for a model with half precision weights.
        atol: Allowed absolute difference.

    Returns:
        The folded model (the given one if there was nothing to fold), and the record: `changed`
        counts rules that fired.

    Raises:
        GraphError: The given model is itself broken.
    """
    watch = Stopwatch()
    judge = _Judge(model, feeds, _tolerance(model) if rtol is None else rtol, atol)
    fired: Counter[str] = Counter()
    decisions: list[Decision] = []
    with silenced():
        start = _prepared(model)
        check(start, "capture")
        try:
            folded = _run(start, [step for _, step in _STEPS], fired)
            objection = judge.why_not_equal(folded)
        except Exception as error:  # third-party passes raise whatever their parts raise
            objection = str(error)
        if objection is not None:
            folded, fired, decisions = _carefully(start, judge)
    fired["functions inlined"] += len(model.functions)
    changed = {rule: count for rule, count in fired.items() if count > 0}
    nodes = (node_count(model), node_count(folded))
    record = StageRecord(
        name="fold",
        seconds=watch.seconds,
        parameters={"nodes_before": nodes[0], "nodes_after": nodes[1], **judge.found},
        changed=changed,
        decisions=tuple(decisions),
        notices=judge.notices,
        effects=effects(model, folded if changed else model),
    )
    return (folded if changed else model), record


def tidied(model: ir.Model) -> ir.Model:
    """Compute what depends on no weight and remove no-ops; weights keep their names and values.

    What exporters leave around shapes goes, such as the biases of zeros that they compute for
    convolutions without one. Nothing is folded into a weight.

    Args:
        model: The captured model; stays as it is.

    Raises:
        GraphError: The model cannot be folded.
    """
    with silenced():
        start = _prepared(model)
        given = len(start.graph.inputs)
        # What a caller can override is not folded, so that weights are made such inputs meanwhile.
        start.graph.inputs.extend(filter(_is_weight, start.graph.initializers.values()))
        try:
            result = _run(start, [_simplified, remove_zero_biases], Counter())
        except Exception as error:  # third-party passes raise whatever their parts raise
            raise GraphError(f"the graph cannot be tidied: {error}") from error
        del result.graph.inputs[given:]
    return result


@dataclass
class _Judge:
    """Compares candidates with the original on the feeds, when there are any."""

    original: ir.Model
    feeds: Arrays | None
    rtol: float
    atol: float

    def __post_init__(self) -> None:
        self.found: dict[str, float] = {}
        self.notices: tuple[str, ...] = ()
        random = any(node.op_type in RANDOM for node in self.original.graph.all_nodes())
        if self.feeds is not None and random:
            self.feeds = None
            self.notices = ("folding was not checked by a run: the model draws random numbers",)

    def why_not_equal(self, candidate: ir.Model) -> str | None:
        """Why a candidate cannot stand for the original; None when it can."""
        try:
            check(candidate, "folding")
            if self.feeds is None:
                return None
            difference = equal_outputs(self.original, candidate, self.feeds, self.rtol, self.atol)
        except CompressorError as error:
            return error.message
        except Exception as error:  # the runtime's own classes, unrelated to each other
            return str(error)
        if difference.equal:
            self.found = {"max_absolute_difference": difference.max_abs}
            return None
        return f"output {difference.output!r} differs by {difference.max_abs:.3g}"


def _carefully(start: ir.Model, judge: _Judge) -> tuple[ir.Model, Counter[str], list[Decision]]:
    """Take the steps one by one and leave out those whose result differs."""
    current, fired, decisions = start, Counter[str](), []
    for name, step in _STEPS:
        counted = Counter(fired)
        try:
            candidate = _run(current, [step], counted)
            objection = judge.why_not_equal(candidate)
        except Exception as error:  # third-party passes raise whatever their parts raise
            objection = str(error)
        if objection is None:
            current, fired = candidate, counted
        else:
            decisions.append(Decision(subject=name, verdict="left out", reason=objection))
    return current, fired, decisions


def _prepared(model: ir.Model) -> ir.Model:
    """A copy with functions inlined, names unique and shapes known."""
    copy = model.clone()
    inline(copy)
    make_unique(copy)
    return infer_shapes(copy)


def _run(start: ir.Model, steps: Sequence[_Step], fired: Counter[str]) -> ir.Model:
    """Apply steps to a copy, with the model's interface kept."""
    model = start.clone()
    outputs = [value.name or "" for value in model.graph.outputs]
    hidden = hide_defaults(model)
    for step in steps:
        step(model, fired)
    RemoveUnusedNodesPass()(model)
    RemoveUnusedOpsetsPass()(model)
    TopologicalSortPass()(model)
    restore_outputs(model, outputs)
    restore_defaults(model, hidden)
    make_unique(model)
    return infer_shapes(model)


def _simplified(model: ir.Model, fired: Counter[str]) -> None:
    for _ in range(_ROUNDS):
        before = fired.total()
        fold_constants(model, fired)
        simplify(model, fired)
        _remove_identities(model, fired)
        if fired.total() == before:
            return


def _remove_identities(model: ir.Model, fired: Counter[str]) -> None:
    before = node_count(model)
    IdentityEliminationPass()(model)
    RemoveUnusedNodesPass()(model)
    fired["Identity removed"] += before - node_count(model)


def _merge_equal(model: ir.Model, fired: Counter[str]) -> None:
    merge_equal_initializers(model, fired)
    before = node_count(model)
    CommonSubexpressionEliminationPass()(model)
    fired["equal nodes merged"] += before - node_count(model)


_STEPS: tuple[tuple[str, _Step], ...] = (
    ("constants and no-ops", _simplified),
    ("affine operators into linear ones", fold_affine),
    ("MatMul and Add to Gemm", to_gemm),
    ("biases of zeros", remove_zero_biases),
    ("equal values", _merge_equal),
)


def _is_weight(value: ir.Value) -> bool:
    """Whether an initializer is neither a size nor a single number."""
    tensor = value.const_value
    if tensor is None or value.is_graph_input():
        return False
    return tensor.dtype.is_floating_point() and tensor.size > 1


def _tolerance(model: ir.Model) -> float:
    halves = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    tensors = (v.const_value for v in model.graph.initializers.values())
    return 2e-2 if any(t is not None and t.dtype in halves for t in tensors) else 1e-3
