"""CIFAR-10 ResNet-20: what the times of regions predict for mixed plans, against measuring them.

    python benchmarks/regions.py --data DIR --model FILE

DIR and FILE as for `cifar.py`. The regions are measured anew; then random choices of float and
static INT8, and cuts in two, are timed in turn with float. Compared are ratios of the lower
quartiles, which other work on the machine disturbs less than medians. Ends with 1 when the mean
error is too large.
"""

import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from calibration.preprocess import Preprocess
from cifar_data import cifar_job, options_of
from compressor.checkpoint.prepare import prepare
from compressor.plan.realize import planned_policy, realize
from compressor.quantization.static import CalibrationOptions, calibrate
from compressor.recipe.data import DataOptions
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.policy import policy_of
from compressor.recipe.recipe import Recipe
from compressor.search.baseline import undecided
from compressor.search.precision.region_latency import measured_times
from compressor.search.precision.regions import FLOAT, STATIC, mixed
from compressor.search.session import Session
from compressor.system.progress import SILENT
from exporters.base import find_target
from versus import Job

SHARES = (0.2, 0.4, 0.5, 0.5, 0.6, 0.8, 0.9)
"""Probability of a region to be integer, for each random choice."""
CUTS = (5, 10, 15)
"""Regions up to here in one precision, the rest in the other."""
SECONDS = 1.0
SAMPLES = 64
ALLOWED = 0.08
"""Mean of |predicted / measured - 1|."""


def opened(job: Job, cache: Path) -> Session:
    """The model and its data; times of regions are kept in `cache` only."""
    data = DataOptions(
        calib=job.calibration,
        samples=SAMPLES,
        cache=cache,
        preprocess=Preprocess.model_validate(job.preprocess),
    )
    recipe = Recipe(
        model=ModelOptions(factory=job.factory), data=data, measure=MeasureOptions(seconds=SECONDS)
    )
    target = find_target("ort")
    prepared = prepare(job.model, target=target, recipe=recipe)
    return Session(prepared, recipe, target, SILENT)


def choices(regions: int) -> list[tuple[int, ...]]:
    """All integer, random ones, and cuts in two."""
    rng = np.random.default_rng(0)
    found = [(STATIC,) * regions]
    found += [tuple(int(x) for x in rng.random(regions) < share) for share in SHARES]
    for cut in CUTS:
        found.append((STATIC,) * cut + (FLOAT,) * (regions - cut))
        found.append((FLOAT,) * cut + (STATIC,) * (regions - cut))
    return found


def errors(session: Session) -> list[tuple[int, float, float]]:
    """Integer regions, predicted and measured speed-up of each choice."""
    start = undecided(session)
    assert session.prepared.calibration is not None
    policy = policy_of(session.target, session.recipe.quantize)
    choice = calibrate(start.graph, session.prepared.calibration, policy, CalibrationOptions("mse"))
    plan = start.plan.model_copy(
        update={
            "ship": "int8",
            "weight_bits": policy.weight.bits,
            "integer": choice.integer,
            "ranges": dict(choice.ranges),
        }
    )
    mix = mixed(start.graph, plan, planned_policy(plan, session.target))
    times = measured_times(session, start.graph, mix)
    base = times.predicted((FLOAT,) * len(mix.regions))
    found = []
    for chosen in choices(len(mix.regions)):
        model = realize(start.graph, mix.plan(chosen), session.target)
        race = session.race(start.graph, model, seconds=SECONDS)
        assert race is not None
        found.append((sum(chosen), base / times.predicted(chosen), race.speed))
    return found


def main() -> None:
    """Print the table and hold the mean error against what is allowed."""
    options = options_of(__doc__)
    asked = options.parse_args()
    if not (asked.data and asked.model):
        options.error("--data and --model are needed")
    with tempfile.TemporaryDirectory() as cache:
        found = errors(opened(cifar_job(asked.data, asked.model), Path(cache)))
    table = Table("regions as INT8", "predicted", "measured", "error")
    for count, predicted, measured in found:
        cells = (f"{count}", f"{predicted:.2f}x", f"{measured:.2f}x")
        table.add_row(*cells, f"{predicted / measured - 1:+.1%}")
    mean = float(np.mean([abs(predicted / measured - 1) for _, predicted, measured in found]))
    Console().print(table)
    Console().print(f"mean error {mean:.1%}, allowed {ALLOWED:.0%}")
    raise SystemExit(mean > ALLOWED)


if __name__ == "__main__":
    main()
