"""The rewrite rules of folding, upstream's and ours, applied with a count of what fired.

Left out of upstream's default set: the neutral arithmetic (takes 1e-9 for 0), BatchNorm folding
(see `affine_after`), the removal of zero biases (gains nothing, loses the node's name), Flatten to
Reshape (hides the operator), `auto_pad` to explicit pads (forgets dilations) and Slice to Split
(needs opset 18).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import IdentityEliminationPass, RemoveUnusedNodesPass
from onnxscript.rewriter import RULE_NAME_TAG, RewriteRule, RewriteRuleSet
from onnxscript.rewriter._pattern_ir import StringConstantPattern
from onnxscript.rewriter.rules import common

from compressor.folding import affine_after, affine_before, gemm, no_ops, pooling
from compressor.graph.initializers import FreeNames


@dataclass(frozen=True)
class _Family:
    """Upstream's rules of one purpose; `opset` is the first that has what they write."""

    rules: tuple[RewriteRule, ...]
    opset: int = 7


_UPSTREAM: Mapping[str, _Family] = {
    "Cast removed or merged": _Family((common.no_op_cast_rule, common.cast_cast_rule)),
    "Expand removed": _Family((common.no_op_expand_rule,)),
    "Transpose removed or merged": _Family(
        (common.no_op_transpose_rule, common.transpose_transpose_rule)
    ),
    "Slice of everything removed": _Family(
        (common.collapse_slice_rule, common.collapse_slice2_rule)
    ),
    "Reshape merged": _Family((common.squeeze_reshape_1d_rule, common.reshape_reshape_rule)),
    "Unsqueeze merged": _Family((common.unsqueeze_unsqueeze_rule,), opset=13),
    "Reshape to a constant shape": _Family((common.materialize_reshape_shape_rule,), opset=14),
    "Reshape around MatMul removed": _Family(
        (common.two_reshapes_matmul_reshape_rule, common.one_reshape_matmul_reshape_rule)
    ),
    "Cast of ConstantOfShape merged": _Family(
        (common.cast_constant_of_shape_rule, common.cast_constant_of_shape_without_value_rule)
    ),
    "ScatterND over everything removed": _Family(
        (common.no_op_static_scatter_nd_rule, common.no_op_dynamic_scatter_nd_rule)
    ),
    "Dropout removed": _Family((common.dropout_zero_rule, common.dropout_inference_rule)),
    "Min and Max to Clip": _Family(
        (common.min_min_rule, common.max_max_rule, common.min_max_rule, common.max_min_rule),
        opset=12,
    ),
    "Relu and Clip merged": _Family(
        (
            *(common.successive_relu_rule, common.successive_clip_rule),
            *(common.successive_clip_relu_rule, common.successive_relu_clip_rule),
        ),
        opset=11,
    ),
    "Pad+Conv": _Family((common.fuse_pad_into_conv_rule,), opset=11),
}


def simplify(model: ir.Model, fired: Counter[str]) -> None:
    """Remove what changes nothing and merge what is one operator in two, in place."""
    opset = model.opset_imports.get("", 0)
    families = {label: family for label, family in _UPSTREAM.items() if opset >= family.opset}
    labelled = [(rule, label) for label, family in families.items() for rule in family.rules]
    own = [(rule, str(rule.name)) for rule in (*no_ops.rules(), *pooling.rules())]
    _apply(model, [*labelled, *own], fired)


def fold_affine(model: ir.Model, fired: Counter[str]) -> None:
    """Fold per-channel affine operators into the linear ones beside them, in place.

    Behind before in front: a BatchNorm between two convolutions belongs to the first.
    """
    for rules in (affine_after.rules(), affine_before.rules()):
        labelled = [(rule, str(rule.name)) for rule in rules]
        while _apply(model, labelled, fired):
            pass
    for name, value in list(model.graph.initializers.items()):
        numbered = re.fullmatch(r"(.*_folded)_\d+", name)  # folded twice, the first is gone
        if numbered and numbered[1] not in model.graph.initializers:
            value.name = numbered[1]


def to_gemm(model: ir.Model, fired: Counter[str]) -> None:
    """Make MatMul and a bias one Gemm where their rank is 2, in place."""
    _apply(model, [(rule, str(rule.name)) for rule in gemm.rules()], fired)


class _Recorded:
    """A rule whose successes are counted, and whose new initializers get names of their own."""

    def __init__(self, rule: RewriteRule, label: str, fired: Counter[str]) -> None:
        self._rule = rule
        self._label = label
        self._fired = fired
        self._ends_in = _last_operator(rule)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)

    def try_rewrite(self, model: ir.Model, graph: Any, node: ir.Node, **options: Any) -> Any:
        """Apply the rule at one node: what to put there, or None."""
        if self._ends_in not in (None, node.op_type):
            return None  # what matching would say, which takes a while for each of so many rules
        try:
            delta = self._rule.try_rewrite(model, graph, node, **options)
        except Exception:  # upstream's rules take types and inputs for granted that may be missing
            return None
        if delta is None:
            return None
        # Upstream names them after the input: two Clips of one value would share their bounds.
        names = FreeNames(graph.initializers if isinstance(graph, ir.Graph) else (), first=1)
        for value in delta.new_initializers:
            value.name = names.take(value.name or "constant")
        self._fired[self._label] += 1
        return delta


def _apply(model: ir.Model, rules: Iterable[tuple[RewriteRule, str]], fired: Counter[str]) -> int:
    recorded: list[Any] = [_Recorded(rule, label, fired) for rule, label in rules]
    count = RewriteRuleSet(recorded).apply_to_model(model)
    if count:
        IdentityEliminationPass()(model)
        RemoveUnusedNodesPass()(model)
        for node in model.graph.all_nodes():
            node.metadata_props.pop(RULE_NAME_TAG, None)
    return count


def _last_operator(rule: RewriteRule) -> str | None:
    """The operator at which a rule's pattern is matched first; None where that is not one name."""
    ends = rule._target_pattern.output_nodes
    operator = ends[0].op if ends else None
    return str(operator) if isinstance(operator, StringConstantPattern) else None
