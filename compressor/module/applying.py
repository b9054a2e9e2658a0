"""A plan's pruning on the module that was compressed, so that training can go on with less."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compressor.capture.outputs import leaves
from compressor.errors import PruningError
from compressor.module.restoring import restore
from compressor.module.slicing import slice_module, zeroed
from compressor.plan.decisions import PrunePlan
from compressor.plan.plan import Plan

TOLERANCE = 1e-4
"""Largest difference relative to the largest magnitude of an output, float32."""


def apply_plan(
    module: nn.Module,
    plan: Plan | str | Path,
    *,
    example: object = None,
    graph: str = "model",
) -> nn.Module:
    """Prune a `torch.nn.Module` as a run pruned its graph: a smaller copy, ready to be trained.

    Channels are removed from every parameter and buffer. Weights that the run repaired are put
    back where they are a layer's own or a layer's and the BatchNorm's behind it, which keeps its γ
    and its running variance (see `compressor.module.restoring`); where all of them are, the module
    computes in evaluation mode what the pruned float graph does.

    Args:
        module: The module that the plan was made for; stays as it is.
        plan: The plan, or the path of a `plan.json`.
        example: Inputs to check the smaller module on: an array or tensor, a tuple of positional
            ones, or a mapping of keyword ones. Its outputs are compared with those of the module
            with zeros in place of what was removed, before repaired weights go in.
        graph: Key of the graph in the plan.

    Returns:
        The copy, in the module's mode. It is as large as the module where the plan prunes nothing.

    Raises:
        RecipeError: `plan` is a path and no plan can be read there.
        PruningError: The plan is not of this module, removes what cannot be removed from outside a
            module's forward, or the smaller module fails or differs on the example.
    """
    decided = Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan
    if graph not in decided.graphs:
        raise PruningError(f"the plan has no graph {graph!r}, but {', '.join(decided.graphs)}")
    if decided.graphs[graph].trained is not None:
        raise PruningError(
            "the plan has weights that were trained on the graph, which a module has no place for",
            hint="Train the module itself after a plan without --train was applied.",
        )
    prune = decided.graphs[graph].prune
    smaller = copy.deepcopy(module)
    if prune is None:
        return smaller
    _require_slices(prune)
    slice_module(smaller, prune.slices, prune.shapes)
    if example is not None:
        _verify(module, smaller, prune, example)
    restore(smaller, prune)
    return smaller


def _require_slices(plan: PrunePlan) -> None:
    if plan.blocks:
        raise PruningError(
            f"the plan removes whole blocks ({', '.join(plan.blocks)}), which a module's own code "
            "would still run",
            hint="Prune again with --no-prune-blocks (in a recipe, prune.blocks = false).",
        )
    if plan.unsliced is not None or (plan.kept and not plan.slices):
        reason = plan.unsliced or "it was made by an earlier version"
        raise PruningError(f"the plan does not say what to remove from a module: {reason}")


def _verify(module: nn.Module, smaller: nn.Module, plan: PrunePlan, example: object) -> None:
    """Compare both on the example.

    Raises:
        PruningError: The smaller module fails or differs.
    """
    same = copy.deepcopy(module)
    zeroed(same, plan.slices)
    expected = _outputs(same, example)
    hint = (
        "The module's forward has sizes of its own. Make it read them from its layers, or leave "
        "what they belong to alone with --prune-leave."
    )
    try:
        found = _outputs(smaller, example)
    except Exception as error:  # whatever a user's forward raises
        line = str(error).strip().splitlines()[:1]
        raise PruningError(
            f"the smaller module fails on the example: {type(error).__name__}: {''.join(line)}",
            hint=hint,
        ) from error
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        if a.shape != b.shape:
            raise PruningError(
                f"output {index} of the smaller module is of shape {list(b.shape)}, "
                f"expected {list(a.shape)}",
                hint=hint,
            )
        gap = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
        if not gap <= TOLERANCE * float(a.double().abs().max() if a.numel() else 0) + 1e-6:
            raise PruningError(
                f"output {index} of the smaller module differs by {gap:.3g} from that of the "
                "module with zeros in place of what was removed",
                hint=hint,
            )


def _outputs(module: nn.Module, example: object) -> list[torch.Tensor]:
    """Tensors that a copy returns in evaluation mode."""
    copied = copy.deepcopy(module).eval()
    with torch.no_grad():
        if isinstance(example, Mapping):
            result = copied(**{name: _tensor(value) for name, value in example.items()})
        elif isinstance(example, tuple | list):
            result = copied(*map(_tensor, example))
        else:
            result = copied(_tensor(example))
    return [leaf for _, leaf in leaves(result) if isinstance(leaf, torch.Tensor)]


def _tensor(value: object) -> object:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
