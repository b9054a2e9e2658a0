"""What a build may know of the inputs, and what it wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compressor.graph.tensors import Arrays
from compressor.results.engine import EngineBuild

CallShapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Inputs of one call and their shapes, by name."""


@dataclass(frozen=True)
class Artifact:
    """The files that `Target.build` wrote.

    Attributes:
        model: The file that a runtime loads.
        files: It and the files that it needs, whose size is the artifact's.
        roles: What else lies beside it: role → file.
        engine: The compiled engine, for targets that have one.
        own_bytes: What it takes of its files, where another model reads from one of them, too.
    """

    model: Path
    files: tuple[Path, ...] = ()
    roles: Mapping[str, Path] = field(default_factory=dict)
    engine: EngineBuild | None = None
    own_bytes: int | None = None

    @property
    def file_bytes(self) -> int:
        """Its size."""
        if self.own_bytes is not None:
            return self.own_bytes
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True)
class Samples:
    """Samples of the inputs that a build may use.

    Attributes:
        feeds: Samples of every input.
        batches: The least, the deciding and the greatest batch.
        are_real: Whether they come from data.
        also: Inputs of other sizes that it is to run at: of a decoder a prompt and one token.
        calls: Shapes of the inputs of a call → how often a loop made such calls; empty where
            there is no loop. They are what it is to run at, and no others.
    """

    feeds: Arrays
    batches: tuple[int, int, int]
    are_real: bool = True
    also: tuple[Arrays, ...] = ()
    calls: Mapping[CallShapes, int] = field(default_factory=dict)
