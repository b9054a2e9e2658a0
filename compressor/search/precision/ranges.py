"""The ranges of an 8-bit graph: from calibration, or found at run time."""

from collections import Counter
from pathlib import Path

from compressor.quantization.dynamic import choose_dynamic
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from compressor.recipe.keeping import cache_of
from compressor.recipe.policy import policy_of
from compressor.results import format as fmt
from compressor.results.precision import WORDS
from compressor.search.precision.ptq_search import PtqSearch


def calibrated_ranges(search: PtqSearch) -> None:
    """What could run as integer, and the ranges there."""
    session, options = search.session, search.session.recipe.quantize
    policy = policy_of(session.target, options)
    words, stats, data = WORDS[policy.precision], search.stats, search.calibrating
    if data is None and stats is None:
        search.stays_float = f"nothing was quantized: {words} needs calibration data (--calib DATA)"
        return
    path = session.recipe.data.stats or Path("the statistics")
    how = CalibrationOptions(
        method=options.ranges,
        batch=options.batch,
        memory=options.memory,
        cache=cache_of(session.recipe).folder,
        stats=None if stats is None else (stats, path),
        seed=session.recipe.seed,
        alternatives=search.has_budget,
        leave=options.leave,
        notices=session.target.cautions(policy),
    )
    total = None if data is None or stats is not None else len(data)
    with session.progress.stage("calibrate", total=total) as advance:
        chosen = calibrate(search.graph, data, policy, how, advance=advance)
    kernels = "integer" if policy.precision == "int8" else words
    _choose(search, chosen, f"{kernels} kernels")
    update = {
        "ship": policy.precision,
        "weight_bits": policy.weight.bits,
        "pairs": policy.weight.pairs,
        "integer": chosen.integer,
        "dynamic": chosen.dynamic,
        "ranges": dict(chosen.ranges),
    }
    search.plan, search.named = search.plan.model_copy(update=update), words


def runtime_ranges(search: PtqSearch) -> None:
    """All that can run with ranges found at run time, which takes no calibration."""
    options = search.session.recipe.quantize
    policy = policy_of(search.session.target, options)
    chosen = choose_dynamic(search.graph, policy, options.leave)
    _choose(search, chosen, "dynamic INT8")
    update = {
        "ship": "int8",
        "weight_bits": policy.weight.bits,
        "pairs": policy.weight.pairs,
        "dynamic": chosen.dynamic,
    }
    search.plan = search.plan.model_copy(update=update)


def _choose(search: PtqSearch, chosen: StaticChoice, gain: str) -> None:
    search.calibration = chosen
    search.start = search.start.then(chosen.record, float_reasons=chosen.float_reasons)
    if not (chosen.integer or chosen.dynamic):
        search.stays_float = _nothing(gain, chosen)


def _nothing(gain: str, chosen: StaticChoice) -> str:
    """That nothing became integer, and why most that could have did not."""
    told = f"no part of this graph gains from {gain}"
    layers = len(chosen.float_reasons)
    if layers == 0:
        return told
    reason, count = Counter(chosen.float_reasons.values()).most_common(1)[0]
    return f"{told}; {count} of {fmt.plural(layers, 'layer')}: {reason}"
