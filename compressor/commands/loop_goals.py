"""Goals of a whole loop, handed to its graphs one after the other.

`--size` is of all files, `--latency` and `--speedup` are of a unit, `--time-budget` is of the whole
search. Each graph gets its part when its turn comes: of what those before it have left, by its own
share of the cost that is still to be decided. So one that came out better than it had to leaves the
rest more, and one that did not reach its part leaves less. Shares (`--prune`, `--params`) are those
of the whole if each graph keeps them.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.commands.loop_job import Job
from compressor.errors import UsageError
from compressor.pipelines.loop import SEED
from compressor.recipe.goal import Goal, Part
from compressor.recipe.recipe import Recipe
from compressor.system.scratch import scratch
from compressor.system.stopwatch import Stopwatch

LEAST_PART = 0.25
"""Of what a graph would get if all kept to their parts."""
_RUNS = 3
"""Units of which the shortest tells the times of graphs."""
_LEAST_SECONDS = 1.0
"""Time for a graph's search, however little is left."""


def set_part(job: Job, name: str, watch: Stopwatch) -> None:
    """Let a graph's search go for its part of what is asked of the whole.

    Args:
        job: The run; graphs that come before this one are decided.
        name: The graph.
        watch: Runs since the first was begun.

    Raises:
        UsageError: The loop takes longer than is asked for without any graph.
    """
    graph, recipe = job.graphs[name], job.graphs[name].session.recipe
    recipe = _with_time(job, name, recipe, watch)
    goal = job.recipe.prune.goal
    if goal is not None and goal.kind == "size":
        size = f"{_bytes(job, name, goal) / 1e6:.6f}MB"
        recipe = _pruning(recipe, size=Part.of(goal.asked, size))
    elif goal is not None and goal.timed:
        recipe = _with_speed(job, name, recipe, goal)
    graph.session = replace(graph.session, recipe=recipe)


def _with_time(job: Job, name: str, recipe: Recipe, watch: Stopwatch) -> Recipe:
    """What is left of the time for the search, by equal parts."""
    limit, asked = job.recipe.budget.seconds, job.recipe.budget.time
    if limit is None or asked is None:
        return recipe
    waiting = len(job.order) - job.order.index(name)
    seconds = max((limit - watch.seconds) / waiting, _LEAST_SECONDS)
    time = Part.of(asked, f"{seconds:.1f}s")
    budget = recipe.budget.model_copy(update={"time": time})
    return recipe.model_copy(update={"budget": budget})


def _bytes(job: Job, name: str, goal: Goal) -> float:
    """Bytes that a graph's file may take."""
    costs, made = (_files(job, models) for models in (job.pipeline.originals, job.pipeline.current))
    return part_of(goal.amount, name, job.order, costs, made)


def _files(job: Job, models: Mapping[str, ir.Model]) -> dict[str, float]:
    """Graph → bytes of its file."""
    found = {}
    for name, model in models.items():
        with scratch() as folder:
            found[name] = float(job.target.draft(model, Path(folder)).file_bytes)
    return found


def _with_speed(job: Job, name: str, recipe: Recipe, goal: Goal) -> Recipe:
    """The time of one call that a graph may take, or how many times its speed it has to have."""
    costs, whole = _times(job, job.pipeline.originals)
    made, _ = _times(job, job.pipeline.current)
    around = max(whole - sum(costs.values()), 0.0)
    asked = goal.amount if goal.kind == "latency" else whole / goal.amount
    if asked <= around:
        raise UsageError(
            f"{goal.flag} cannot be reached: what the loop does between calls of its graphs takes "
            f"{1e3 * around:.3g} ms of a unit's {1e3 * whole:.3g}",
            hint="Make the loop itself faster, or ask for less.",
        )
    part = part_of(asked - around, name, job.order, costs, made)
    if goal.kind == "latency":
        each = part / max(job.graphs[name].calls, 1.0)
        return _pruning(recipe, latency=Part.of(goal.asked, f"{1e6 * each:.3f}us"))
    factor = costs[name] / part
    speedup = Part.of(goal.asked, f"{factor:.4f}x") if factor > 1 else None
    return _pruning(recipe, speedup=speedup)


def part_of(
    whole: float,
    name: str,
    order: list[str],
    costs: Mapping[str, float],
    made: Mapping[str, float],
) -> float:
    """cᵢ · (whole - Σ made of those before) / Σ c of those that are not decided.

    It is no less than a quarter of cᵢ · whole / Σ c: the last is not asked for all that others
    missed.

    Args:
        whole: What all may take.
        name: Graph i.
        order: Graphs in the order in which they are decided.
        costs: Graph → what it takes as captured.
        made: Graph → what it takes as it is by now.
    """
    place = order.index(name)
    left = whole - sum(made[one] for one in order[:place])
    part = costs[name] * left / (sum(costs[one] for one in order[place:]) or 1.0)
    return max(part, LEAST_PART * costs[name] * whole / (sum(costs.values()) or 1.0))


def _times(job: Job, models: Mapping[str, ir.Model]) -> tuple[dict[str, float], float]:
    """Seconds of each graph in a unit, and of the unit: of the shortest of some.

    Where a single unit does not call all graphs, it is the mean of several.
    """
    threads, found = job.recipe.measure.threads, list[tuple[float, dict[str, float]]]()
    with job.pipeline.opened(models, threads, timed=True) as loop:
        before = dict.fromkeys(models, 0.0)
        for _ in range(_RUNS):
            watch = Stopwatch()
            loop.run({SEED: np.array(job.looked_into, np.int64)})
            units, now = len(job.looked_into), loop.seconds
            each = {name: (now[name] - before[name]) / units for name in models}
            found.append((watch.seconds / units, each))
            before = now
    whole, each = min(found, key=lambda one: one[0])
    return each, whole


def _pruning(recipe: Recipe, **goal: str | None) -> Recipe:
    return recipe.model_copy(update={"prune": recipe.prune.model_copy(update=goal)})
