"""The plan of a run block by block: a graph a block, whose arrays are never together in memory."""

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import Field, ValidationError
from safetensors import safe_open

from compressor.errors import RecipeError
from compressor.plan.plan import GraphPlan, Plan, first_problem
from exporters.base import Target

_CHUNK = 2**24
_LENGTH = 8
"""Bytes of the length of a header (safetensors, format)."""


class StreamedPlan(Plan):
    """A plan whose arrays lie in a file for each block.

    Attributes:
        sources: These files, as `safetensors` wrote them.
    """

    sources: tuple[Path, ...] = Field(default=(), exclude=True, repr=False)

    def save(self, path: Path) -> tuple[Path, ...]:
        """Write JSON, and beside it the arrays of all blocks in one file."""
        if not self.sources:
            return super().save(path)
        beside = path.with_suffix(".safetensors")
        digest = concatenated(self.sources, beside)
        sealed = self.model_copy(update={"digest": digest})
        path.write_text(sealed.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path, beside


def plans_of(path: Path, target: Target, names: Sequence[str]) -> dict[str, GraphPlan]:
    """The decisions of an earlier run by block, without their arrays.

    Args:
        path: Its `plan.json`.
        target: What it has to be for.
        names: The blocks of this run.

    Raises:
        RecipeError: It is no plan, or one of another cut, or its arrays are not those beside it.
    """
    try:
        plan = Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"plan {path} cannot be read: {error.strerror}", hint=_HINT) from error
    except (ValidationError, UnicodeDecodeError) as error:
        said = first_problem(error)
        raise RecipeError(f"{path} is not a plan of this version: {said}", hint=_HINT) from error
    if plan.target != target.name:
        raise RecipeError(f"the plan is for target {plan.target!r}, not {target.name!r}")
    if list(plan.graphs) != list(names):
        raise RecipeError(
            f"{path} has {len(plan.graphs)} graphs, and with this --memory the model is worked on "
            f"in {len(names)} blocks",
            hint="Replay a plan with the --memory that it was made with, or without if without.",
        )
    beside = path.with_suffix(".safetensors")
    if plan.digest is not None and digest_of(beside) != plan.digest:
        raise RecipeError(
            f"{beside} is not the file that {path.name} was saved with",
            hint="Copy both from the same output folder.",
        )
    return dict(plan.graphs)


_HINT = "Pass the plan.json that an earlier run wrote into its output folder."


def with_arrays(name: str, plan: GraphPlan, path: Path) -> GraphPlan:
    """The decisions for a block with their arrays, which alone are read from the file."""
    whole = Plan(target="", seed=0, graphs={name: plan})
    if path.exists():
        with safe_open(path, framework="numpy") as file:
            own = {key: file.get_tensor(key) for key in file.keys() if key.startswith(f"{name}/")}  # noqa: SIM118 - it is no dict
        whole.take(own)
    return whole.graphs[name]


def concatenated(sources: Sequence[Path], path: Path) -> str:
    """Write the tensors of several files of safetensors into one, a piece at a time; its SHA-256.

    The format is a length (8 bytes, little-endian), a header in JSON, and the data, to whose
    beginning offsets in the header are relative.
    """
    header: dict[str, Any] = {}
    places: list[tuple[Path, int]] = []
    start = 0
    for source in sources:
        own, begins = _header(source)
        for name, entry in own.items():
            first, last = entry["data_offsets"]
            header[name] = {**entry, "data_offsets": [start + first, start + last]}
        places.append((source, begins))
        start += source.stat().st_size - begins
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    found = sha256()
    with path.open("wb") as file:
        for piece in _pieces(len(text).to_bytes(_LENGTH, "little") + text, places):
            file.write(piece)
            found.update(piece)
    return found.hexdigest()


def digest_of(path: Path) -> str | None:
    """SHA-256 of a file; None where it cannot be read."""
    found = sha256()
    try:
        with path.open("rb") as file:
            for piece in _chunks(file):
                found.update(piece)
    except OSError:
        return None
    return found.hexdigest()


def _header(path: Path) -> tuple[Mapping[str, Any], int]:
    """The header of a file, and where its data begins."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, _LENGTH + length


def _pieces(head: bytes, places: Sequence[tuple[Path, int]]) -> Iterator[bytes]:
    yield head
    for path, begins in places:
        with path.open("rb") as file:
            file.seek(begins)
            yield from _chunks(file)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
