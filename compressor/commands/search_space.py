"""What a search of this model can vary and measure here."""

from collections.abc import Collection, Sequence
from math import prod

from compressor.errors import DataError, UsageError
from compressor.results.precision import STORED
from compressor.search.recipes.defaults import default_variables, known_variables
from compressor.search.recipes.limits import Limit
from compressor.search.recipes.shared import Shared
from compressor.search.recipes.variables import Choice, Number, Space, narrowed

MOST_POINTS = 20_000
"""Points above which a space is not laid out as a grid."""


def space_of(shared: Shared) -> Space:
    """What is varied.

    Raises:
        RecipeError: A variable is not understood, or nothing varies.
        UsageError: A region is of no node, or a grid has too many points.
    """
    known = known_variables(shared)
    space = narrowed(default_variables(shared, known), known, shared.session.recipe.search.space)
    _require_regions(shared, space)
    laid = prod(len(variable.levels()) for variable in space.variables.values())
    if shared.session.recipe.search.sampler == "grid" and laid > MOST_POINTS:
        raise UsageError(
            f"a grid over {', '.join(space.variables)} has {laid:,} points, more than "
            f"{MOST_POINTS:,}",
            hint="Narrow [search.space], or choose --sampler tpe.",
        )
    blocks = space.variables.get("blocks")
    shared.blocks = int(blocks.high) if isinstance(blocks, Number) else 0
    return space


def _require_regions(shared: Shared, space: Space) -> None:
    named = [name.partition(":")[2] for name in space.variables if ":" in name]
    if not named:
        return
    regions = shared.regions.mix.regions if shared.can_be_integer else ()
    there = [node for region in regions for node in region.weighted]
    for name in named:
        if name not in there:
            raise UsageError(
                f"[search.space] region:{name}: no region of this graph has a node {name!r}",
                hint="`compress sensitivity MODEL` lists the regions.",
            )


def require_measurable(shared: Shared, limits: Sequence[Limit]) -> None:
    """Refuse to minimize or limit what cannot be measured here.

    Raises:
        UsageError: Latency, where the target cannot be timed.
        DataError: Anything, without calibration data.
    """
    timed = "latency" in (*shared.objectives, *(one.objective for one in limits))
    reason = shared.session.target.why_not_measurable()
    if timed and reason is not None:
        raise UsageError(
            f"latency cannot be minimized for target {shared.session.target.name!r}: {reason}",
            hint="Pass --objectives quality,size.",
        )
    if shared.calibration is None:
        raise DataError("a search needs calibration data", hint="Pass --calib DATA.")


def require_timed_alone(space: Space, held: Collection[str]) -> None:
    """Refuse to time anything while other workers use the machine.

    Args:
        space: What is searched.
        held: What is minimized or limited.

    Raises:
        UsageError: Stored weights are profiled when they are made.
    """
    precision = space.variables.get("precision")
    values = precision.values if isinstance(precision, Choice) else ()
    stored = [one for one in values if one in STORED]
    if stored and "latency" in held:
        raise UsageError(
            f"precision {stored[0]} is timed when it is made, which takes the machine alone",
            hint="Leave --workers out, latency out of objectives and limits, or stored weights out "
            "of `precision` in [search.space].",
        )
