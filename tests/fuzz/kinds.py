"""Kinds of cases: each makes files, breaks one, and names the command that reads it."""

import contextlib
import io
import json
import os
import shutil
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import onnx
from google.protobuf.message import DecodeError

from fuzz import hostile, messages
from fuzz.bases import QUICK, Bases

EARLIER = "result"
"""The output folder of a case, which may hold an earlier result."""


@dataclass
class Case:
    """One case while it is made.

    Attributes:
        kind: See `KINDS`.
        seed: Of everything in it.
        folder: Where its files go.
        bases: What is broken.
        cheap: Whether only quick commands are run.
        kept: The steps that are taken; None takes all.
        steps: How many there were.
        model: The ONNX file that a good artifact is compared with.
        feeds: The data for that.
    """

    kind: str
    seed: int
    folder: Path
    bases: Bases
    cheap: bool = False
    kept: frozenset[int] | None = None
    steps: int = 0
    model: Path | None = None
    feeds: Path | None = None
    argv: list[str] = field(default_factory=list)

    def rng(self, what: object) -> Random:
        """Random numbers that do not depend on what else was drawn."""
        return Random(f"{self.kind}/{self.seed}/{what}")

    def each(self) -> Iterator[Random]:
        """Random numbers of each step that is taken."""
        self.steps = self.rng("steps").choice((1, 1, 1, 1, 2, 2, 3, 6))
        for index in range(self.steps):
            if self.kept is None or index in self.kept:
                yield self.rng(index)

    def copy(self, *names: str) -> None:
        """Take right files over."""
        for name in names:
            source = self.bases.folder / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.folder / name)

    def earlier(self, name: str = "done8") -> None:
        """In half of the cases there is an earlier result to lose."""
        if self.rng("earlier").random() < 0.5:
            shutil.copytree(self.bases.folder / name, self.folder / EARLIER)


def make(case: Case) -> list[str]:
    """Write the files of a case; the arguments of its command."""
    case.folder.mkdir(parents=True)
    case.argv = KINDS[case.kind](case)
    return case.argv


def _compress(case: Case, *argv: str) -> list[str]:
    case.earlier()
    return [*argv, *QUICK, "-o", EARLIER]


_SHARES = (
    (0.35, ("inspect", "--quiet")),
    (0.20, ("lint", "--time-limit", "5")),
    (0.10, ("calibrate", "-o", "made.npz", "--no-cache")),
    (0.07, ("inspect", "--json")),
    (0.02, ("profile", "--measure-seconds", "0.01")),
    (0.03, ("compare", "--measure-seconds", "0.01", "--no-memory")),
    (0.14, ("run", "--quantize", "none")),
    (0.03, ("run",)),
    (0.02, ("run", "--keep-slower")),
    (0.015, ("run", "--prune", "40%", "--quantize", "none")),
    (0.01, ("run", "--quantize", "int8-dynamic")),
    (0.01, ("run", "--quantize", "int8-weights")),
    (0.005, ("run", "--quantize", "fp16")),
)
"""Commands that take a model, with their shares; the first four are quick."""
_QUICK = 4


def _of_model(case: Case, path: str, data: str | None) -> list[str]:
    """One of the commands that take a model."""
    shares = _SHARES[:_QUICK] if case.cheap else _SHARES
    weights = [share for share, _ in shares]
    command, *options = case.rng("command").choices([argv for _, argv in shares], weights)[0]
    calib = [] if data is None or command == "lint" or "--json" in options else ["--calib", data]
    if command != "run":
        models = [path, path] if command == "compare" else [path]
        return [command, *models, *calib, *options]
    case.model, case.feeds = case.folder / path, None if data is None else case.folder / data
    return _compress(case, path, *calib, *options)


def _chosen(case: Case) -> tuple[str, Any]:
    name = case.rng("base").choice(sorted(case.bases.models))
    case.copy(f"{name}.npz")
    return name, onnx.ModelProto.FromString(case.bases.models[name].SerializeToString())


def _onnx(case: Case, broken: Callable[[Random, Any], None]) -> list[str]:
    name, model = _chosen(case)
    for rng in case.each():
        with contextlib.suppress(DecodeError, IndexError, TypeError, ValueError):  # broken before
            broken(rng, model)
    (case.folder / "model.onnx").write_bytes(model.SerializeToString())
    return _of_model(case, "model.onnx", f"{name}.npz" if case.rng("data").random() < 0.7 else None)


def _onnx_fields(case: Case) -> list[str]:
    return _onnx(case, messages.broken_field)


def _onnx_graphs(case: Case) -> list[str]:
    return _onnx(case, messages.broken_graph)


_MODES = (
    (), ("--keep-slower",), ("--keep-slower", "--keep-ruined"), ("--quantize", "int8-dynamic"),
    ("--quantize", "int8-weights"), ("--quantize", "int4"), ("--quantize", "fp16"),
    ("--quantize", "none", "--prune", "40%"), ("--prune", "30%", "--keep-slower"),
    ("--quantize", "none", "--target", "trt", "--trt-backend", "script"),
)  # fmt: skip


def _odd(case: Case) -> list[str]:
    """Graphs that are right and odd, through all of a run."""
    name, model = _chosen(case)
    for rng in case.each():
        with contextlib.suppress(DecodeError, IndexError, TypeError, ValueError):
            messages.odd_graph(rng, model)
    (case.folder / "model.onnx").write_bytes(model.SerializeToString())
    rng = case.rng("command")
    if rng.random() < 0.1:
        return ["sensitivity", "model.onnx", "--calib", f"{name}.npz", "--measure-seconds", "0.01"]
    case.model, case.feeds = case.folder / "model.onnx", case.folder / f"{name}.npz"
    return _compress(case, "model.onnx", "--calib", f"{name}.npz", *rng.choice(_MODES))


def _onnx_bytes(case: Case) -> list[str]:
    name, model = _chosen(case)
    _write_broken(case, case.folder / "model.onnx", model.SerializeToString())
    return _of_model(case, "model.onnx", f"{name}.npz")


def _onnx_outside(case: Case) -> list[str]:
    """Weights in another file, which may lie outside the folder of the model."""
    inner = case.folder / "model"
    shutil.copytree(case.bases.folder / "apart", inner)
    case.copy("mlp.npz")
    shutil.copy(inner / "weights.bin", case.folder / "outside.bin")
    (inner / "inner").mkdir()
    (inner / "link.bin").symlink_to(case.folder / "outside.bin")
    (inner / "linked").symlink_to(case.folder)
    os.mkfifo(inner / "fifo.bin")
    model = onnx.load(inner / "mlp.onnx", load_external_data=False)
    for rng in case.each():
        if rng.random() < 0.15:
            content = (inner / "weights.bin").read_bytes()
            (inner / "weights.bin").write_bytes(hostile.broken_bytes(rng, content))
        else:
            messages.outside(rng, model)
    (inner / "mlp.onnx").write_bytes(model.SerializeToString())
    return _of_model(case, "model/mlp.onnx", "mlp.npz")


def _write_broken(case: Case, path: Path, content: bytes) -> None:
    for rng in case.each():
        content = hostile.broken_bytes(rng, content)
    path.write_bytes(content)


def _broken_zip(case: Case, source: Path, path: Path) -> None:
    """An archive with members broken, renamed, doubled, swapped or made large."""
    content = source.read_bytes()
    for rng in case.each():
        try:
            content = _zip_step(rng, content)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, KeyError):
            content = hostile.broken_bytes(rng, content)
        except Exception as error:  # zlib's own
            if type(error).__name__ != "error":
                raise
            content = hostile.broken_bytes(rng, content)
    path.write_bytes(content)


def _zip_step(rng: Random, content: bytes) -> bytes:
    if rng.random() < 0.25:
        return hostile.broken_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    if not members:
        return content
    at = rng.randrange(len(members))
    name, inside = members[at]
    how = rng.randrange(9)
    if how == 0:
        del members[at]
    elif how == 1:
        members.append((name, inside))
    elif how == 2:
        folder = name.rpartition("/")[0]
        members[at] = (
            rng.choice((hostile.text(rng) or "_", f"../{name}", f"{folder}/{hostile.text(rng)}")),
            inside,
        )
    elif how == 3:
        other = rng.randrange(len(members))
        members[at], members[other] = (name, members[other][1]), (members[other][0], inside)
    elif how == 4 and name.endswith(".json"):
        members[at] = (name, _broken_json(rng, inside))
    elif how == 5:
        members[at] = (name, bytes(50_000_000))  # a bomb: small as it is stored
    elif how == 6:
        members[at] = (name, b"")
    else:
        members[at] = (name, hostile.broken_bytes(rng, inside))
    made = io.BytesIO()
    deflate = zipfile.ZIP_DEFLATED if how == 5 or rng.random() < 0.3 else zipfile.ZIP_STORED
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(made, "w", deflate) as archive:
        warnings.simplefilter("ignore")
        for name, inside in members:
            archive.writestr(name.replace("\x00", "") or "_", inside)
    return made.getvalue()


def _broken_json(rng: Random, content: bytes) -> bytes:
    try:
        document = hostile.broken_document(rng, json.loads(content))
        return json.dumps(document).encode()
    except ValueError:
        return hostile.broken_bytes(rng, content)


def _archive(name: str, *argv: str) -> Callable[[Case], list[str]]:
    def made(case: Case) -> list[str]:
        case.copy("mlp.npz", "net.py")
        _broken_zip(case, case.bases.folder / name, case.folder / name)
        data = ["--calib", "mlp.npz"] if case.rng("data").random() < 0.7 else []
        if case.rng("command").random() < 0.85:
            return ["inspect", name, *argv, *data, "--quiet"]
        return _compress(case, name, *argv, *data, "--quantize", "none")

    return made


def _states(case: Case) -> list[str]:
    name = case.rng("base").choice(("state.pt", "trainer.pt", "whole.pt", "weights.npz"))
    factory = [] if case.rng("factory").random() < 0.2 else ["--model", "net.py:build"]
    return _archive(name, *factory)(case)


def _plain(case: Case) -> list[str]:
    """Weights that are no archive."""
    name = case.rng("base").choice(("legacy.pt", "state.safetensors", "state.safetensors"))
    case.copy("mlp.npz", "net.py")
    content = (case.bases.folder / name).read_bytes()
    for rng in case.each():
        content = (
            _safetensors(rng, content) if name.endswith("s") else hostile.broken_bytes(rng, content)
        )
    (case.folder / name).write_bytes(content)
    return ["inspect", name, "--model", "net.py:build", "--calib", "mlp.npz", "--quiet"]


def _safetensors(rng: Random, content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3 or length > len(content):
        return hostile.broken_bytes(rng, content)
    header = _broken_json(rng, content[8 : 8 + length])
    told = len(header) if rng.random() < 0.8 else abs(hostile.integer(rng))
    return told.to_bytes(8, "little") + header + content[8 + length :]


def _data(case: Case) -> list[str]:
    """Arrays: in one file, in a folder of files, or as weights are stored."""
    rng = case.rng("base")
    case.copy("mlp.onnx")
    form = rng.choice(("npz", "npz", "npz", "npy", "parts"))
    if form == "npz":
        arrays = dict(np.load(case.bases.folder / "mlp.npz"))
        if rng.random() < 0.5:
            for step in case.each():
                arrays = _other_arrays(step, arrays)
            np.savez(case.folder / "data.npz", **arrays)
        else:
            _broken_zip(case, case.bases.folder / "mlp.npz", case.folder / "data.npz")
    elif form == "npy":
        array = np.load(case.bases.folder / "mlp.npy")
        made = io.BytesIO()
        np.save(made, array)
        content = made.getvalue()
        for step in case.each():
            content = _npy(step, content)
        (case.folder / "data.npy").write_bytes(content)
    else:
        case.copy("parts")
        for step in case.each():
            part = case.folder / "parts" / f"{step.randrange(4)}.npz"
            if step.random() < 0.5:
                np.savez(part, **_other_arrays(step, {"x": np.ones(16, np.float32)}))
            else:
                part.write_bytes(hostile.broken_bytes(step, part.read_bytes()))
    return _with_data(case, "mlp.onnx", "parts" if form == "parts" else f"data.{form}")


def _with_data(case: Case, model: str, data: str, *more: str) -> list[str]:
    rng = case.rng("command")
    flag = rng.choice(("--calib", "--calib", "--eval"))
    if rng.random() < 0.75 or case.cheap:
        return ["calibrate", model, "--calib", data, *more, "-o", "made.npz", "--no-cache"]
    if flag == "--eval":
        case.copy("mlp.npz") if model == "mlp.onnx" else None
        return _compress(case, model, "--eval", data, *more, "--quantize", "none")
    case.model, case.feeds = case.folder / model, None
    return _compress(case, model, "--calib", data, *more)


def _other_arrays(rng: Random, arrays: dict[str, Any]) -> dict[str, Any]:
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


_LABELS = (np.arange(8), np.full(8, -1), np.full(8, np.nan), np.zeros((8, 3)), np.array(["a"] * 8))
_DTYPES = ("i8", "u1", "?", "f2", "f8", "c8", ">f4", "U5", "S3", "M8[s]", "V4")


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


def _npy(rng: Random, content: bytes) -> bytes:
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


def _pictures(case: Case) -> list[str]:
    case.copy("convolutions.onnx", "pictures")
    folder = case.folder / "pictures"
    for rng in case.each():
        path = rng.choice(
            sorted(path for path in folder.rglob("*") if path.is_file()) or [folder / "x.png"]
        )
        how = rng.randrange(7)
        if how == 0:
            path.unlink(missing_ok=True)
        elif how == 1:
            (path.parent / "note.txt").write_text(hostile.text(rng))
        elif how == 2:
            path.write_bytes(_png_bomb(rng))
        elif how == 3 and not path.with_suffix(".gif").exists():
            path.rename(path.with_suffix(rng.choice((".gif", ".tif", ".txt", ".npz"))))
        elif how == 4:
            (folder / "loop").symlink_to(folder) if not (folder / "loop").exists() else None
        else:
            path.write_bytes(hostile.broken_bytes(rng, path.read_bytes() if path.exists() else b""))
    return _with_data(case, "convolutions.onnx", "pictures", "--image-size", "8")


def _png_bomb(rng: Random) -> bytes:
    """A picture of a few bytes that claims many."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    size = rng.choice((3000, 20000, 60000, 2**31 - 1))
    head = struct.pack(">IIBBBBB", size, size, 8, rng.choice((0, 2, 6)), 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def _tables(case: Case) -> list[str]:
    case.copy("mlp.onnx")
    name = case.rng("base").choice(("rows.jsonl", "rows.csv"))
    content = (case.bases.folder / name).read_bytes()
    for rng in case.each():
        if name.endswith("jsonl") and rng.random() < 0.6:
            lines = content.split(b"\n")
            at = rng.randrange(len(lines))
            lines[at] = _broken_json(rng, lines[at])
            content = b"\n".join(lines)
        else:
            content = hostile.broken_bytes(rng, content)
    (case.folder / name).write_bytes(content)
    return _with_data(case, "mlp.onnx", name)


def _recipe(case: Case) -> list[str]:
    case.copy("mlp.onnx", "mlp.npz", "recipe.toml")
    path = case.folder / "recipe.toml"
    document = tomllib.loads(path.read_text())
    if case.rng("base").random() < 0.3:
        _write_broken(case, path, path.read_bytes())
    else:
        for rng in case.each():
            if rng.random() < 0.4:
                _strange_field(rng, document)
            else:
                document = hostile.broken_document(rng, document)
                document = document if isinstance(document, dict) else {"x": document}
        path.write_text(_toml(document), encoding="utf-8", errors="replace")
    if case.cheap or case.rng("command").random() < 0.6:
        return ["recipe", "--recipe", "recipe.toml"]
    case.earlier()
    return ["mlp.onnx", "--recipe", "recipe.toml", "--no-cache", "--quiet", "-o", EARLIER]


def _strange_field(rng: Random, document: dict[str, Any]) -> None:
    """A field that recipes have, with a value that it has not."""
    from compressor.cli.places import PLACES

    section: Any = document
    place = rng.choice(sorted(set(PLACES.values()) - {("measure", "seconds"), ("train", "length")}))
    for key in place[:-1]:
        section = section.setdefault(key, {}) if isinstance(section, dict) else {}
    if isinstance(section, dict):
        section[place[-1]] = hostile.value(rng)


def _toml(document: Any) -> str:
    """TOML of whatever a document became; what TOML cannot say is left out."""
    return "".join(f"{_key(key)} = {_inline(value)}\n" for key, value in document.items())


def _key(key: Any) -> str:
    return json.dumps(str(key))


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if value is None:
        return '""'
    return json.dumps(value) if isinstance(value, str) else str(value)


def _plan(case: Case) -> list[str]:
    source = case.rng("base").choice(("done", "done8"))
    model = "convolutions" if source == "done" else "mlp"
    case.copy(f"{model}.onnx", f"{model}.npz")
    for path in sorted((case.bases.folder / source).glob("plan.*")):
        shutil.copy(path, case.folder)
    for rng in case.each():
        path = rng.choice(sorted(case.folder.glob("plan.*")))
        broken = (
            _broken_json if path.suffix == ".json" and rng.random() < 0.85 else hostile.broken_bytes
        )
        path.write_bytes(broken(rng, path.read_bytes()))
    more = ["--eval", f"{model}.npz"] if case.rng("data").random() < 0.3 else []
    return _compress(case, f"{model}.onnx", "--plan", "plan.json", *more)


def _result(case: Case, name: str) -> Path:
    source = case.rng("source").choice(("done", "done8"))
    shutil.copytree(case.bases.folder / source, case.folder / "old")
    path = case.folder / "old" / name
    for rng in case.each():
        broken = _broken_json if rng.random() < 0.85 else hostile.broken_bytes
        path.write_bytes(broken(rng, path.read_bytes()))
    return path


def _report(case: Case) -> list[str]:
    _result(case, "report.json")
    rng = case.rng("command")
    if rng.random() < 0.4:
        shutil.copytree(case.bases.folder / "done8", case.folder / "other")
        first = (
            ["report", "old", "other"],
            ["check", "other", "--against", "old", "--max-drop", "1%"],
        )
        return rng.choice((*first, ["check", "old", "--against", "other", "--min-speedup", "1x"]))
    return ["report", "old"]


def _manifest(case: Case) -> list[str]:
    _result(case, "manifest.json")
    rng = case.rng("command")
    if case.cheap:
        return ["check", "old"]
    if rng.random() < 0.7:
        return rng.choice((["check", "old"], ["report", "old"]))
    case.copy("mlp.onnx")
    return ["mlp.onnx", "--quantize", "none", *QUICK, "-o", "old"]


def _statistics(case: Case) -> list[str]:
    case.copy("mlp.onnx", "mlp.npz")
    shutil.copy(case.bases.folder / "stats.npz", case.folder / "good.npz")
    rng = case.rng("base")
    if rng.random() < 0.5:
        with np.load(case.bases.folder / "stats.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        for step in case.each():
            arrays = _other_statistics(step, arrays)
        np.savez(case.folder / "stats.npz", **arrays)
    else:
        _broken_zip(case, case.bases.folder / "stats.npz", case.folder / "stats.npz")
    if case.cheap or case.rng("command").random() < 0.7:
        return ["calibrate", "--merge", "good.npz", "stats.npz", "-o", "made.npz"]
    return _compress(case, "mlp.onnx", "--stats", "stats.npz", "--eval", "mlp.npz")


def _other_statistics(rng: Random, arrays: dict[str, Any]) -> dict[str, Any]:
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    if array.dtype.kind in "US" and array.ndim == 0:
        arrays[name] = np.array(_broken_json(rng, str(array).encode()).decode(errors="replace"))
        return arrays
    if array.dtype == np.uint8 and array.ndim == 1:
        broken = _broken_json(rng, array.tobytes())
        arrays[name] = np.frombuffer(broken, np.uint8)
        return arrays
    return _other_arrays(rng, arrays)


def _cache(case: Case) -> list[str]:
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
    from hashlib import sha256

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


_LONG = {"measure_seconds", "train", "trials", "time_budget", "time_limit", "units", "workers",
         "latency", "speedup", "effort", "force", "verbose", "storage", "track", "help",
         "version"}  # fmt: skip
"""Options that may ask for long work, or for work elsewhere."""


def _options(case: Case) -> list[str]:
    from compressor.cli.main import cli

    rng = case.rng("base")
    case.copy(
        "mlp.onnx",
        "mlp.npz",
        "net.py",
        "done8",
        "recipe.toml",
        "state.pt" if (case.bases.folder / "state.pt").exists() else "mlp.npy",
    )
    quick = ("inspect", "lint", "calibrate", "check", "recipe")
    command = rng.choice(quick if case.cheap else (*quick, "run", "run", "report", "compare"))
    argv = {
        "run": ["mlp.onnx", "--quantize", "none", *QUICK[2:4], "-o", EARLIER],
        "inspect": ["inspect", "mlp.onnx"], "lint": ["lint", "mlp.onnx"],
        "calibrate": ["calibrate", "mlp.onnx", "--calib", "mlp.npz", "-o", "made.npz"],
        "check": ["check", "done8"], "report": ["report", "done8"], "recipe": ["recipe"],
        "compare": ["compare", "mlp.onnx", "mlp.onnx", "--no-memory"],
    }[command]  # fmt: skip
    if command in ("run", "compare"):
        argv += ["--measure-seconds", "0.01"]
    known = [
        p
        for p in cli.commands[command].params
        if isinstance(p, click.Option) and p.name not in _LONG
    ]
    for step in case.each():
        option = step.choice(known)
        argv.append(step.choice(option.opts))
        if (not option.is_flag and option.flag_value is None) or not (
            option.is_flag or option.flag_value
        ):
            argv.append(_argument(step, option))
    return [word.replace("\x00", "") for word in argv]


def _argument(rng: Random, option: click.Option) -> str:
    if option.name in ("output", "file", "cache", "directory"):
        return rng.choice(
            (
                "made",
                "made/deeper",
                "mlp.onnx",
                "done8",
                ".",
                "-",
                "a" * 300,
                "é",
                hostile.MARKUP,
                hostile.ESCAPES,
            )
        )
    if isinstance(option.type, click.Choice) and rng.random() < 0.8:
        return str(rng.choice(list(option.type.choices)))
    files = (
        "mlp.npz",
        "mlp.onnx",
        "net.py:data",
        "net.py:build",
        "net.py:nothing",
        "done8",
        "done8/plan.json",
        "recipe.toml",
        "state.pt",
        "/dev/null",
    )
    forms = (
        "30%",
        "1%",
        "0.5pt",
        "2x",
        "1MB",
        "1/2",
        "0.5,0.5",
        "x:float32[n,16]",
        "x:float32[1]",
        "knee",
        "k=1",
        "1:1",
        "x:1x16,2x16,4x16",
        "int8",
        "*",
        "minmax",
        "percentile:50",
        "nhwc-to-nchw",
    )
    return rng.choice(
        (
            rng.choice(files),
            rng.choice(forms),
            hostile.text(rng),
            str(hostile.integer(rng)),
            str(hostile.number(rng)),
        )
    )


KINDS: dict[str, Callable[[Case], list[str]]] = {
    "onnx-fields": _onnx_fields,
    "onnx-graphs": _onnx_graphs,
    "onnx-odd": _odd,
    "onnx-bytes": _onnx_bytes,
    "onnx-outside": _onnx_outside,
    "exported": _archive("program.pt2"),
    "torchscript": _archive("script.pt", "--input", "x:float32[batch,16]"),
    "states": _states,
    "weights": _plain,
    "data": _data,
    "pictures": _pictures,
    "tables": _tables,
    "recipe": _recipe,
    "plan": _plan,
    "report": _report,
    "manifest": _manifest,
    "statistics": _statistics,
    "cache": _cache,
    "options": _options,
}
OF_TORCH = ("exported", "torchscript", "states", "weights")
DEAR = (*OF_TORCH, "onnx-odd", "plan", "cache")
"""Kinds of which every case takes a second."""
WEIGHTS = {"onnx-fields": 5, "onnx-graphs": 8, "onnx-bytes": 3, "onnx-outside": 2, "options": 3}
"""How many cases of a kind come where there is one of another."""
