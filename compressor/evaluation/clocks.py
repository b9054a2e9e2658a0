"""The clocks that latencies are taken with, and what else took time of the machine meanwhile.

The time of a thread on its processor is what an inference takes where no one takes the processor
away. The system counts it finely on Linux and macOS; Windows counts it in 1/64 s, which is no use.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from compressor.evaluation.pace import LoopPace, Pace
from compressor.system.processors import allowed_processors, throttled_seconds

FINE = 1e-6
"""Seconds of resolution that a clock needs for one inference."""

Nanoseconds = Callable[[], int]


class MachineTime(NamedTuple):
    """Processor times since the machine started, of the processors that may be used.

    Attributes:
        busy: Seconds of work, summed over them; of `stolen`, too.
        stolen: Seconds in which the host of a virtual machine ran something else.
        processors: How many there are.
    """

    busy: float
    stolen: float
    processors: int


def fine_thread_clock() -> Nanoseconds | None:
    """CPU time of the calling thread; None where it is not counted, or too coarsely."""
    try:
        fine = time.get_clock_info("thread_time").resolution <= FINE
    except (AttributeError, ValueError):
        return None
    return time.thread_time_ns if fine else None


@cache
def pace_of_process() -> Pace | None:
    """One for the whole process, which remembers the shortest; None without a fine clock."""
    clock = fine_thread_clock()
    return None if clock is None else LoopPace(clock)


def blocking_counter() -> Callable[[], int] | None:
    """How often the calling thread gave its processor away; None where that is not counted."""
    try:
        import resource  # noqa: PLC0415 - does not exist on Windows

        who = resource.RUSAGE_THREAD
    except (ImportError, AttributeError):  # macOS counts for the process only
        return None
    return lambda: resource.getrusage(who).ru_nvcsw


def machine_time(stat: Path = Path("/proc/stat")) -> MachineTime | None:
    """Times of the processors that this process may run on; None where the system does not tell."""
    try:
        text = stat.read_text(encoding="ascii", errors="replace")
    except OSError:
        return _told_by_psutil()
    allowed, ticks = allowed_processors(), os.sysconf("SC_CLK_TCK")
    busy = stolen = count = 0
    for line in text.splitlines():
        name, *counts = line.split()
        if not name.startswith("cpu") or not name[3:].isdigit():
            continue
        if allowed is not None and int(name[3:]) not in allowed:
            continue
        # user, nice, system, idle, iowait, irq, softirq, steal; guests are part of user and nice
        user, nice, system, _, _, irq, soft, steal = (int(c) for c in [*counts, *"0" * 8][:8])
        busy += user + nice + system + irq + soft + steal
        stolen += steal
        count += 1
    return MachineTime(busy / ticks, stolen / ticks, count) if count else None


def _told_by_psutil() -> MachineTime | None:
    import psutil  # noqa: PLC0415 - where there is no /proc

    try:
        times = psutil.cpu_times(percpu=True)
    except (OSError, NotImplementedError):
        return None
    busy = sum(sum(one) - one.idle for one in times)
    return MachineTime(busy, 0.0, len(times)) if times else None


@dataclass(frozen=True)
class Clocks:
    """The clocks that measuring reads; tests bring their own.

    Attributes:
        wall: Nanoseconds that pass.
        thread: Nanoseconds that the calling thread was on a processor; None where too coarse.
        process: Nanoseconds of all threads of this process, which others' are told from.
        blocked: How often the calling thread waited of its own accord; None where unknown.
        machine: What the processors did; it returns None where that is unknown.
        throttled: Seconds that a quota took; it returns None where none is counted.
        pace: How fast the processor is; None where nothing tells.
    """

    wall: Nanoseconds = time.perf_counter_ns
    thread: Nanoseconds | None = field(default_factory=fine_thread_clock)
    process: Nanoseconds = time.process_time_ns
    blocked: Callable[[], int] | None = field(default_factory=blocking_counter)
    machine: Callable[[], MachineTime | None] = machine_time
    throttled: Callable[[], float | None] = throttled_seconds
    pace: Pace | None = field(default_factory=pace_of_process)
