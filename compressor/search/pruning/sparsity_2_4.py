"""2:4 sparse weights where they were asked for, held against the budget where there is one.

What they gain depends on the GPU; here it is only seen to that the pattern is there, that it costs
as little as it can, and that whoever set a budget gets what keeps it.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.errors import RecipeError
from compressor.layerwise.factor import own_threads
from compressor.layerwise.layers import Layer, layers_of
from compressor.plan.plan import SparsePlan
from compressor.pruning.coupling.groups import Grouping
from compressor.pruning.reconstruction.patching import patch_of, patched
from compressor.pruning.reconstruction.repair import LATE, MEMORY, SPARSE, Repair, repair
from compressor.pruning.reconstruction.sparsity import ineligible
from compressor.recipe.recipe import Recipe
from compressor.results import format as fmt
from compressor.results.effects import weight_effect
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Candidate
from compressor.search.acceptance import Judging
from compressor.search.candidate import Decided
from compressor.search.precision.weight_only import STORED
from compressor.search.session import Bench
from exporters.base import Target

STAGE = "2:4 sparsity"
SAMPLES = 512
"""That weights are refitted on, at most."""
ATTEMPTS = 3
"""Sparse graphs that are tried within a budget, from all eligible layers down."""


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


@dataclass(frozen=True)
class _Tried:
    """A sparse graph, as the plan makes it again, and what became of each layer.

    Attributes:
        model: The graph.
        plan: What made it.
        record: Of the refit.
        candidate: What it loses in float; None where no budget asks, or nothing became sparse.
    """

    model: ir.Model
    plan: SparsePlan
    record: StageRecord
    candidate: Candidate | None

    @property
    def kept(self) -> bool:
        """Whether anything became sparse, and no budget refuses it."""
        accepted = self.candidate is None or self.candidate.accepted is True
        return accepted and bool(self.plan.layers)

    def error(self, layer: str) -> float:
        """Of a sparse layer on held-out samples, relative to the variance."""
        return float(self.record.parameters["layers"][layer]["error_after"])


def with_sparsity(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    judging: Judging | None = None,
    only: Collection[str] | None = None,
) -> Decided:
    """The float graph with the pattern in every layer that can have it, where that was asked for.

    Layers are refitted in order on what the sparse graph feeds them, to what the graph made before,
    those that stay dense and norms too where that helps. Where a budget refuses that, fewer layers
    are tried, those that lose least. What the time budget does not leave time for stays dense.

    Args:
        bench: The target, and what is asked for.
        start: The float graph that was decided on.
        data: Calibration samples.
        judging: The quality budget; None accepts any quality.
        only: Names of the layers that may become sparse; None for all.

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
    wanted = tuple(n for n in layers if n not in dense and (only is None or n in only))
    tried = _tried(bench, start.graph, wanted, data, judging) if wanted else []
    best = next((one for one in reversed(tried) if one.kept), None)
    record = _record(start.graph, tried, best, dense, len(layers))
    record = record.model_copy(update={"seconds": time.perf_counter() - started})
    candidates = tuple(one.candidate for one in tried if one.candidate is not None)
    told = replace(start, records=(*start.records, record), candidates=candidates)
    if best is None:
        return told
    chosen = start.plan.model_copy(update={"sparse": best.plan})
    return replace(told, shipped=best.model, sparse=best.model, plan=chosen)


def _record(
    before: ir.Model,
    tried: Sequence[_Tried],
    best: _Tried | None,
    dense: Mapping[str, str],
    layers: int,
) -> StageRecord:
    """What was eligible, what became of it, and what it cost each layer."""
    shown = best or (tried[0] if tried else None)
    sparse = 0 if best is None else len(best.plan.layers)
    share = f"{layers - len(dense)} of {layers} layers are eligible"
    if shown is not None and shown.plan.layers:
        why = "as asked for" if shown.candidate is None else shown.candidate.reason
        share = f"{share}; {why}"
    verdict = f"kept in {fmt.plural(sparse, 'layer')}" if sparse else "dense"
    reasons = (
        Decision(subject=name, verdict="not eligible", reason=why) for name, why in dense.items()
    )
    decisions = () if shown is None else shown.record.decisions
    notices = () if shown is None else shown.record.notices
    late = sum(one.reason == LATE for one in decisions)
    if late:
        notices = (*notices, f"the time budget ended it before {fmt.plural(late, 'layer')}")
    return StageRecord(
        name=STAGE,
        seconds=0,
        parameters={} if shown is None else shown.record.parameters,
        changed={"2:4 sparse layers": sparse},
        decisions=(Decision(subject=SPARSE, verdict=verdict, reason=share), *decisions, *reasons),
        notices=notices,
        effects=() if best is None else (weight_effect(before, best.model),),
    )


def _tried(
    bench: Bench,
    model: ir.Model,
    wanted: Sequence[str],
    data: CalibrationSet,
    judging: Judging | None,
) -> list[_Tried]:
    """All layers; where they are refused, fewer by bisection. What was kept last is the most."""
    started, limit = time.perf_counter(), bench.recipe.budget.seconds
    until = None if limit is None else started + limit
    first = _attempt(bench, model, wanted, data, judging, until)
    ranked = sorted(first.plan.layers, key=first.error)
    made, holds, fails = [first], 0, len(ranked)
    while not first.kept and len(made) < ATTEMPTS and fails - holds > 1:
        if until is not None and time.perf_counter() >= until:
            break
        middle = (holds + fails) // 2
        made.append(_attempt(bench, model, ranked[:middle], data, judging, until))
        holds, fails = (middle, fails) if made[-1].kept else (holds, middle)
    return made


def _attempt(
    bench: Bench,
    model: ir.Model,
    layers: Sequence[str],
    data: CalibrationSet,
    judging: Judging | None,
    until: float | None,
) -> _Tried:
    memory = int(bench.recipe.quantize.memory or MEMORY)
    how = Repair(memory=memory, rounds=0, sparse=frozenset(layers), stage=STAGE, until=until)
    whole, used = Grouping((), (), ()), data.take(SAMPLES)
    with own_threads():
        fitted, record = repair(model, model, whole, {}, used, how, bench.progress)
    weights = patch_of(model, fitted)
    made = patched(model, weights)
    reports = record.parameters["layers"].items()
    sparse = tuple(name for name, report in reports if report["verdict"] == SPARSE)
    candidate = _judged(bench, made, len(sparse), judging) if judging and sparse else None
    return _Tried(made, SparsePlan(layers=sparse, weights=weights), record, candidate)


def _judged(bench: Bench, sparse: ir.Model, layers: int, judging: Judging) -> Candidate:
    """What a sparse graph loses in float, and whether the budget allows it."""
    with bench.progress.stage(f"try {SPARSE}"):
        judgement, quality = judging.try_out(bench.prepared, bench.target, sparse)
    accepted = judging.accepts(judgement)
    return Candidate(
        name=f"{fmt.plural(layers, 'layer')} {SPARSE}, float",
        shipped=False,
        reason=judging.told(judgement, accepted, "search"),
        quality=quality,
        accepted=accepted,
    )


def _dense(layers: Mapping[str, Layer], target: Target) -> dict[str, str]:
    """Layer → why it stays dense."""
    reasons = {
        name: ineligible(layer) or target.stays_dense(layer.node) for name, layer in layers.items()
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}
