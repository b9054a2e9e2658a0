"""What the model would lose with each unit of each group, by several methods.

    magnitude   ‖W_u‖ over all weights of the unit, L2 or L1 (Li et al. 2017, arXiv 1608.08710)
    wanda       Σ ‖W_r‖²·E[x²] over the layers that read it (Sun et al. 2024, arXiv 2306.11695)
    flap        Σ ‖W_r‖²·Var[x] (An et al. 2024, arXiv 2312.11983, section 3.2)
    obs         block OBS, see `obs.py`
    random      a control

The last four are errors at what the readers feed, relative to its variance, so that units of
different groups compare. Magnitudes and random numbers are shares of their group.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.windows import parts
from compressor.errors import RecipeError
from compressor.layerwise.activity import Activity, activity, moments_bytes, why_not_gathered
from compressor.layerwise.im2col import Doubles
from compressor.pruning.coupling.groups import Group, Grouping
from compressor.pruning.coupling.labels import Ints
from compressor.pruning.selection.obs import Contraction, removal_costs
from compressor.pruning.selection.readings import Reading, readings
from compressor.recipe.methods import METHODS, NORMS, Method
from compressor.system.progress import SILENT, Progress

MEMORY = 10**9
"""Bytes to take beside the model, unless told otherwise."""

GRAPH_METHODS = tuple(method for method in METHODS if method != "taylor")
"""Those that need no gradients."""
SOLVED = frozenset({"obs", "flap", "wanda"})
"""Those that take second moments."""

Scores = Mapping[str, Doubles]
"""Group → (units,): the damage when a unit goes after all those of its group with less."""


@dataclass(frozen=True)
class Scoring:
    """Options of the scoring of units.

    Attributes:
        method: One of `GRAPH_METHODS`.
        batch: Samples per run.
        memory: Bytes to take beside the model; None for 1 GB, and for what one layer alone
            takes.
        threads: Threads of the runtime; 0 is all.
        least: Share of each group that will stay, so that nothing is spent on its order.
        seed: Seed of the random method.
    """

    method: Method = METHODS[0]
    batch: int = 16
    memory: int | None = None
    threads: int = 0
    least: float = 1 / 8
    seed: int = 0


def scores(
    model: ir.Model,
    grouping: Grouping,
    data: CalibrationSet | None,
    how: Scoring | None = None,
    progress: Progress = SILENT,
) -> Scores:
    """The damage of removing each unit of each group.

    A group that no layer with a constant weight contracts (the inner dimension of queries and
    keys) is scored by magnitude with every method, and so is one whose readers are too wide for
    the memory.

    Args:
        model: The model that the groups are of.
        grouping: Its groups.
        data: Bound to the model's inputs; magnitude and random need none.
        how: The method and its limits.
        progress: Called with the groups done.

    Raises:
        RecipeError: The method is not known, or needs data that is not there.
    """
    how = how or Scoring()
    if how.method not in GRAPH_METHODS:
        raise RecipeError(
            f"{how.method!r} is no importance method of a graph",
            hint=f"Choose from {', '.join(GRAPH_METHODS)}.",
        )
    if how.method == "random":
        rng = np.random.default_rng(how.seed)
        return {g.name: _share(rng.random(g.units)) for g in grouping.groups}
    power = 1 if how.method == "l1" else 2
    found = {g.name: _share(magnitude(model, g, power) ** power) for g in grouping.groups}
    if how.method in NORMS:
        return found
    if data is None:
        raise RecipeError(
            f"importance by {how.method!r} needs calibration data",
            hint="Give calibration data, or choose l2.",
        )
    unseen = {name for name, _, _ in unscored(model, grouping, how.memory)}
    read = {
        name: some
        for name, some in readings(model, grouping).items()
        if some and name not in unseen
    }
    with progress.stage("score", total=len(read)) as advance:
        for window in _windows(read, (how.memory or MEMORY) // 2):
            found |= _scored(model, grouping, window, data, how)
            advance(len(window))
    return found


def unscored(model: ir.Model, grouping: Grouping, memory: int | None) -> list[tuple[str, str, str]]:
    """Groups that have to be scored by magnitude: group, a layer that reads it, and why.

    Args:
        model: The model that the groups are of.
        grouping: Its groups.
        memory: See `Scoring`.
    """
    return [
        (name, layer.name, why)
        for name, some in readings(model, grouping).items()
        for layer in {reading.layer.name: reading.layer for reading in some}.values()
        if (why := why_not_gathered(layer, memory)) is not None
    ]


def magnitude(model: ir.Model, group: Group, power: int = 2) -> Doubles:
    """(Σ|w|^p)^(1/p) over all weights of each unit, (units,).

    Args:
        model: The model that the group is of.
        group: The group.
        power: p, 1 or 2.
    """
    total = np.zeros(group.units)
    for member in group.members:
        value = model.graph.initializers.get(member.value)
        if value is None or value.const_value is None:
            continue
        if not value.const_value.dtype.is_floating_point():
            continue
        array = np.moveaxis(value.const_value.numpy(), member.axis, 0).astype(np.float64)
        by_position = (np.abs(array) ** power).reshape(len(array), -1).sum(1)
        total += by_position[member.positions].sum(1)
    found: Doubles = total ** (1 / power)
    return found


def _share(values: Doubles) -> Doubles:
    """Values as shares of their sum; one that is not finite has to stay and counts above all."""
    finite = np.isfinite(values)
    total = values[finite].sum()
    shares = values / total if 0 < total < np.inf else values
    found: Doubles = np.where(finite, shares, _PRICELESS)
    return found


_PRICELESS = 1e30

_Read = Mapping[str, Sequence[Reading]]


def _windows(read: _Read, room: int) -> list[dict[str, Sequence[Reading]]]:
    """Groups whose layers' moments fit together; one that does not fit alone stays alone."""
    cut: list[dict[str, Sequence[Reading]]] = [{}]
    taken: dict[str, int] = {}
    for name, some in read.items():
        sizes = {r.layer.name: moments_bytes(r.layer) for r in some}
        if cut[-1] and sum({**taken, **sizes}.values()) > room:
            cut.append({})
            taken = {}
        cut[-1][name] = some
        taken |= sizes
    return cut


def _scored(
    model: ir.Model, grouping: Grouping, window: _Read, data: CalibrationSet, how: Scoring
) -> dict[str, Doubles]:
    layers = {r.layer.name: r.layer for some in window.values() for r in some}
    units = {group.name: group.units for group in grouping.groups}
    total = {name: np.zeros(units[name]) for name in window}
    for part in parts(
        {n: moments_bytes(one) for n, one in layers.items()}, (how.memory or MEMORY) // 2
    ):
        here = [layers[name] for name in part]
        seen = activity(
            model, here, data, batch=how.batch, memory=how.memory or MEMORY, threads=how.threads
        )
        for name, some in window.items():
            read = [reading for reading in some if reading.layer.name in seen]
            if read:
                total[name] += _of(how, read, seen, units[name])
    # Where moments tell nothing, magnitudes do.
    return {name: found for name, found in total.items() if np.isfinite(found).all()}


def _of(how: Scoring, read: Sequence[Reading], seen: Mapping[str, Activity], units: int) -> Doubles:
    """NaN where the moments cannot be solved with."""
    try:
        return _METHODS[how.method](read, seen, units, how.least)
    except np.linalg.LinAlgError:
        return np.full(units, np.nan)


def _obs(
    read: Sequence[Reading], seen: Mapping[str, Activity], units: int, least: float
) -> Doubles:
    readers = [
        Contraction(
            matrix=reading.layer.matrix()[reading.part],
            gram=seen[reading.layer.name].moments.centred()[0][reading.part],
            columns=reading.columns,
            weight=1 / seen[reading.layer.name].spread,
        )
        for reading in read
    ]
    return removal_costs(readers, units, max(1, ceil(least * units)))


def _diagonal(about_mean: bool) -> Callable[..., Doubles]:
    """Σ ‖W_r‖²·Σ x² over the readers, with or without the mean of x, relative to the spread."""

    def method(
        read: Sequence[Reading], seen: Mapping[str, Activity], units: int, least: float
    ) -> Doubles:
        del least
        total = np.zeros(units)
        for reading in read:
            found = seen[reading.layer.name]
            gram = (found.moments.centred() if about_mean else found.moments.raw())[0]
            energy = np.diagonal(gram[reading.part])
            weights = (reading.layer.matrix()[reading.part] ** 2).sum(0)
            total += _over(weights * energy, reading.columns) / found.spread
        return total

    return method


def _over(values: Doubles, columns: Ints) -> Doubles:
    summed: Doubles = values[columns].sum(1)
    return summed


_METHODS: Mapping[str, Callable[..., Doubles]] = {
    "obs": _obs,
    "flap": _diagonal(about_mean=True),
    "wanda": _diagonal(about_mean=False),
}
