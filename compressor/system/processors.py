"""How many processors this process may use, which is not how many the machine has.

An affinity (taskset, a batch system) names the processors; a quota of control groups (`docker run
--cpus 2`, a limit of Kubernetes) caps the time on them; a scheduler that runs several tasks on one
machine grants each a number. A runtime that is given more threads than that computes with threads
that wait for each other.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
_UNIFIED = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_LEGACY = ("sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/cpuacct,cpu")


@dataclass
class _Granted:
    """How many this process was granted; None where nobody said."""

    count: int | None = None


_GRANTED = _Granted()


def keep_to(count: int | None) -> None:
    """Take no more than so many from now on, whichever they are; None for all that is allowed."""
    _GRANTED.count = count


def available_processors(root: Path = ROOT) -> int:
    """The least of affinity, quota and what was granted, rounded down; 1 at least.

    Args:
        root: Root of the file system that tells of control groups.
    """
    allowed = allowed_processors()
    count = (os.cpu_count() or 1) if allowed is None else len(allowed)
    limits = (processor_quota(root), _GRANTED.count)
    return max(1, min([count, *(int(limit) for limit in limits if limit is not None)]))


def are_restricted() -> bool:
    """Whether this process may use less than all processors of the machine."""
    return available_processors() < (os.cpu_count() or 1)


def allowed_processors() -> frozenset[int] | None:
    """The numbers of those that this process may run on; None where the system does not tell."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS and Windows have no such call
        return None


def processor_quota(root: Path = ROOT) -> float | None:
    """Processors' worth of time that control groups allow; None where they set no limit.

    The least of the own group and those around it, of version 2 (`cpu.max`) and of version 1
    (`cpu.cfs_quota_us` over `cpu.cfs_period_us`).
    """
    found = (_unified_quota(folder) or _legacy_quota(folder) for folder in _groups(root))
    return min((limit for limit in found if limit is not None), default=None)


def throttled_seconds(root: Path = ROOT) -> float | None:
    """Seconds that the own group was held back for its quota so far; None where none is counted."""
    for folder in _groups(root):
        counts = dict(line.split(maxsplit=1) for line in _text(folder / "cpu.stat").splitlines())
        for name, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
            if counts.get(name, "").strip().isdigit():
                return int(counts[name]) / unit
    return None


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the own group and of those around it, the own one first.

    A container may see its group as the root of the hierarchy, or be told a path that only exists
    outside: whatever of the path is there counts.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            mounts: tuple[str, ...] = _UNIFIED
        elif "cpu" in controllers.split(","):
            mounts = _LEGACY
        else:
            continue
        parts = [part for part in path.split("/") if part and part != ".."]
        for mount in mounts:
            for depth in range(len(parts), -1, -1):
                yield root.joinpath(mount, *parts[:depth])


def _unified_quota(folder: Path) -> float | None:
    """Processors that `QUOTA PERIOD` in microseconds allow, where QUOTA may be `max`."""
    words = _text(folder / "cpu.max").split()
    return _share(*words) if len(words) == 2 else None


def _legacy_quota(folder: Path) -> float | None:
    """A quota of -1 is none."""
    return _share(_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us"))


def _share(quota: str, period: str) -> float | None:
    try:
        time, of = int(quota), int(period)
    except ValueError:
        return None
    return time / of if time > 0 and of > 0 else None


def _text(path: Path) -> str:
    """Empty where there is no such file, or it may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
