"""What one run keeps for another: statistics and the entries of a cache."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz import hostile
from fuzz.bases import QUICK
from fuzz.case import EARLIER, Case
from fuzz.commands import compress
from fuzz.kinds.arrays import broken_npz, other_arrays


def statistics(case: Case) -> list[str]:
    """Statistics of calibration, to be merged or used."""
    case.copy("mlp.onnx", "mlp.npz")
    shutil.copy(case.bases.folder / "stats.npz", case.folder / "good.npz")
    source, path = case.bases.folder / "stats.npz", case.folder / "stats.npz"
    broken_npz(case, case.rng("base"), source, path, _other_statistics)
    if case.cheap or case.rng("command").random() < 0.7:
        return ["calibrate", "--merge", "good.npz", "stats.npz", "-o", "made.npz"]
    return compress(case, "mlp.onnx", "--stats", "stats.npz", "--eval", "mlp.npz")


def _other_statistics(rng: Random, arrays: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    if array.dtype.kind in "US" and array.ndim == 0:
        arrays[name] = np.array(
            hostile.broken_json(rng, str(array).encode()).decode(errors="replace")
        )
        return arrays
    if array.dtype == np.uint8 and array.ndim == 1:
        broken = hostile.broken_json(rng, array.tobytes())
        arrays[name] = np.frombuffer(broken, np.uint8)
        return arrays
    return other_arrays(rng, arrays)


def cache(case: Case) -> list[str]:
    """Entries that are broken, swapped, or of an older version."""
    case.copy("mlp.onnx", "mlp.npz", "kept")
    paths = sorted(path for path in (case.folder / "kept").rglob("*") if path.is_file())
    for rng in case.each():
        for path in rng.sample(paths, min(len(paths), rng.choice((1, 3, 100)))):
            _break_entry(rng, path, rng.choice(paths))
    if case.rng("command").random() < 0.5:
        return ["cache", "kept", *(["--clear"] if case.rng("clear").random() < 0.3 else [])]
    words = [word for word in QUICK if word != "--no-cache"]
    case.earlier()
    case.model, case.feeds = case.folder / "mlp.onnx", case.folder / "mlp.npz"
    return ["mlp.onnx", "--calib", "mlp.npz", *words, "--cache", "kept", "-o", EARLIER]


def _break_entry(rng: Random, path: Path, other: Path) -> None:
    """A folder in its place, another entry, or a broken one, whose seal may be right."""
    how = rng.randrange(5)
    if not path.is_file():
        return
    if how == 0:
        path.unlink()
        path.mkdir()
    elif how == 1:
        path.write_bytes(_resealed(rng, path.read_bytes()))
    elif how == 2 and other.is_file():
        path.write_bytes(other.read_bytes())
    else:
        path.write_bytes(hostile.broken_bytes(rng, path.read_bytes()))


def _resealed(rng: Random, content: bytes) -> bytes:
    """An entry whose seal is right and whose content is not, as an older version may leave it."""
    body = content[32:]
    length = int.from_bytes(body[:8], "little")
    try:
        head = json.loads(body[8 : 8 + length])
        told = json.loads(head["__metadata__"]["document"])
        told[2] = hostile.broken_document(rng, told[2])
        head["__metadata__"]["document"] = json.dumps(told)
    except (ValueError, KeyError, TypeError, IndexError):
        return hostile.broken_bytes(rng, content)
    made = json.dumps(head).encode()
    body = len(made).to_bytes(8, "little") + made + body[8 + length :]
    return sha256(body).digest() + body
