"""`compress sensitivity`: what each part of a model costs in each precision."""

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.prepare import prepare
from compressor.errors import TargetError, UsageError
from compressor.folding import fold
from compressor.graph.fingerprint import fingerprint
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy
from compressor.quantization.mixed import solve
from compressor.quantization.own_weights import with_own_weights
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.keeping import cache_of
from compressor.recipe.policy import policy_of
from compressor.recipe.recipe import Recipe
from compressor.recipe.targets import available_target
from compressor.results.regions import Sensitivity
from compressor.search.precision.region_latency import measured_times
from compressor.search.precision.region_table import predicted_frontier, region_results
from compressor.search.precision.regions import FLOAT, mixed
from compressor.search.precision.sensitivity import SAMPLE, damages
from compressor.search.session import Session
from compressor.system.progress import SILENT, Progress
from exporters import DEFAULT_TARGET

HELD_OUT = 0.25
"""Share of the calibration samples, at most, that ranges are not chosen on."""


def sensitivity(
    model: object,
    *,
    calibration: object = None,
    recipe: Recipe | None = None,
    progress: Progress = SILENT,
) -> Sensitivity:
    """Damage and time of each region in each precision, and the predicted frontier.

    Args:
        model: A path or a live module, as for `compress`.
        calibration: Data; what the recipe names by default. Ranges are chosen on most of it, and
            damages measured on up to 32 samples of the rest.
        recipe: Target, quantization options, deciding configuration and how to load.
        progress: Where progress is shown.

    Raises:
        UsageError: There is no data, or one sample only, or the target's kernels cannot be timed.
        TargetError: Nothing can be timed on the target here.
        CompressorError: As for `compress`.
    """
    recipe = recipe or Recipe()
    target = available_target(recipe)
    unmeasurable = target.why_not_measurable()
    if unmeasurable is not None:
        raise TargetError(
            f"what regions cost cannot be measured for target {target.name!r}: {unmeasurable}",
            hint=f"--target {DEFAULT_TARGET} measures them on this machine's CPU.",
        )
    prepared = prepare(
        model, target=target, recipe=recipe, calibration=calibration, progress=progress
    )
    data = prepared.calibration
    if data is None or len(data) < 2:
        raise UsageError(
            "sensitivity needs two calibration samples or more: one part is held out",
            hint="Pass --calib DATA.",
        )
    session = Session(prepared, recipe, target, progress)
    with progress.stage("fold"):
        feeds = prepared.feeds(prepared.fixed_batch or 2, recipe.seed)
        graph = with_own_weights(fold(prepared.model, feeds=feeds)[0])
    held_out, rest = data.split(min(HELD_OUT, SAMPLE / len(data)), recipe.seed)
    plan = _whole(session, graph, rest)
    mix = mixed(graph, plan, planned_policy(plan, target), leave=recipe.quantize.leave)
    if not mix.regions:
        raise UsageError("no part of this graph has integer kernels: there is nothing to compare")
    times = measured_times(session, graph, mix)
    damage = damages(session, mix, plan, held_out)
    assert damage is not None, "nothing ends it early"
    fastest = solve(times.costs) or [FLOAT] * len(mix.regions)
    return Sensitivity(
        source=prepared.name,
        samples=min(SAMPLE, len(held_out)),
        batch=session.deciding.batch,
        threads=session.deciding.threads,
        float_ms=1e3 * times.predicted([FLOAT] * len(mix.regions)),
        regions=region_results(mix, fastest, times, damage),
        frontier=predicted_frontier(mix, times, damage),
    )


def _whole(session: Session, graph: ir.Model, data: CalibrationSet) -> GraphPlan:
    """All that can be integer, with ranges from the data."""
    recipe = session.recipe
    policy = policy_of(session.target, recipe.quantize)
    options = CalibrationOptions(
        method=recipe.quantize.ranges,
        batch=recipe.quantize.batch,
        memory=recipe.quantize.memory,
        cache=cache_of(recipe).folder,
        seed=recipe.seed,
        leave=recipe.quantize.leave,
    )
    with session.progress.stage("calibrate", total=len(data)) as advance:
        choice = calibrate(graph, data, policy, options, advance=advance)
    return GraphPlan(
        graph=fingerprint(graph),
        baseline="folded",
        ship=policy.precision,
        cpu=recipe.quantize.cpu,
        weight_bits=policy.weight.bits,
        pairs=policy.weight.pairs,
        activation=recipe.quantize.activation,
        symmetric=recipe.quantize.symmetric,
        granularity=recipe.quantize.granularity,
        integer=choice.integer,
        dynamic=choice.dynamic,
        ranges=dict(choice.ranges),
    )
