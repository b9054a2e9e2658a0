"""Carries out a plan: the only place where decisions become a model."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import onnx_ir as ir

from compressor.attention.rewriting import with_attention
from compressor.errors import RecipeError
from compressor.exits.branching import with_exits
from compressor.exits.heads import Head
from compressor.graph.fingerprint import fingerprint
from compressor.graph.invariants import check
from compressor.graph.tensors import Arrays
from compressor.graph.writing import with_weights
from compressor.plan.decisions import PrunePlan
from compressor.plan.plan import GraphPlan
from compressor.plan.storage import StoragePlan
from compressor.pruning import Grouping, cut, find_groups
from compressor.pruning.blocks import Shortened, find_blocks, without
from compressor.pruning.reconstruction.patching import patched
from compressor.quantization.bias import restored
from compressor.quantization.cache import Affine, with_integer_caches
from compressor.quantization.dequantizing import dequantizing
from compressor.quantization.dynamic import insert_dynamic
from compressor.quantization.half import halve
from compressor.quantization.own_weights import with_own_weights, with_shared_tables
from compressor.quantization.remainder import halved
from compressor.quantization.smoothing import smoothed
from compressor.quantization.static import quantize_static
from compressor.quantization.storing import store
from compressor.results.precision import EIGHT_BITS, WORDS, Precision
from exporters.base import QuantPolicy, Target
from exporters.base.execution import executed

ROUNDS: Final = 4
"""Accuracy level of stored matrices whose products round what they read to 8 bits."""
_REPLAY = "Replay a plan with the model and the version that it was made with."


def baseline_graph(captured: ir.Model, folded: ir.Model, plan: GraphPlan) -> ir.Model:
    """The float graph that a plan builds on."""
    return captured if plan.baseline == "captured" else folded


def plain_graph(
    baseline: ir.Model, plan: GraphPlan, feeds: Callable[[], Arrays]
) -> tuple[ir.Model, Grouping | None]:
    """The float graph before its precision is decided: pruned, sparse, rewritten and trained.

    Args:
        baseline: The float graph that the plan was made for; it stays as it is.
        plan: What was decided.
        feeds: Inputs of a run, asked for where something is pruned.

    Returns:
        The graph, and the groups that it had before it was pruned; None where it was not.

    Raises:
        RecipeError: The plan names what the graph does not have.
    """
    plain, grouping = baseline, None
    if plan.prune is not None:
        plain, grouping = pruned_graph(plain, plan.prune, feeds())
    if plan.sparse is not None:
        plain = patched(plain, plan.sparse.weights)
    if plan.attention is not None:
        plain = with_attention(plain, plan.attention.layers)
    if plan.trained is not None:
        plain = with_weights(plain, plan.trained.weights)
    return plain, grouping


def decided_graph(plain: ir.Model, plan: GraphPlan, target: Target) -> ir.Model:
    """The float graph that precision is decided for: in the plan's forms, and smoothed.

    Products that read a turned table have their weight (`own_weights`).

    Args:
        plain: The baseline, pruned as the plan says; it stays as it is.
        plan: What was decided.
        target: Whose forms they are.

    Raises:
        RecipeError: The plan names forms, nodes or values that do not fit.
    """
    formed = in_forms(with_own_weights(plain), plan.forms, target)
    return smoothed(formed, restored(plan.smooth)) if plan.smooth else formed


def in_forms(model: ir.Model, forms: Mapping[str, str], target: Target) -> ir.Model:
    """The graph with some nodes in other forms; `model` stays as it is.

    Args:
        model: A float graph.
        forms: Node → name of a form of the target.
        target: Whose forms they are.

    Raises:
        RecipeError: The target has no such form, or it does not fit the node.
    """
    if not forms:
        return model
    known, made = {form.name: form for form in target.forms}, model.clone()
    for node, name in forms.items():
        if name not in known:
            raise RecipeError(
                f"the plan rewrites {node!r} as {name!r}, a form that {target.title} lacks",
                hint=_REPLAY,
            )
        known[name].rewrite(made, node)
    check(made, "rewriting in other forms")
    return made


def realize(baseline: ir.Model, plan: GraphPlan, target: Target) -> ir.Model:
    """The graph that the plan ships; `baseline` stays as it is.

    Args:
        baseline: The float graph that the plan builds on (`baseline_graph`), pruned, rewritten in
            forms and smoothed as it says (`decided_graph`).
        plan: What was decided.
        target: The target whose policy places Q/DQ.

    Raises:
        RecipeError: The plan names nodes or values that the graph does not have.
    """
    made = with_integers(baseline, plan, target)
    made = made if plan.half is None else halved(made, plan.half)
    caches = {name: one.note for name, one in plan.cache.items()}
    queries = {name: Affine(*one.query) for name, one in plan.cache.items() if one.query}
    made = with_integer_caches(made, caches, queries) if caches else made
    made = shared(made, plan, target) if plan.shared else made
    made = made if plan.exits is None else branched(made, plan)
    return made if plan.floats is None else executed(made, floats=plan.floats)


def shared(model: ir.Model, plan: GraphPlan, target: Target) -> ir.Model:
    """With the caches of the plan as buffers; `model` stays as it is.

    Raises:
        RecipeError: The target has none, or the graph has other caches.
    """
    if target.shared_caches is None:
        raise RecipeError(
            f"the plan puts a cache into shared buffers, which {target.title} has no operator for",
            hint=_REPLAY,
        )
    lacking = target.shared_caches.why_not_here()
    if lacking is not None:
        raise RecipeError(
            f"the plan puts a cache into shared buffers: {lacking}",
            hint="Install the runtime that it was made with, which manifest.json names.",
        )
    return target.shared_caches.with_shared_caches(
        model,
        {name: one.scale for name, one in plan.shared.items()},
        {name: one.causal for name, one in plan.shared.items()},
    )


def branched(model: ir.Model, plan: GraphPlan) -> ir.Model:
    """What the plan ships without exits, with them; `model` stays as it is.

    Raises:
        RecipeError: The plan names values that the graph does not have, or lacks weights.
    """
    assert plan.exits is not None, "asked of plans with exits"
    heads, weights = [], plan.exits.weights
    for one in plan.exits.at:
        names = tuple(one.named(np.empty(0), np.empty(0)))
        lacking = next((name for name in names if name not in weights), None)
        if lacking is not None:
            raise RecipeError(
                f"the plan has an exit at {one.value!r} without {lacking!r}", hint=_REPLAY
            )
        weight, bias = (weights[name] for name in names)
        heads.append(
            Head(one.value, one.threshold, weight, bias, one.grid, one.channels_last, one.mask)
        )
    return with_exits(model, heads)


def with_integers(baseline: ir.Model, plan: GraphPlan, target: Target) -> ir.Model:
    """What the plan ships, but for half precision and caches: the rest is float32.

    Raises:
        RecipeError: The plan names nodes or values that the graph does not have.
    """
    if plan.stored is None and plan.ship not in EIGHT_BITS:
        return with_shared_tables(baseline)
    if plan.stored is not None:
        return stored_graph(with_shared_tables(baseline), plan.ship, plan.stored, target)
    policy = planned_policy(plan, target).with_schemes(weight_bits=plan.weight_bits)
    if policy.precision != plan.ship:
        raise RecipeError(
            f"the plan is of {WORDS[plan.ship]}, and {WORDS[policy.precision]} is asked for",
            hint="Replay a plan with the options of the target that it was made with.",
        )
    made = quantize_static(
        with_own_weights(baseline),
        plan.integer,
        plan.ranges,
        policy,
        weight_bits=plan.weight_bits,
        bias=restored(plan.bias),
        rounded=plan.rounded,
    )
    if plan.dynamic:
        dynamic = set(plan.dynamic)
        tied = {name: product for name, product in plan.tied.items() if product in dynamic}
        insert_dynamic(made, plan.dynamic, policy, plan.rounded, rows=plan.rows, tied=tied)
    if plan.plain_norms:
        target.keep_norms_plain(made)
    made = with_shared_tables(made)
    return made if plan.tables is None else with_tables(made, plan.tables)


def with_tables(model: ir.Model, tables: StoragePlan) -> ir.Model:
    """The graph with those embeddings in blocks of integers; `model` stays as it is.

    Raises:
        RecipeError: The plan names embeddings that the graph does not have.
    """
    forms = {name: matrix.form for name, matrix in tables.matrices.items()}
    return store(model, forms, tables.packed, accuracy_level=tables.accuracy_level)


def stored_graph(
    baseline: ir.Model, ship: Precision, stored: StoragePlan, target: Target
) -> ir.Model:
    """The graph with weights in fewer bits; `baseline` stays as it is.

    Raises:
        RecipeError: The plan names weights that the graph does not have.
    """
    if ship in ("fp16", "bf16"):
        return halve(baseline, stored.halved, ship)
    if target.blocks_as == "standard":
        forms = {name: matrix.form for name, matrix in stored.matrices.items()}
        made = dequantizing(baseline, forms, stored.packed)
        rounds = target.rounds_stored and stored.accuracy_level == ROUNDS
        return executed(made, rounds=True) if rounds else made
    return with_tables(baseline, stored)


def planned_policy(plan: GraphPlan, target: Target) -> QuantPolicy:
    """The target's policy with the schemes that the plan decided on."""
    return target.policy(plan.cpu).with_schemes(
        pairs=plan.pairs,
        activation=plan.activation,
        symmetric=plan.symmetric,
        granularity=plan.granularity,
    )


def require_same_graph(captured: ir.Model, plan: GraphPlan) -> None:
    """Refuse a plan that was made for another model.

    Raises:
        RecipeError: The fingerprints differ.
    """
    found = fingerprint(captured)
    if found != plan.graph:
        raise RecipeError(
            f"the plan was made for the graph {plan.graph[:12]}, this model's is {found[:12]}",
            hint="Replay a plan with the checkpoint, inputs and versions that it was made with, "
            "or run without --plan to make a new one.",
        )


def pruned_graph(baseline: ir.Model, plan: PrunePlan, feeds: Arrays) -> tuple[ir.Model, Grouping]:
    """The float graph with what the plan removes removed, and its repaired weights.

    Args:
        baseline: The float graph that the plan was made for; it stays as it is.
        plan: What stays.
        feeds: Inputs of a run, which tell shapes.

    Returns:
        The smaller graph, and the groups that it had before, without the blocks that went.

    Raises:
        RecipeError: The plan names groups, blocks or layers that the graph does not have.
    """
    short = Shortened(baseline)
    for name in plan.blocks:
        block = next((b for b in find_blocks(short.model, feeds) if b.add == name), None)
        if block is None:
            raise RecipeError(
                f"the plan removes the block {name!r}, which the graph lacks", hint=_REPLAY
            )
        short = without(short, block)
    grouping = find_groups(short.model, feeds)
    keep = {}
    for name, kept in plan.kept.items():
        units = next((g.units for g in grouping.groups if g.name == name), 0)
        if not kept or min(kept) < 0 or max(kept) >= units:
            raise RecipeError(
                f"the plan keeps units of the group {name!r} that the graph does not have",
                hint=_REPLAY,
            )
        keep[name] = np.isin(np.arange(units), kept)
    return patched(cut(short.model, grouping, keep), plan.weights), grouping
