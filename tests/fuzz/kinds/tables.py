"""Data in rows of text."""

from random import Random

from fuzz import hostile
from fuzz.case import Case
from fuzz.commands import with_data


def tables(case: Case) -> list[str]:
    """Rows of JSON, or with commas."""
    case.copy("mlp.onnx")
    name = case.rng("base").choice(("rows.jsonl", "rows.csv"))
    content = (case.bases.folder / name).read_bytes()
    step = _broken_row if name.endswith("jsonl") else hostile.broken_bytes
    (case.folder / name).write_bytes(case.broken(content, step))
    return with_data(case, "mlp.onnx", name)


def _broken_row(rng: Random, content: bytes) -> bytes:
    if rng.random() >= 0.6:
        return hostile.broken_bytes(rng, content)
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = hostile.broken_json(rng, lines[at])
    return b"\n".join(lines)
