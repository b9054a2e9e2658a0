"""Data in arrays: in one file, or in a folder of files."""

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz import hostile
from fuzz.archives import broken_archive
from fuzz.case import Case
from fuzz.commands import with_data

Arrays = Callable[[Random, dict[str, Any]], dict[str, Any]]
_LABELS = (np.arange(8), np.full(8, -1), np.full(8, np.nan), np.zeros((8, 3)), np.array(["a"] * 8))
_DTYPES = ("i8", "u1", "?", "f2", "f8", "c8", ">f4", "U5", "S3", "M8[s]", "V4")


def arrays(case: Case) -> list[str]:
    """In one file, in a folder of files, or as weights are stored."""
    rng = case.rng("base")
    case.copy("mlp.onnx")
    form = rng.choice(("npz", "npz", "npz", "npy", "parts"))
    if form == "parts":
        _parts(case)
        return with_data(case, "mlp.onnx", "parts")
    if form == "npz":
        source, path = case.bases.folder / "mlp.npz", case.folder / "data.npz"
        broken_npz(case, rng, source, path, other_arrays)
    else:
        made = io.BytesIO()
        np.save(made, np.load(case.bases.folder / "mlp.npy"))
        (case.folder / "data.npy").write_bytes(case.broken(made.getvalue(), _broken_npy))
    return with_data(case, "mlp.onnx", f"data.{form}")


def broken_npz(case: Case, rng: Random, source: Path, path: Path, step: Arrays) -> None:
    """Other arrays in an archive that is right, or an archive that is not."""
    if rng.random() < 0.5:
        with np.load(source) as stored:
            held = {name: stored[name] for name in stored.files}
        for each in case.each():
            held = step(each, held)
        np.savez(path, **held)
    else:
        path.write_bytes(case.broken(source.read_bytes(), broken_archive))


def _parts(case: Case) -> None:
    case.copy("parts")
    for step in case.each():
        part = case.folder / "parts" / f"{step.randrange(4)}.npz"
        if step.random() < 0.5:
            np.savez(part, **other_arrays(step, {"x": np.ones(16, np.float32)}))
        else:
            part.write_bytes(hostile.broken_bytes(step, part.read_bytes()))


def other_arrays(rng: Random, arrays: dict[str, Any]) -> dict[str, Any]:
    """Arrays of which one is another, has another name, or has company."""
    if not arrays:
        return {"x": np.ones(3)}
    name = rng.choice(sorted(arrays))
    how = rng.randrange(12)
    if how == 0:
        arrays[hostile.text(rng)[:60].replace("\0", "") or "e"] = arrays.pop(name)
    elif how == 1:
        arrays["label"] = rng.choice(_LABELS)
    elif how == 2:
        arrays["more"] = rng.choice((np.zeros(3), np.zeros((8, 2)), np.array(1)))
    else:
        with np.errstate(all="ignore"):
            arrays[name] = _other_array(rng, arrays[name])
    return arrays


def _other_array(rng: Random, array: Any) -> Any:
    kind = rng.choice(_DTYPES)
    try:
        typed = array.astype(kind)
    except (TypeError, ValueError):
        typed = np.zeros(array.shape, kind)
    strange = rng.choice((np.nan, np.inf, 0, 1e38))
    return rng.choice(
        (
            array[:0] if array.ndim else array,
            array.reshape(-1),
            array[None],
            typed,
            np.full_like(array, strange) if array.dtype.kind == "f" else array,
            np.array([{"a": 1}, None], dtype=object),
            array[..., : array.shape[-1] // 2] if array.ndim else array,
            np.array(1.0),
            np.array(3),
        )
    )


def _broken_npy(rng: Random, content: bytes) -> bytes:
    if rng.random() < 0.5:
        return hostile.broken_bytes(rng, content)
    header = rng.choice(
        (
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({hostile.integer(rng)}, 16), }}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (8, 16), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (8,), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (8, 16), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 16.5), }",
            f"{{'descr': '<U{rng.choice((3, 2**31))}', 'fortran_order': False, 'shape': (2,)}}",
            "{'descr': '<f4'}",
            "[]" * 50,
            "__import__('os').system('touch hacked')",
            "(" * 300,
        )
    )
    text = header.encode() + b" " * 20 + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + content[128:]
