"""What each region of a graph costs in each precision, measured on the target.

A region that is cut out and timed alone tells less than it seems to: an integer convolution alone
pays for layout transposes, and a float one for blocking, that it does not pay for among its
neighbours. So whole graphs are profiled, in turn: all float, all integer (and all dynamic), and a
few in which neighbours differ, so that each edge between two regions is seen with either side as
integer. A region's time is that of its nodes and of what prepares their inputs: Q/DQ,
transposing, blocking. With c the choices of a graph, for region r and edges e = (a, r) into it,

    t[r] = time[r, c_r] + Σ_e pair[e, c_a, c_r]      pair = 0 where c_a and c_r are alike

is solved for `time` and `pair` by least squares over all profiled graphs. What was measured is
kept on disk (`latency_cache`), by operators, attributes, shapes, types, threads, CPU and runtime.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from scipy.optimize import lsq_linear

from calibration.scheme import FloatArray
from compressor.evaluation.latency_cache import (
    LatencyCache,
    Recall,
    afresh,
    latency_folder,
    machine,
)
from compressor.graph.tensors import Arrays
from compressor.plan.realize import realize
from compressor.quantization.mixed import Costs
from compressor.recipe.keeping import cache_of
from compressor.search.precision.regions import CHOICES, FLOAT, STATIC, Mix
from compressor.search.session import Session

SECONDS = 0.6
"""For each profiled graph at most, or half of what a comparison takes where that is less."""
FAINT = 1e-3
"""Weight of "an edge costs nothing" where nothing else tells."""
REST = "rest"

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RegionTimes:
    """Seconds of one inference in the deciding configuration.

    Attributes:
        costs: Of regions and of edges between them.
        rest: Of the nodes that belong to no region.
    """

    costs: Costs
    rest: float

    def predicted(self, chosen: Sequence[int]) -> float:
        """Seconds of the whole graph."""
        return self.rest + self.costs.total(chosen)


def measured_times(
    session: Session, model: ir.Model, mix: Mix, recall: Recall = afresh
) -> RegionTimes:
    """Profile what it takes, or read what was measured earlier.

    Args:
        session: The deciding configuration.
        model: The float graph.
        mix: Its regions and how to make a plan of choices.
        recall: Gives figures that are known already, before the cache is asked.
    """
    feeds = session.feeds()
    assignments = designs(mix)
    key = {
        **machine(session.target.runtime),
        "what": "regions",
        "graph": _structure(model, feeds, mix),
        "threads": str(session.deciding.threads),
        "designs": json.dumps(assignments),
    }
    cache = LatencyCache(latency_folder(cache_of(session.recipe).folder))

    def measure() -> dict[str, float]:
        with session.progress.stage("time regions"):
            return cache.measured(key, lambda: _profiled(session, model, mix, feeds, assignments))

    found = recall(measure)
    return fitted(mix, assignments, found)


def designs(mix: Mix) -> list[tuple[int, ...]]:
    """The graphs to profile, as choices: each uniform one, then some with neighbours unlike.

    Each further pair is a cut and its reverse: regions of one side are integer, the others float.
    A cut parts two thirds or more of the edges of residual networks, so that two or three do.
    """
    found, unseen = _uniform(mix), list(mix.edges)
    while unseen:
        sides = _cut(len(mix.regions), unseen)
        found += [
            tuple(STATIC if on else FLOAT for on in (sides == side) & mix.possible[:, STATIC])
            for side in (True, False)
        ]
        unseen = [(a, b) for a, b in unseen if sides[a] == sides[b]]
    return list(dict.fromkeys(found))


def _cut(count: int, edges: Sequence[tuple[int, int]]) -> BoolArray:
    """A side for each region, by which half of the edges or more are parted.

    In order, each goes to the side that fewer of those in front of it are on (the greedy cut).
    """
    sides = np.zeros(count, bool)
    front: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        front[max(a, b)].append(min(a, b))
    for region, known in enumerate(front):
        on = int(sides[known].sum())
        sides[region] = 2 * on < len(known) if known else region % 2 == 1
    return sides


def _uniform(mix: Mix) -> list[tuple[int, ...]]:
    """All of each choice, as far as regions have it."""
    rows = (
        tuple(choice if has else FLOAT for has in mix.possible[:, choice])
        for choice in range(len(CHOICES))
    )
    return list(dict.fromkeys(rows))


def _profiled(
    session: Session,
    model: ir.Model,
    mix: Mix,
    feeds: Arrays,
    assignments: Sequence[tuple[int, ...]],
) -> dict[str, float]:
    """Seconds of each region in each profiled graph: "graph/region" → seconds."""
    models = [realize(model, mix.plan(chosen), session.target) for chosen in assignments]
    seconds = min(SECONDS, session.recipe.measure.seconds / 2) * len(models)
    threads = session.deciding.threads
    taken = session.timer.kernels(
        models, model, feeds, target=session.target, threads=threads, seconds=seconds
    )
    owner = {name: index for index, region in enumerate(mix.regions) for name in region.nodes}
    found: dict[str, float] = {}
    for graph, nodes in enumerate(taken):
        for name, value in nodes.items():
            key = f"{graph}/{owner.get(name, REST)}"
            found[key] = found.get(key, 0.0) + value
    return found


def fitted(
    mix: Mix, assignments: Sequence[tuple[int, ...]], seen: Mapping[str, float]
) -> RegionTimes:
    """Times of regions and edges from the seconds of each region in each profiled graph."""
    choices = len(CHOICES)
    time = np.full((len(mix.regions), choices), np.inf)
    pair = np.zeros((len(mix.edges), choices, choices))
    for region in range(len(mix.regions)):
        edges = [e for e, (_, behind) in enumerate(mix.edges) if behind == region]
        own = [c for c in range(choices) if mix.possible[region, c]]
        right = np.array([seen.get(f"{g}/{region}", 0.0) for g in range(len(assignments))])
        found = _region(mix, assignments, region, own, edges, right)
        time[region, own] = found[: len(own)]
        # Dynamic nodes read and write float: to an edge they are float.
        others = [c for c in range(choices) if c != STATIC]
        for e, (into, out) in zip(edges, found[len(own) :].reshape(-1, 2), strict=True):
            pair[e, others, STATIC] = into
            pair[e, STATIC, others] = out
    rest = float(np.median([seen.get(f"{g}/{REST}", 0.0) for g in range(len(assignments))]))
    return RegionTimes(Costs(time, mix.edges, pair), rest)


def _region(
    mix: Mix,
    assignments: Sequence[tuple[int, ...]],
    region: int,
    own: Sequence[int],
    edges: Sequence[int],
    seconds: FloatArray,
) -> FloatArray:
    """Seconds of each own choice; then of each edge, where it enters and where it leaves INT8."""
    rows = []
    for chosen in assignments:
        mine = chosen[region]
        row = [float(mine == c) for c in own]
        for e in edges:
            front = chosen[mix.edges[e][0]] == STATIC
            row += [float(mine == STATIC and not front), float(mine != STATIC and front)]
        rows.append(row)
    scale = float(seconds.max()) or 1.0
    terms = 2 * len(edges)
    faint = FAINT * np.eye(len(own) + terms)[len(own) :]
    # An edge may save something, but never more than the region costs.
    least = np.r_[np.zeros(len(own)), np.full(terms, -1.0)]
    solution = lsq_linear(
        np.vstack([np.array(rows), faint]),
        np.concatenate([seconds / scale, np.zeros(terms)]),
        bounds=(least, np.inf),
    )
    return np.asarray(solution.x * scale)


def _structure(model: ir.Model, feeds: Arrays, mix: Mix) -> str:
    """Digest of all that times depend on of a graph: no weights, but their shapes."""
    parts: list[object] = [[name, str(a.dtype), a.shape] for name, a in sorted(feeds.items())]
    parts.append([[region.nodes, region.weighted] for region in mix.regions])
    plan = mix.whole
    parts.append([plan.integer, plan.activation, plan.symmetric, plan.granularity])
    parts.append([plan.weight_bits, plan.plain_norms])
    for value in model.graph.initializers.values():
        parts.append([value.name, str(value.dtype), str(value.shape)])
    for node in model.graph:
        ends = [
            [v.name if v is not None else None for v in side]
            for side in (node.inputs, node.outputs)
        ]
        attributes = [str(node.attributes[name]) for name in sorted(node.attributes)]
        parts.append([node.name, node.domain, node.op_type, ends, attributes])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
