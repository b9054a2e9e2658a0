"""What `trt_device.py` knows of a row: a file of its own, so that a run that ended can go on."""

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from compressor.results.engine import EngineBuild
from compressor.results.records import Interval, Record
from compressor.system.versions import own_code

KINDS: dict[str, dict[str, Any]] = {
    "FP16": {"trt": {"precision": "fp16"}},
    "INT8": {"trt": {"precision": "int8"}},
    "FP8": {"trt": {"precision": "fp8"}},
    "2:4": {"trt": {"precision": "fp16"}, "prune": {"sparsity": "2:4"}},
}
"""Kind of engine → its recipe. 2:4 differs from FP16, the base of all ratios, by that alone."""
BASE = "FP16"
WHOLE = "compress"
"""The row of a whole run of the command, which races its candidates on the GPU by itself."""
LEAST_CAPABILITY = {"FP8": (8, 9), "2:4": (8, 0)}
"""Compute capability from which a GPU has such kernels."""

State = Literal["measured", "disagrees", "built, not run", "failed", "left out"]
DONE: tuple[State, ...] = ("measured", "disagrees", "built, not run", "left out")
"""What another run does not try again."""


class Part(Record):
    """A row: an engine of a network, or of each graph of a loop.

    Attributes:
        network: Its name.
        kind: In `KINDS`, or `WHOLE`.
        state: What became of it.
        words: Why, where it is not measured.
        engines: Graph → engine.
        cosine: Of the outputs with ONNX Runtime's on the same graph, the least; of a loop of what
            it makes of the same seed.
        milliseconds: Of one inference, between CUDA events; of a loop, what passed. The median.
        wall_milliseconds: What passed meanwhile, with the host's waiting.
        base_milliseconds: As `milliseconds`, of the FP16 engine in the same rounds.
        ratio: Speed over the FP16 engine; None where there is none to compare with.
        interval: 95 % interval of the ratio.
        clock: MHz of the multiprocessors right after, and the most they can; None where unknown.
        seconds: What the row took in all.
    """

    network: str
    kind: str
    state: State
    words: str = ""
    engines: dict[str, EngineBuild] = Field(default_factory=dict)
    cosine: float | None = None
    milliseconds: float | None = None
    wall_milliseconds: float | None = None
    base_milliseconds: float | None = None
    ratio: float | None = None
    interval: Interval | None = None
    clock: tuple[int, int] | None = None
    seconds: float = 0.0


def slug(network: str, kind: str) -> str:
    """A file's name for a row."""
    return f"{network}-{kind.replace(':', '-')}"


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds what `compress` made of a graph by the code as it is."""
    try:
        return (folder / "report.json").is_file() and _marker(folder).read_text() == own_code()
    except OSError:
        return False


def mark_prepared(folder: Path) -> None:
    """Say so: another version's graphs are made anew."""
    _marker(folder).write_text(own_code())


def _marker(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.code")


class Parts:
    """The rows of a folder that were made on this GPU by these versions.

    Args:
        folder: Where they lie.
        made_by: GPU, driver, packages: what figures depend on.
    """

    def __init__(self, folder: Path, made_by: dict[str, str]) -> None:
        self.folder, self.made_by = folder, made_by
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, network: str, kind: str) -> Part | None:
        """What is known of a row; None where nothing is, or it was made elsewhere."""
        try:
            document = json.loads((self.folder / f"{slug(network, kind)}.json").read_text("utf-8"))
            is_ours = document["made_by"] == self.made_by
            return Part.model_validate(document["part"]) if is_ours else None
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None

    def put(self, part: Part) -> None:
        """Keep a row, in place of what was known."""
        document = {"made_by": self.made_by, "part": part.model_dump(mode="json")}
        written(self.folder / f"{slug(part.network, part.kind)}.json", document)


def written(path: Path, document: object) -> None:
    """Write JSON aside and rename it: whatever ends this, the file is whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    aside.replace(path)
