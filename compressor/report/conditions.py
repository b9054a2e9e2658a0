"""What else the machine did while speed was measured, in words; nothing where that did no harm."""

from collections.abc import Sequence

from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport
from compressor.results.measured import Measured
from compressor.results.measurements import LatencyResult

LEAST = 0.01
"""Share of other processes from which it is told."""
STOLEN = 0.02
"""Share of the host from which it is told."""


def source_words(graph: GraphReport) -> str | None:
    """What the source takes in PyTorch, and how much faster the result is; None where unknown."""
    known, first = graph.source_latency, graph.latency[0] if graph.latency else None
    if known is None or first is None or first.result is None:
        return None
    words = f"PyTorch itself takes {fmt.milliseconds(known.median_ms)} there"
    pace = known.median_ms / first.result.median_ms
    return (
        f"For orientation: {words}, timed alone and not in turn; the result is "
        f"{fmt.ratio(pace)} as fast as that."
    )


def busy_words(measured: Measured) -> tuple[str, ...]:
    """A few sentences on the machine and what the figures are of; empty where it was quiet.

    A configuration that it was too busy for has that as its reason, and is not told again.
    """
    measured_ones = (one for one in measured.latency if one.reason is None)
    busy = [one for one in measured_ones if one.conditions is not None and one.conditions.busy]
    if not busy:
        return ()
    where = "; ".join(fmt.configuration(one.config) for one in busy)
    told = [f"the machine was busy while speed was measured at {where}", *_shares(busy)]
    thread = [one for one in busy if one.method == "cpu time" and one.is_known]
    if thread:
        told.append(
            "speed-ups on one thread are of CPU time, which does not pass while others have the "
            "processor, with wider intervals"
        )
    if any(one.baseline is not None and one.baseline.method == "cpu time" for one in thread):
        told.append("so are times for which too few inferences kept the processor")
    if any(t.waits for one in thread for t in (one.baseline, one.result) if t is not None):
        told.append(
            "much more time passed than was computed: what an inference waits, or what others took "
            "meanwhile, is in neither the speed-up nor these times"
        )
    return (" ".join(map(fmt.sentence, told)),)


def time_words(latency: LatencyResult) -> str:
    """The configuration, and what its times are of where that is not the time that passes."""
    told = fmt.configuration(latency.config)
    timing = latency.baseline
    busy = timing is not None and timing.method == "cpu time"
    return f"{told} (CPU time, machine busy{_passed_words(latency)})" if busy else told


def _passed_words(latency: LatencyResult) -> str:
    """What passed before and after, where that was much more than was computed."""
    before, after = latency.baseline, latency.result
    if before is None or after is None or before.wall_ms is None or after.wall_ms is None:
        return ""
    if not (before.waits or after.waits):
        return ""
    return f"; {fmt.milliseconds(before.wall_ms)} → {fmt.milliseconds(after.wall_ms)} passed"


def _shares(busy: Sequence[LatencyResult]) -> list[str]:
    """How much others took, the host and the quota."""
    known = [one.conditions for one in busy if one.conditions is not None]
    foreign = max((one.foreign for one in known if one.foreign is not None), default=0.0)
    stolen = max((one.stolen for one in known if one.stolen is not None), default=0.0)
    throttled = sum(one.throttled_seconds or 0.0 for one in known)
    told = [f"other processes took {fmt.percent(foreign)} of it"] if foreign >= LEAST else []
    if stolen >= STOLEN:
        told.append(f"the host of the virtual machine kept {fmt.percent(stolen)} for itself")
    slowness = max((one.slowness or 1.0 for one in known), default=1.0)
    if slowness > 1:
        told.append(
            f"the core took {slowness:.1f} times its best time for the same work: another virtual "
            "machine may have had its other hardware thread, and without it speed-ups may be "
            f"{max(one.leeway for one in known):.1f} times as large or as small"
        )
    if throttled:
        told.append(f"a quota held this process back for {fmt.seconds(throttled)}")
    return told
