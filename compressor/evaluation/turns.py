"""Kernel times of several forms of one float graph, profiled in turn.

Two profiles that are taken one after the other compare the minutes in which they ran. Here all
sessions stay open and work in turn, a few inferences each, so that drift falls on all alike, and
each model has a second session without a profiler: as profiled nodes take longer than the whole
inference does, only their shares of the time without it are used. On one thread that is the
thread's own time, which does not pass while others have the processor.

The profiler knows the wall clock only, and a longer node is more likely to lose the processor. So
on one thread the shares are those of the inferences that lost the least of their time, wall - CPU,
and of nodes that are long enough to be hit in most of these the lower quartile counts. They propose
a placement; what it is worth a race of both decides, which rests on no profile.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter, thread_time
from typing import Protocol

import numpy as np
import onnx_ir as ir

from compressor.evaluation.attribution import owner_of, owners
from compressor.evaluation.ceilings import measure_overheads
from compressor.evaluation.clocks import fine_thread_clock
from compressor.evaluation.executed import WARM_UP, NodeTime, node_times
from compressor.evaluation.feeding import feeds_for
from compressor.evaluation.pairing import CLOSE, sampling_half
from compressor.graph.session import open_session
from compressor.graph.tensors import Arrays
from compressor.system.scratch import scratch
from exporters.base import Kernel, Profiled, Runner, Target, reference_target

CONVERSIONS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Transpose"}
    | {"ReorderInput", "ReorderOutput", "Cast"}
)
"""Kernels that compute nothing, though they may write a value of the float graph."""
BURST = 5
"""Inferences of a turn; the first finds the caches full of another model's values."""
QUIET = 25
"""Percentile of the times without a profiler: disturbance only adds to a time."""
LEAST_LOST = 1 / 3
"""Share of the profiled inferences that tell the nodes' times: those that lost least."""
LEAST_TURNS = 4
MOST_TURNS = 40
LOOKS = (8, 12, 18, 27)
"""Turns after which it is asked whether all times are known to within `pairing.CLOSE`."""


def kernel_seconds(
    models: Sequence[ir.Model], source: ir.Model, feeds: Arrays, *, threads: int, seconds: float
) -> list[dict[str, float]]:
    """Seconds of each node of `source` in every model, with what prepares its inputs.

    A kernel that does the work of no node (Q/DQ, reordering, transposing) counts for the node
    that reads what it writes, the first of several; behind the last node for the one in front.

    Args:
        models: Forms of `source`: itself, and what became of it.
        source: The float graph whose nodes are asked about.
        feeds: One batch.
        threads: Intra-operator threads.
        seconds: Time for all models together, unless less is enough: until each whole inference is
            known to within 2 %.

    Raises:
        GraphError: The runtime refuses a model.
    """
    names = owners(source)
    overhead, profiler = measure_overheads(threads)
    with scratch() as folder:
        sessions = [
            _Session(model, Path(folder) / f"{i}", feeds, threads) for i, model in enumerate(models)
        ]
        _take_turns(sessions, seconds)
        return [session.owned(names, overhead, profiler) for session in sessions]


def own_kernel_seconds(
    target: Target,
    models: Sequence[ir.Model],
    source: ir.Model,
    feeds: Arrays,
    *,
    threads: int,
    seconds: float,
) -> list[dict[str, float]] | None:
    """The same by the profiler of a target's own runtime; None where it has none.

    What the runtime's kernels take that do the work of no node counts for the next that does.

    Args:
        target: The runtime.
        models: As above.
        source: As above.
        feeds: One batch.
        threads: Intra-operator threads.
        seconds: Time for all models together.
    """
    names = owners(source)
    with ExitStack() as stack:
        sessions = []
        for model in models:
            profiled = target.profiled(model, feeds, threads=threads)
            if profiled is None:
                return None
            plain = stack.enter_context(target.open(model, threads=threads))
            sessions.append(_OwnSession(stack.enter_context(profiled), plain, feeds, threads))
        _take_turns(sessions, seconds)
        return [session.owned(names) for session in sessions]


class _Turns(Protocol):
    """Works in turn with others."""

    def turn(self) -> None: ...

    @property
    def is_known(self) -> bool: ...


def _take_turns(sessions: Sequence[_Turns], seconds: float) -> None:
    """Give each a turn, in alternating order, until all times are known or time is over."""
    started, turns = perf_counter(), 0
    while turns < LEAST_TURNS or (turns < MOST_TURNS and perf_counter() - started < seconds):
        for session in sessions if turns % 2 == 0 else sessions[::-1]:
            session.turn()
        turns += 1
        if turns in LOOKS and all(session.is_known for session in sessions):
            break


class _Plain:
    """A model without a profiler, by which shares become times."""

    def __init__(self, runner: Runner, feeds: Arrays, threads: int) -> None:
        self._run = runner.bind(dict(feeds_for(runner, feeds)))
        self._seconds: list[float] = []
        self.on_thread = threads == 1 and fine_thread_clock() is not None
        self._clock = thread_time if self.on_thread else perf_counter

    def turn(self) -> None:
        """A few inferences."""
        for _ in range(BURST):
            started = self._clock()
            self._run()
            self._seconds.append(self._clock() - started)

    @property
    def is_known(self) -> bool:
        """Whether more turns would tell little more."""
        turns = np.array(self._seconds).reshape(-1, BURST)
        return sampling_half(np.log(np.median(turns, axis=1))) <= CLOSE

    @property
    def seconds(self) -> float:
        """Of one inference."""
        return float(np.percentile(self._seconds, QUIET))


class _OwnSession:
    """A model with the profiler of its own runtime, and without."""

    def __init__(self, profiled: Profiled, plain: Runner, feeds: Arrays, threads: int) -> None:
        self._profiled, self._plain = profiled, _Plain(plain, feeds, threads)
        self._seen: list[list[Kernel]] = []
        self._lost: list[float] = []

    def turn(self) -> None:
        """A few inferences with the profiler, as many without."""
        for _ in range(BURST):
            on, started = thread_time(), perf_counter()
            self._profiled.inference()
            wall = perf_counter() - started
            self._lost.append(max(wall - (thread_time() - on), 0.0) / max(wall, 1e-9))
            self._seen.append(self._profiled.kernels())
        self._plain.turn()

    @property
    def is_known(self) -> bool:
        return self._plain.is_known

    def owned(self, names: Mapping[str, str]) -> dict[str, float]:
        """Float node → seconds; "" is what no node can be told for."""
        kept = least_lost(self._lost) if self._plain.on_thread else range(len(self._seen))
        found: defaultdict[str, float] = defaultdict(float)
        for run in kept:
            waiting, last = 0.0, ""
            for kernel in self._seen[run]:
                owner = next((o for n in kernel.names if (o := owner_of(n, names))), None)
                waiting += kernel.seconds
                if owner is not None:
                    found[owner] += waiting
                    waiting, last = 0.0, owner
            found[last] += waiting
        scale = self._plain.seconds / max(sum(found.values()), 1e-12)
        return {name: seconds * scale for name, seconds in found.items()}


class _Session:
    """A session of one model with its profiler on."""

    def __init__(self, model: ir.Model, prefix: Path, feeds: Arrays, threads: int) -> None:
        self._optimized = prefix.with_suffix(".onnx")
        runner = reference_target().open(model, threads=threads, timed=False)
        self._feeds = dict(feeds_for(runner, feeds))
        self._plain = _Plain(runner, feeds, threads)
        self._lost: list[float] = []
        self._session = open_session(
            model,
            threads=threads,
            profile_prefix=prefix,
            optimized_model=self._optimized,
            spin=False,
        )

    def turn(self) -> None:
        """A few inferences with the profiler, as many without."""
        for _ in range(BURST):
            on, started = thread_time(), perf_counter()
            self._session.run(None, self._feeds)
            wall = perf_counter() - started
            self._lost.append(max(wall - (thread_time() - on), 0.0) / max(wall, 1e-9))
        self._plain.turn()

    @property
    def is_known(self) -> bool:
        """Whether more turns would tell little more of the time without a profiler."""
        return self._plain.is_known

    def owned(self, names: Mapping[str, str], overhead: float, profiler: float) -> dict[str, float]:
        """Float node → seconds."""
        kept = least_lost(self._lost) if self._plain.on_thread else None
        times = node_times(Path(self._session.end_profiling()), kept)
        owned = _prepared(ir.load(self._optimized).graph, times, names)
        found: defaultdict[str, float] = defaultdict(float)
        for time in times:
            net = max(time.microseconds / 1e6 - profiler, 0.0) + overhead
            found[owned.get(time.name) or owner_of(time.name, names) or ""] += net
        scale = self._plain.seconds / max(sum(found.values()), 1e-12)
        return {name: seconds * scale for name, seconds in found.items()}


def least_lost(lost: Sequence[float]) -> list[int]:
    """The numbers of the inferences that lost the least share of their time, in order.

    The first of the session are left out where there are others.

    Args:
        lost: Time that each inference lost.
    """
    count = max(BURST, int(len(lost) * LEAST_LOST))
    order = sorted(range(min(WARM_UP, len(lost) - 1), len(lost)), key=lambda i: lost[i])
    return sorted(order[:count])


def _prepared(
    graph: ir.Graph, times: Sequence[NodeTime], names: Mapping[str, str]
) -> dict[str, str]:
    """Executed node → the float node that its time counts for."""
    executed = {time.name for time in times}
    nodes = [node for node in graph if node.name in executed]
    found = {node.name or "": _worker(node, names) for node in nodes}
    for node in reversed(nodes):  # from the back, so that chains of conversions resolve
        if found[node.name or ""] is None:
            behind = [reader.name or "" for v in node.outputs for reader in v.consumers()]
            found[node.name or ""] = next((found[n] for n in behind if found.get(n)), None)
    for node in nodes:
        if found[node.name or ""] is None:
            front = [v.producer() for v in node.inputs if v is not None]
            known = (found.get(p.name or "") for p in front if p is not None)
            found[node.name or ""] = next((name for name in known if name), None)
    return {name: owner for name, owner in found.items() if owner is not None}


def _worker(node: ir.Node, names: Mapping[str, str]) -> str | None:
    """The float node whose work a kernel does: of its name, or else that writes the same value."""
    owner = owner_of(node.name or "", names)
    if owner is None and node.op_type not in CONVERSIONS:
        written = (names.get(value.name or "") for value in node.outputs)
        return next((name for name in written if name), None)
    return owner
