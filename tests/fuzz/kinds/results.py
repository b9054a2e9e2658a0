"""The folder of a result: its plan, its report, its manifest."""

import shutil
from pathlib import Path
from random import Random

from fuzz import hostile
from fuzz.bases import QUICK
from fuzz.case import Case
from fuzz.commands import compress


def plan(case: Case) -> list[str]:
    """The plan, or the weights beside it."""
    source = case.rng("base").choice(("done", "done8"))
    model = "convolutions" if source == "done" else "mlp"
    case.copy(f"{model}.onnx", f"{model}.npz")
    for path in sorted((case.bases.folder / source).glob("plan.*")):
        shutil.copy(path, case.folder)
    for rng in case.each():
        _break(rng, rng.choice(sorted(case.folder.glob("plan.*"))))
    more = ["--eval", f"{model}.npz"] if case.rng("data").random() < 0.3 else []
    return compress(case, f"{model}.onnx", "--plan", "plan.json", *more)


def _break(rng: Random, path: Path) -> None:
    whole = path.suffix == ".json" and rng.random() < 0.85
    broken = hostile.broken_json if whole else hostile.broken_bytes
    path.write_bytes(broken(rng, path.read_bytes()))


def _result(case: Case, name: str) -> None:
    """A result of which one file is broken."""
    source = case.rng("source").choice(("done", "done8"))
    shutil.copytree(case.bases.folder / source, case.folder / "old")
    for rng in case.each():
        _break(rng, case.folder / "old" / name)


def report(case: Case) -> list[str]:
    """The report, of one result or of one against another."""
    _result(case, "report.json")
    rng = case.rng("command")
    if rng.random() < 0.4:
        shutil.copytree(case.bases.folder / "done8", case.folder / "other")
        commands = (
            ["report", "old", "other"],
            ["check", "other", "--against", "old", "--max-drop", "1%"],
            ["check", "old", "--against", "other", "--min-speedup", "1x"],
        )
        return rng.choice(commands)
    return ["report", "old"]


def manifest(case: Case) -> list[str]:
    """The manifest, by which a folder is known as ours."""
    _result(case, "manifest.json")
    rng = case.rng("command")
    if case.cheap:
        return ["check", "old"]
    if rng.random() < 0.7:
        return rng.choice((["check", "old"], ["report", "old"]))
    case.copy("mlp.onnx")
    return ["mlp.onnx", "--quantize", "none", *QUICK, "-o", "old"]
