"""Weights and programs as torch and others store them."""

from collections.abc import Callable
from random import Random

from fuzz import hostile
from fuzz.archives import broken_archive
from fuzz.case import Case
from fuzz.commands import compress


def archive(name: str, *argv: str) -> Callable[[Case], list[str]]:
    """Cases of one archive, with what the commands want beside."""

    def made(case: Case) -> list[str]:
        case.copy("mlp.npz", "net.py")
        content = (case.bases.folder / name).read_bytes()
        (case.folder / name).write_bytes(case.broken(content, broken_archive))
        data = ["--calib", "mlp.npz"] if case.rng("data").random() < 0.7 else []
        if case.rng("command").random() < 0.85:
            return ["inspect", name, *argv, *data, "--quiet"]
        return compress(case, name, *argv, *data, "--quantize", "none")

    return made


def states(case: Case) -> list[str]:
    """Archives of weights."""
    name = case.rng("base").choice(("state.pt", "trainer.pt", "whole.pt", "weights.npz"))
    factory = [] if case.rng("factory").random() < 0.2 else ["--model", "net.py:build"]
    return archive(name, *factory)(case)


def plain(case: Case) -> list[str]:
    """Weights that are no archive."""
    name = case.rng("base").choice(("legacy.pt", "state.safetensors", "state.safetensors"))
    case.copy("mlp.npz", "net.py")
    content = (case.bases.folder / name).read_bytes()
    step = _broken_header if name.endswith("s") else hostile.broken_bytes
    (case.folder / name).write_bytes(case.broken(content, step))
    return ["inspect", name, "--model", "net.py:build", "--calib", "mlp.npz", "--quiet"]


def _broken_header(rng: Random, content: bytes) -> bytes:
    """Weights of safetensors, whose header is JSON."""
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.3 or length > len(content):
        return hostile.broken_bytes(rng, content)
    header = hostile.broken_json(rng, content[8 : 8 + length])
    told = len(header) if rng.random() < 0.8 else abs(hostile.integer(rng))
    return told.to_bytes(8, "little") + header + content[8 + length :]
