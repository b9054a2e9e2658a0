"""Latencies kept on disk: found under their key alone, never half written, never in the way."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compressor.evaluation import latency_cache
from compressor.evaluation.latency_cache import LatencyCache, latency_folder, machine

KEY = {"graph": "abc", "threads": "1"}
FIGURES = {"Conv_0": 1.5e-5, "rest": 0.0}


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_was_measured_is_found_again(tmp_path: Path):
    folder = tmp_path / "made" / "latencies"
    LatencyCache(folder).put(KEY, FIGURES)
    assert LatencyCache(folder).get(dict(reversed(KEY.items()))) == FIGURES
    assert [path.suffix for path in entries(folder)] == [".json"], "nothing is left aside"


@pytest.mark.parametrize(
    "other", [{**KEY, "graph": "abd"}, {**KEY, "batch": "1"}, {"graph": "abc"}, {}]
)
def test_another_key_is_another_measurement(other: dict[str, str], tmp_path: Path):
    cache = LatencyCache(tmp_path)
    cache.put(KEY, FIGURES)
    assert cache.get(other) is None
    cache.put(other, {"rest": 2.0})
    assert cache.get(KEY) == FIGURES


def test_it_is_measured_once(tmp_path: Path):
    calls: list[int] = []

    def measure() -> dict[str, float]:
        calls.append(1)
        return FIGURES

    for _ in range(3):
        assert LatencyCache(tmp_path).measured(KEY, measure) == FIGURES
    assert len(calls) == 1


def changed(change: Callable[[dict], object]) -> Callable[[str], str]:
    def apply(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return apply


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: "\udc80",
        changed(lambda d: d.update(format=0)),
        changed(lambda d: d["key"].update(graph="abd")),
        changed(lambda d: d.update(figures=[1.0])),
        changed(lambda d: d["figures"].update(rest="1")),
        changed(lambda d: d["figures"].update(rest=True)),
        changed(lambda d: d["figures"].update(rest=-1.0)),
        changed(lambda d: d["figures"].update(rest=float("nan"))),
        changed(lambda d: d["figures"].update(rest=float("inf"))),
    ],
)
def test_what_cannot_be_trusted_is_measured_anew(spoil: Callable[[str], str], tmp_path: Path):
    cache = LatencyCache(tmp_path)
    cache.put(KEY, FIGURES)
    (path,) = entries(tmp_path)
    path.write_bytes(spoil(path.read_text()).encode("utf-8", "surrogateescape"))
    assert cache.get(KEY) is None
    assert cache.measured(KEY, lambda: {"rest": 3.0}) == {"rest": 3.0}
    assert cache.get(KEY) == {"rest": 3.0}


def test_those_used_longest_ago_go_first(tmp_path: Path):
    LatencyCache(tmp_path).put(KEY, FIGURES)
    size = entries(tmp_path)[0].stat().st_size
    cache = LatencyCache(tmp_path, most_bytes=3 * size)
    for number in range(3):
        cache.put({**KEY, "graph": f"g{number:02}"}, FIGURES)
        for age, path in enumerate(sorted(entries(tmp_path), key=os.path.getmtime)):
            os.utime(path, (age, age))
    assert cache.get(KEY) is None, "the oldest went for the fourth"
    assert cache.get({**KEY, "graph": "g00"}) == FIGURES, "and is now the latest"
    (tmp_path / "notes.txt").write_text("x" * 10 * size)
    cache.put(KEY, FIGURES)
    assert cache.get({**KEY, "graph": "g01"}) is None
    assert cache.get({**KEY, "graph": "g00"}) == FIGURES
    assert (tmp_path / "notes.txt").exists()


def test_runs_at_the_same_time_read_whole_entries(tmp_path: Path):
    cache = LatencyCache(tmp_path)

    def use(number: int) -> bool:
        cache.put(KEY, {f"n{i}": float(number) for i in range(200)})
        found = cache.get(KEY)
        return found is not None and len(found) == 200 and len(set(found.values())) == 1

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(40)))


def test_a_folder_that_cannot_be_made_stops_nobody(tmp_path: Path):
    (tmp_path / "file").write_text("")
    cache = LatencyCache(tmp_path / "file" / "latencies")
    assert cache.measured(KEY, lambda: FIGURES) == FIGURES
    assert cache.get(KEY) is None
    assert LatencyCache(None).measured(KEY, lambda: FIGURES) == FIGURES


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    LatencyCache(tmp_path).put(KEY, FIGURES)
    assert entries(tmp_path) == []


def test_latencies_lie_in_a_folder_of_their_own(tmp_path: Path):
    assert latency_folder(tmp_path) == tmp_path / "latencies"
    assert latency_folder(None) is None


def test_the_machine_and_its_software_are_told(monkeypatch: pytest.MonkeyPatch):
    found = machine("onnxruntime")
    assert found.keys() == {"processor", "flags", "cores", "system", "compressor", "onnxruntime"}
    assert found["processor"]
    assert machine("no-such-runtime")["no-such-runtime"] == "none"
    monkeypatch.setattr(latency_cache, "processor", lambda: "Another CPU")
    assert machine("onnxruntime") != found
