"""Latency as a cost of pruning: measured on the target, at the precision that will ship.

MACs are not time: integer and blocked kernels work in multiples of channels, and a convolution
alone pays for layouts that it does not pay for among its neighbours. So the whole graph is pruned
evenly to a few levels, each made into what would ship and profiled, and the time of each kernel
goes to the node of the float graph whose work it does. Between the levels a node's time follows
its own work: MACs, or elements where it has none.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil

import numpy as np
import onnx_ir as ir

from compressor.evaluation.attribution import NodeSeconds
from compressor.evaluation.latency_cache import (
    LatencyCache,
    Recall,
    afresh,
    latency_folder,
    machine,
)
from compressor.graph.fingerprint import fingerprint
from compressor.pruning import Grouping, Keep, cut
from compressor.pruning.selection.costs import Cost, Kept, Sizes
from compressor.recipe.keeping import cache_of
from compressor.search.session import Session

LEVELS = (1.0, 0.75, 0.5, 0.25)
"""Shares of every group that stay."""

Ship = Callable[[ir.Model], ir.Model]
"""From a float graph to what would ship of it."""


class KernelTimes:
    """Kernel times of a model pruned evenly to several levels."""

    def __init__(  # noqa: PLR0913 - what tells them apart is named
        self,
        session: Session,
        model: ir.Model,
        grouping: Grouping,
        sizes: Sizes,
        ship: Ship,
        *,
        multiple: int = 1,
        ships: Mapping[str, str] | None = None,
        shares: Sequence[float] = LEVELS,
        recall: Recall = afresh,
    ) -> None:
        """Profile the model at every level, unless an earlier run did.

        Args:
            session: The deciding configuration.
            model: The float graph.
            grouping: Its groups.
            sizes: Their sizes.
            ship: What is made of a pruned graph.
            multiple: What stays of a group is a multiple of this.
            ships: What `ship` depends on, for the cache; None times anew and keeps nothing.
            shares: The levels; the whole alone tells what whole blocks cost.
            recall: Gives figures that are known already, before the cache is asked.
        """
        levels = list(_levels(grouping, multiple, shares))

        def measure() -> dict[str, float]:
            found: dict[str, float] = {}
            with session.progress.stage("time kernels", total=len(levels)) as advance:
                for number, keep in enumerate(levels):
                    shipped = ship(cut(model, grouping, keep) if keep else model)
                    found |= _told(number, _timed(session, shipped, model))
                    advance(1)
            return found

        folder = None if ships is None else latency_folder(cache_of(session.recipe).folder)
        key = _key(session, model, levels) | dict(ships or {}) if folder is not None else {}
        found = recall(lambda: LatencyCache(folder).measured(key, measure))
        seen = [(_counts(keep), _of_level(number, found)) for number, keep in enumerate(levels)]
        self._rest = min(times.rest for _, times in seen)
        self._curves = {
            node.name or "": _curve(
                [
                    (_work(sizes, node, kept), times.nodes.get(node.name or "", 0.0))
                    for kept, times in seen
                ]
            )
            for node in sizes.model.graph
        }

    def cost(self, sizes: Sizes) -> Cost:
        """Seconds of one inference when each group keeps so many units.

        Args:
            sizes: Of the model, or of what is left of it without some blocks.
        """
        nodes, seconds = self.nodes(sizes)
        return lambda kept: self._rest + sum(seconds(node, kept) for node in nodes)

    def nodes(self, sizes: Sizes) -> tuple[list[ir.Node], Callable[[ir.Node, Kept], float]]:
        """The nodes that take any time, and the seconds of one by what each group keeps.

        Args:
            sizes: As above.
        """
        nodes = [node for node in sizes.model.graph if node.name in self._curves]
        groups = {node: sizes.groups_of(*node.inputs, *node.outputs) for node in nodes}
        known: dict[tuple[object, ...], float] = {}

        def seconds(node: ir.Node, kept: Kept) -> float:
            key = (node, *(kept.get(name, -1) for name in groups[node]))
            if key not in known:
                work, times = self._curves[node.name or ""]
                known[key] = float(np.interp(_work(sizes, node, kept), work, times))
            return known[key]

        return nodes, seconds


def _levels(grouping: Grouping, multiple: int, shares: Sequence[float]) -> Iterator[Keep]:
    """Every group cut to each share, rounded up; whole groups are not named."""
    for share in shares:
        keep = {}
        for group in grouping.groups:
            stay = min(group.units, multiple * ceil(share * group.units / multiple))
            if stay < group.units:
                keep[group.name] = np.arange(group.units) < stay
        if keep or share == LEVELS[0]:
            yield keep


def _seconds(session: Session) -> float:
    return session.recipe.measure.seconds / 4


def _key(session: Session, model: ir.Model, levels: Sequence[Keep]) -> dict[str, str]:
    """What the times depend on, but for what is made of a pruned graph."""
    deciding, feeds = session.deciding, session.feeds()
    return machine(session.target.runtime) | {
        "what": "kernels",
        "target": session.target.name,
        "graph": fingerprint(model),
        "levels": json.dumps([_counts(keep) for keep in levels], sort_keys=True),
        "inputs": json.dumps({n: [str(a.dtype), *a.shape] for n, a in sorted(feeds.items())}),
        "batch": str(deciding.batch),
        "threads": str(deciding.threads),
        "seconds": str(_seconds(session)),
    }


def _timed(session: Session, shipped: ir.Model, source: ir.Model) -> NodeSeconds:
    threads, seconds = session.deciding.threads, _seconds(session)
    return session.timer.nodes(
        shipped,
        source,
        session.feeds(),
        target=session.target,
        threads=threads,
        seconds=seconds,
    )


def _told(number: int, times: NodeSeconds) -> dict[str, float]:
    """The times of a level as entries of the cache: `NUMBER` is what belongs to no node."""
    return {str(number): times.rest} | {f"{number} {n}": t for n, t in times.nodes.items()}


def _of_level(number: int, found: Mapping[str, float]) -> NodeSeconds:
    own = f"{number} "
    nodes = {name.removeprefix(own): t for name, t in found.items() if name.startswith(own)}
    return NodeSeconds(nodes, found.get(str(number), 0.0))


def _counts(keep: Keep) -> Kept:
    return {name: int(mask.sum()) for name, mask in keep.items()}


def _work(sizes: Sizes, node: ir.Node, kept: Kept) -> float:
    return float(sizes.macs(node, kept) or sizes.elements(node, kept))


def _curve(points: Sequence[tuple[float, float]]) -> tuple[Sequence[float], Sequence[float]]:
    """Work, rising, and seconds; levels of the same work count by their median."""
    works = sorted({work for work, _ in points})
    return works, [float(np.median([t for w, t in points if w == work])) for work in works]
