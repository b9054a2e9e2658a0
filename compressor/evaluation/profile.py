"""Where the time of an inference goes, and what holds each node back.

The roofline model (Williams, Waterman and Patterson 2009) with a third, flat ceiling for the cost
of running a node at all. With the ceilings of `ceilings` the least time of a node is

    t_compute  = 2 · MACs / peak             peak of float or of 8-bit arithmetic
    t_memory   = bytes / bandwidth           of the cache where the bytes fit, else of memory
    t_overhead = cost of an empty node

and it is bound by the largest of the three. Arithmetic that is not multiply-accumulate (an exp,
a division) is in no ceiling: nodes that do much of it attain little of theirs.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx_ir as ir

from compressor.evaluation.ceilings import measure_ceilings
from compressor.evaluation.executed import WARM_UP, NodeTime, NodeWork, node_times, node_work
from compressor.evaluation.feeding import feeds_for
from compressor.evaluation.latency import time_runner
from compressor.evaluation.memory import PeakMemory, peak_memory
from compressor.graph.files import load_model, save_model
from compressor.graph.names import make_unique
from compressor.graph.session import open_session
from compressor.graph.shared_cache import SharedCaches
from compressor.graph.tensors import Arrays
from compressor.results.measurements import (
    Bound,
    Ceilings,
    NodeProfile,
    OperatorProfile,
    Profile,
    Timing,
)
from compressor.system.scratch import scratch
from exporters import DEFAULT_TARGET
from exporters.base import Profiled, find_target

__all__ = ["Profile", "bound_of", "profile_model"]

_MOST_RUNS = 200
_LEAST_RUNS = 5
_MOST_EVENTS = 300_000  # the profiler stops at a million


def profile_model(
    model: ir.Model | Path,
    feeds: Arrays,
    *,
    target: str = DEFAULT_TARGET,
    threads: int = 1,
    seconds: float = 2.0,
    memory: bool = True,
    source: str = "model",
    ceilings: Ceilings | None = None,
) -> Profile:
    """Profile one inference of `feeds`, node by node.

    Nodes are those that the runtime really executes, fused and renamed as it likes: that of the
    target where it tells their times, else ONNX Runtime.

    Args:
        model: A model in memory, which stays as it is, or an ONNX file.
        feeds: One batch, by input name.
        target: The target whose runner times the whole inference and its memory.
        threads: Intra-operator threads; 0 is all.
        seconds: Time for the latency, and again for the profile.
        memory: Whether to start a process that measures peak memory.
        source: What the model is, for the report.
        ceilings: This machine's for so many threads, where they have been measured already.

    Raises:
        GraphError: The runtime refuses the model.
        DataError: The feeds do not fit its inputs.
    """
    graph = load_model(model) if isinstance(model, Path) else model.clone()
    make_unique(graph)
    with find_target(target).open(graph, threads=threads) as runner:
        arrays = feeds_for(runner, feeds)
        runner.run(arrays)  # a misfit of the feeds is reported here, in words
        latency = time_runner(runner, arrays, threads=threads, seconds=seconds)
    ceilings = ceilings or measure_ceilings(threads)
    own = find_target(target).profiled(graph, arrays, threads=threads)
    if own is None:
        times, work, runs = _executed(graph, arrays, threads, latency, seconds)
        nodes = _nodes(times, work, ceilings)
    else:
        nodes, runs = _nodes_of_own(own, latency, seconds)
    peak = _peak(model, graph, arrays, target, threads) if memory else PeakMemory(None, "not asked")
    leading = {array.shape[0] for array in arrays.values() if array.ndim}
    return Profile(
        source=source,
        batch=leading.pop() if len(leading) == 1 else None,
        threads=threads,
        runs=runs,
        latency=latency,
        operators=_operators(nodes),
        nodes=nodes,
        ceilings=ceilings,
        memory_bytes=peak.bytes,
        memory_reason=peak.reason,
    )


def bound_of(work: NodeWork, ceilings: Ceilings) -> tuple[Bound, float] | None:
    """The lowest ceiling of a node and the seconds it allows; None where its work is not known."""
    if work.macs is None or work.bytes is None:
        return None
    peak = ceilings.int8_gops if work.integer else ceilings.float_gflops
    near = work.bytes <= ceilings.cache_bytes
    bandwidth = ceilings.cache_gbs if near else ceilings.memory_gbs
    least: dict[Bound, float] = {
        "compute": 2 * work.macs / (peak * 1e9),
        "memory": work.bytes / (bandwidth * 1e9),
        "overhead": ceilings.overhead_us * 1e-6,
    }
    bound = max(least, key=lambda name: least[name])
    return bound, least[bound]


def _nodes_of_own(
    own: Profiled, latency: Timing, seconds: float
) -> tuple[tuple[NodeProfile, ...], int]:
    """By the profiler of a target's own runtime, which tells times and no work."""
    wanted = int(seconds * 1e3 / latency.median_ms)
    runs = max(_LEAST_RUNS, min(_MOST_RUNS, wanted))
    seen: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with own:
        for _ in range(runs):
            own.inference()
            for kernel in own.kernels():
                seen[kernel.label, kernel.operator].append(kernel.seconds)
    times = {key: float(np.median(found)) for key, found in seen.items()}
    total = sum(times.values()) or 1.0
    nodes = (
        NodeProfile(
            name=name,
            operator=operator,
            ms=taken * 1e3,
            share=taken / total,
            macs=None,
            bytes=None,
            bound=None,
            attained=None,
        )
        for (name, operator), taken in times.items()
    )
    return tuple(nodes), runs


def _executed(
    model: ir.Model, feeds: Arrays, threads: int, latency: Timing, seconds: float
) -> tuple[list[NodeTime], list[NodeWork], int]:
    """Profile as many runs as fit."""
    count = sum(1 for _ in model.graph.all_nodes()) or 1
    wanted = min(_MOST_RUNS, _MOST_EVENTS // count, int(seconds * 1e3 / latency.median_ms))
    runs = max(_LEAST_RUNS, wanted)
    with scratch() as name:
        folder = Path(name)
        session = open_session(
            model,
            threads=threads,
            profile_prefix=folder / "profile",
            optimized_model=folder / "optimized.onnx",
            timed=True,
        )
        shared = SharedCaches.of(session)
        whole = dict(feeds) if shared is None else shared.whole(feeds)
        for _ in range(WARM_UP + runs):
            session.run(None, whole)
        times = node_times(Path(session.end_profiling()))
        # Above 2 GB its weights lie in a file that is gone by now; their shapes are in this one.
        work = node_work(times, ir.load(folder / "optimized.onnx").graph)
    return times, work, runs


def _nodes(
    times: list[NodeTime], work: list[NodeWork], ceilings: Ceilings
) -> tuple[NodeProfile, ...]:
    seconds = [_net(time.microseconds, ceilings) * 1e-6 for time in times]
    total = sum(seconds) or 1.0
    nodes = []
    for time, done, taken in zip(times, work, seconds, strict=True):
        found = bound_of(done, ceilings)
        nodes.append(
            NodeProfile(
                name=time.name,
                operator=time.operator,
                ms=taken * 1e3,
                share=taken / total,
                macs=done.macs,
                bytes=done.bytes,
                bound=found[0] if found else None,
                attained=found[1] / taken if found else None,
            )
        )
    return tuple(nodes)


def _net(microseconds: float, ceilings: Ceilings) -> float:
    """Take the profiler's own cost off; what is left is never less than an empty node's time."""
    return max(microseconds - ceilings.profiler_us, 0.0) + ceilings.overhead_us


def _operators(nodes: tuple[NodeProfile, ...]) -> tuple[OperatorProfile, ...]:
    groups: dict[str, list[NodeProfile]] = defaultdict(list)
    for node in nodes:
        groups[node.operator].append(node)
    rows = [
        OperatorProfile(
            operator=operator,
            nodes=len(group),
            ms=sum(node.ms for node in group),
            share=sum(node.share for node in group),
            macs=_sum([node.macs for node in group]),
            bytes=_sum([node.bytes for node in group]),
            bound=_mostly(group),
        )
        for operator, group in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.ms))


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _mostly(nodes: list[NodeProfile]) -> Bound | None:
    time: dict[Bound | None, float] = defaultdict(float)
    for node in nodes:
        time[node.bound] += node.ms
    return max(time, key=lambda bound: time[bound])


def _peak(
    model: ir.Model | Path, graph: ir.Model, feeds: Arrays, target: str, threads: int
) -> PeakMemory:
    if isinstance(model, Path):
        return peak_memory(model, feeds, target=target, threads=threads)
    with scratch() as folder:
        path = Path(folder) / "model.onnx"
        save_model(graph, path)
        return peak_memory(path, feeds, target=target, threads=threads)
