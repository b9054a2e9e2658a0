"""What runs keep: found under its key alone, whole or not at all, bounded, and never code."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from compressor.system import cache as module
from compressor.system.cache import Cache, Entry, counting, taken, trim, user_folder

KEY = {"graph": "abc", "versions": "1"}
ENTRY = Entry({"name": "first", "values": [1, None]}, {"w": np.arange(6, dtype=np.int8)})


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(found: Entry | None, entry: Entry = ENTRY) -> bool:
    return (
        found is not None
        and found.document == entry.document
        and found.arrays.keys() == entry.arrays.keys()
        and all(np.array_equal(found.arrays[name], a) for name, a in entry.arrays.items())
    )


def test_what_is_kept_is_found_under_its_key_and_kind_alone(tmp_path: Path):
    cache = Cache(tmp_path / "made" / "here")
    cache.put("capture", KEY, ENTRY)
    assert same(cache.get("capture", dict(reversed(KEY.items()))))
    assert cache.get("decisions", KEY) is None
    assert cache.get("capture", {**KEY, "versions": "2"}) is None
    assert [path.suffix for path in files(tmp_path)] == [".kept"], "nothing is left aside"


def test_what_was_damaged_counts_as_missing_and_is_replaced(tmp_path: Path):
    cache = Cache(tmp_path)
    cache.put("capture", KEY, ENTRY)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for broken in (b"", b"no entry", whole[:-1], whole[:60] + b"\x00" + whole[61:]):
        path.write_bytes(broken)
        assert cache.get("capture", KEY) is None
    cache.put("capture", KEY, ENTRY)
    assert same(cache.get("capture", KEY))


def test_an_entry_of_another_format_or_key_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = Cache(tmp_path)
    cache.put("capture", KEY, ENTRY)
    (path,) = files(tmp_path)
    other = cache._path(tmp_path, "capture", {"graph": "other"})
    other.write_bytes(path.read_bytes())
    assert cache.get("capture", {"graph": "other"}) is None
    monkeypatch.setattr(module, "FORMAT", 2)
    path.rename(cache._path(tmp_path, "capture", KEY))
    assert cache.get("capture", KEY) is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path):
    cache = Cache(tmp_path)
    for number in range(4):
        cache.put("capture", {"number": str(number)}, ENTRY)
        os.utime(cache._path(tmp_path, "capture", {"number": str(number)}), (number, number))
    assert cache.get("capture", {"number": "0"}) is not None  # now used last
    size = files(tmp_path)[0].stat().st_size
    trim(tmp_path, 2 * size)
    left = [n for n in range(4) if cache.get("capture", {"number": str(n)}) is not None]
    assert left == [0, 3]


def test_files_of_the_users_in_the_same_folder_never_go(tmp_path: Path):
    for name in ("calib.npz", "old.new", "x.kept"):
        (tmp_path / name).write_bytes(bytes(1000))
    Cache(tmp_path, most_bytes=4000).put("capture", KEY, ENTRY)
    trim(tmp_path, 0)
    assert sorted(path.name for path in files(tmp_path)) == ["calib.npz", "old.new", "x.kept"]


def test_what_takes_too_much_alone_is_not_kept(tmp_path: Path):
    Cache(tmp_path, most_bytes=100).put("capture", KEY, Entry(None, {"w": np.zeros(26, np.int8)}))
    assert files(tmp_path) == []


def test_runs_at_once_never_read_half_an_entry(tmp_path: Path):
    entry = Entry(None, {"w": np.arange(100_000)})

    def work(number: int) -> bool:
        cache = Cache(tmp_path)
        cache.put("capture", KEY, entry)
        return same(cache.get("capture", KEY), entry)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(16)))
    assert len(files(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path):
    (tmp_path / "file").touch()
    for cache in (Cache(tmp_path / "file" / "below"), Cache(None)):
        cache.put("capture", KEY, ENTRY)
        assert cache.get("capture", KEY) is None


def test_what_json_and_numpy_do_not_hold_is_not_kept(tmp_path: Path):
    cache = Cache(tmp_path)
    cache.put("capture", KEY, Entry(object()))
    cache.put("capture", KEY, Entry(None, {"w": np.array([object()])}))
    assert files(tmp_path) == []


def test_what_was_taken_is_counted_while_somebody_counts():
    module.count("nobody listens")
    with counting():
        module.count("capture")
        module.count("judgements")
        module.count("judgements")
        assert taken() == ("capture", "judgements (2)")
    assert taken() == ()


def test_the_environment_says_where_the_users_cache_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "compressor"
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    for relative in ("cache", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert user_folder() == tmp_path / "home" / ".cache" / "compressor"

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", homeless)
    assert user_folder() is None


@pytest.mark.parametrize("document", [None, [], {"name": 3}, "first"])
def test_what_cannot_be_made_of_an_entry_counts_as_missing(tmp_path: Path, document: object):
    cache = Cache(tmp_path)
    cache.put("capture", KEY, Entry(document))
    with counting() as found:
        assert cache.take("capture", KEY, lambda entry: entry.document["name"].upper()) is None
        cache.put("capture", KEY, ENTRY)
        assert cache.take("capture", KEY, lambda entry: entry.document["name"].upper()) == "FIRST"
    assert found == ["capture"]
