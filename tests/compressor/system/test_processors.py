"""Processors that may be used, of files as the kernel writes them."""

from pathlib import Path

import pytest

from compressor.system import processors
from compressor.system.processors import (
    available_processors,
    keep_to,
    processor_quota,
    throttled_seconds,
)


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


UNIFIED = "sys/fs/cgroup"
LEGACY = "sys/fs/cgroup/cpu,cpuacct"
QUOTAS = {
    "none": ("0::/\n", {}, None),
    "unlimited": ("0::/a\n", {f"{UNIFIED}/a/cpu.max": "max 100000\n"}, None),
    "own group": ("0::/a/b\n", {f"{UNIFIED}/a/b/cpu.max": "150000 100000\n"}, 1.5),
    "around it": (
        "0::/a/b\n",
        {f"{UNIFIED}/a/b/cpu.max": "max 100000", f"{UNIFIED}/a/cpu.max": "200000 100000"},
        2.0,
    ),
    "container": ("0::/\n", {f"{UNIFIED}/cpu.max": "50000 100000\n"}, 0.5),
    "path of the host": (
        "4:cpu,cpuacct:/docker/3f\n",
        {f"{LEGACY}/cpu.cfs_quota_us": "300000\n", f"{LEGACY}/cpu.cfs_period_us": "100000\n"},
        3.0,
    ),
    "version 1, unlimited": (
        "2:cpuset:/\n1:cpu:/\n",
        {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "1"},
        None,
    ),
    "beyond the namespace": ("0::/../x\n", {f"{UNIFIED}/cpu.max": "400000 100000"}, 4.0),
    "nonsense": ("nothing\n", {f"{UNIFIED}/cpu.max": "x y"}, None),
}


@pytest.mark.parametrize(("groups", "files", "quota"), QUOTAS.values(), ids=QUOTAS)
def test_the_least_quota_counts(tmp_path: Path, groups, files, quota):
    assert processor_quota(system(tmp_path, groups, files)) == quota


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"), [(8, None, 8), (8, 2.5, 2), (1, 4.0, 1), (8, 0.2, 1)]
)
def test_affinity_and_quota_bound_the_processors(monkeypatch, affinity, quota, expected):
    monkeypatch.setattr(processors, "allowed_processors", lambda: frozenset(range(affinity)))
    monkeypatch.setattr(processors, "processor_quota", lambda root: quota)
    assert available_processors() == expected


@pytest.mark.parametrize(("granted", "expected"), [(1, 1), (3, 3), (9, 4), (None, 4)])
def test_what_was_granted_bounds_them_too(monkeypatch, granted, expected):
    monkeypatch.setattr(processors, "_GRANTED", processors._Granted())
    monkeypatch.setattr(processors, "allowed_processors", lambda: frozenset(range(4)))
    monkeypatch.setattr(processors, "processor_quota", lambda root: None)
    keep_to(granted)
    assert available_processors() == expected


def test_without_affinity_all_processors_count(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(processors, "allowed_processors", lambda: None)
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert available_processors(tmp_path) == 6


@pytest.mark.parametrize(
    ("groups", "file", "text", "seconds"),
    [
        ("0::/", f"{UNIFIED}/cpu.stat", "nr_throttled 3\nthrottled_usec 2500000\n", 2.5),
        ("1:cpu:/", "sys/fs/cgroup/cpu/cpu.stat", "throttled_time 500000000\n", 0.5),
        ("0::/", f"{UNIFIED}/cpu.stat", "usage_usec 1\n", None),
    ],
)
def test_time_that_a_quota_took(tmp_path: Path, groups, file, text, seconds):
    assert throttled_seconds(system(tmp_path, groups, {file: text})) == seconds
