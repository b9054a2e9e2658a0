"""Which samples of the user's data a built-in loop makes which units from."""

from collections.abc import Sequence
from dataclasses import replace

from compressor.commands.loop_job import CONFIRMATIONS, RESEEDED, Units
from compressor.evaluation.distributions import DistributionMetric
from compressor.evaluation.metrics import find_metric
from compressor.pipelines.loop import Builtin
from compressor.recipe.recipe import Recipe


def judging(recipe: Recipe, graphs: int) -> list[int]:
    """The blocks of seeds that judge in a run.

    Args:
        recipe: Whether there is a budget: then some confirm.
        graphs: How many there are: each may be stepped back, and be followed by a verdict.
    """
    measuring = [1, CONFIRMATIONS - 1]
    if recipe.budget.allowed is None:
        return measuring
    return [*measuring, 2, *range(CONFIRMATIONS, CONFIRMATIONS + graphs)]


def dealt(
    loop: Builtin, units: Units, blocks: Sequence[int], recipe: Recipe, *, asked: int | None
) -> tuple[Units, list[str]]:
    """Give every purpose samples of its own, and let no more units judge than there are samples.

    Args:
        loop: The loop, with its data.
        units: As many as time allows.
        blocks: Blocks of seeds that judge, each for a purpose of its own.
        recipe: Which metric: distances of distributions are to units of other seeds, which have
            samples of their own, too.
        asked: How many units the user asked for.

    Returns:
        The units, and what the user should know.
    """
    generate = loop.generate
    if not generate.samples.given:
        return units, list(generate.notices)
    if _compares_sets(recipe):
        blocks = [*blocks, *(block + RESEEDED for block in blocks)]
    calibrating = units.seeds(0) if units.traced else range(0)
    generate.samples.deal(calibrating, [units.seeds(block) for block in blocks])
    own, what = generate.samples.most_distinct(), generate.reads
    notices = list(generate.notices)
    if own < units.count:
        told = f"there are {own} {what} for each purpose, as none is to see those of another"
        if asked is None:
            units = replace(units, count=max(own, 2))
        few = f"{told}: {units.count} units judge"
        repeat = f", and {what} come again among them" if own < units.count else ""
        notices.append(f"{few}{repeat}")
    return units, notices


def _compares_sets(recipe: Recipe) -> bool:
    """Whether the metric compares with what the original makes of other seeds."""
    name = recipe.measure.metric
    metric = None if name is None else find_metric(name)
    return isinstance(metric, DistributionMetric) and metric.compares
