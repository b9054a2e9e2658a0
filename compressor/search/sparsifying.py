"""2:4 sparse weights where they were asked for, held against the budget where there is one.

What they gain depends on the GPU; here it is only seen to that the pattern is there, that it costs
as little as it can, and that whoever set a budget gets what keeps it.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir
from threadpoolctl import threadpool_limits

from calibration.dataset import CalibrationSet
from compressor.errors import RecipeError
from compressor.graph.effects import weight_effect
from compressor.plan import SparsePlan
from compressor.pruning.groups import Grouping
from compressor.pruning.layers import Layer, layers_of
from compressor.pruning.patching import patch_of, patched
from compressor.pruning.reconstruction import MEMORY, SPARSE, Repair, repair
from compressor.pruning.sparsity import ineligible
from compressor.recipe import Recipe
from compressor.records import Decision, StageRecord
from compressor.report.schema import Candidate
from compressor.search.bench import Bench
from compressor.search.decided import Decided
from compressor.search.judging import Judging
from compressor.search.storing import STORED
from exporters.base import Target

STAGE = "2:4 sparsity"
SAMPLES = 512
"""That weights are refitted on, at most."""


def require_sparsity(recipe: Recipe, target: Target) -> None:
    """Refuse a pattern of zeros that no kernel would skip.

    Raises:
        RecipeError: It was asked for, and the target or the precision cannot use it.
    """
    asked = recipe.prune.sparsity
    if asked is None:
        return
    if asked not in target.sparsities:
        raise RecipeError(
            f"--sparsity {asked} is not for the target {target.name!r}, which has no kernels that "
            "skip zeros",
            hint="Pass --target trt, or prune whole channels with --prune.",
        )
    if recipe.quantize.mode in STORED:
        raise RecipeError(
            f"--sparsity {asked} and weights in {recipe.quantize.mode} contradict each other: "
            "kernels that read weights in fewer bits skip no zeros",
            hint="Choose one.",
        )


def with_sparsity(
    bench: Bench, start: Decided, data: CalibrationSet | None, judging: Judging | None = None
) -> Decided:
    """The float graph with the pattern in every layer that can have it, where that was asked for.

    Layers are refitted in order on what the sparse graph feeds them, to what the graph made before,
    those that stay dense and norms too where that helps.

    Args:
        bench: The target, and what is asked for.
        start: The float graph that was decided on.
        data: Calibration samples.
        judging: The quality budget; where it refuses the sparse graph, the dense one stays. None
            accepts any quality.

    Raises:
        RecipeError: There is no calibration data.
    """
    asked = bench.recipe.prune.sparsity
    if asked is None:
        return start
    if data is None:
        raise RecipeError(
            f"--sparsity {asked} needs calibration data to choose and refit what stays",
            hint="Pass --calib DATA, without --stats: statistics are of the whole graph.",
        )
    started, layers = time.perf_counter(), layers_of(start.graph)
    dense = _dense(layers, bench.target)
    eligible = frozenset(layers) - set(dense)
    left = tuple(
        Decision(subject=name, verdict="not eligible", reason=why) for name, why in dense.items()
    )
    share = f"{len(eligible)} of {len(layers)} layers are eligible"
    if not eligible:
        nothing = Decision(subject=SPARSE, verdict="dense", reason=share)
        seconds = time.perf_counter() - started
        record = StageRecord(name=STAGE, seconds=seconds, decisions=(nothing, *left))
        return replace(start, records=(*start.records, record))
    sparse, plan, fitted = _refitted(bench, start.graph, eligible, data)
    candidate = _tried(bench, sparse, judging)
    kept = candidate is None or candidate.accepted is True
    why = "as asked for" if candidate is None else candidate.reason
    verdict = Decision(
        subject=SPARSE, verdict="kept" if kept else "refused: dense", reason=f"{share}; {why}"
    )
    update = {
        "seconds": time.perf_counter() - started,
        "changed": {"2:4 sparse layers": len(plan.layers) if kept else 0},
        "decisions": (verdict, *fitted.decisions, *left),
        "effects": (weight_effect(start.graph, sparse),),
    }
    told = replace(
        start,
        records=(*start.records, fitted.model_copy(update=update)),
        candidates=() if candidate is None else (candidate,),
    )
    if not kept:
        return told
    chosen = start.plan.model_copy(update={"sparse": plan})
    return replace(told, shipped=sparse, sparse=sparse, plan=chosen)


def _dense(layers: Mapping[str, Layer], target: Target) -> dict[str, str]:
    """Layer → why it stays dense."""
    reasons = {
        name: ineligible(layer) or target.stays_dense(layer.node) for name, layer in layers.items()
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _refitted(
    bench: Bench, model: ir.Model, eligible: frozenset[str], data: CalibrationSet
) -> tuple[ir.Model, SparsePlan, StageRecord]:
    """The sparse graph, as the plan makes it again, and what became of each layer."""
    memory = bench.recipe.quantize.memory or MEMORY
    how = Repair(memory=int(memory), rounds=0, sparse=eligible, stage=STAGE)
    whole, used = Grouping((), (), ()), data.take(SAMPLES)
    # Threads of BLAS and of the runtime wait for work in turn, each on the other's cores.
    with threadpool_limits(max(1, (os.cpu_count() or 1) // 2), user_api="blas"):
        fitted, record = repair(model, model, whole, {}, used, how, bench.progress)
    weights = patch_of(model, fitted)
    made = patched(model, weights)
    sparse = tuple(name for name in layers_of(made) if name in eligible)
    return made, SparsePlan(layers=sparse, weights=weights), record


def _tried(bench: Bench, sparse: ir.Model, judging: Judging | None) -> Candidate | None:
    """What the sparse graph loses in float; None where no budget asks."""
    if judging is None:
        return None
    with bench.progress.stage(f"try {SPARSE}"):
        judgement, quality = judging.try_out(bench.prepared, bench.target, sparse)
    accepted = judging.accepts(judgement)
    return Candidate(
        name=f"{SPARSE}, float",
        shipped=False,
        reason=judging.told(judgement, accepted, "search"),
        quality=quality,
        accepted=accepted,
    )
