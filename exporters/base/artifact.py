"""What a build may know of the inputs, and what it wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compressor.graph.tensors import Arrays
from compressor.results.engine import EngineBuild


@dataclass(frozen=True)
class Artifact:
    """The files that `Target.build` wrote.

    Attributes:
        model: The file that a runtime loads.
        files: It and the files that it needs, whose size is the artifact's.
        roles: What else lies beside it: role → file.
        engine: The compiled engine, for targets that have one.
    """

    model: Path
    files: tuple[Path, ...] = ()
    roles: Mapping[str, Path] = field(default_factory=dict)
    engine: EngineBuild | None = None


@dataclass(frozen=True)
class Samples:
    """Samples of the inputs that a build may use.

    Attributes:
        feeds: Samples of every input.
        batches: The least, the deciding and the greatest batch.
        are_real: Whether they come from data.
        also: Inputs of other sizes that it is to run at: of a decoder a prompt and one token.
    """

    feeds: Arrays
    batches: tuple[int, int, int]
    are_real: bool = True
    also: tuple[Arrays, ...] = ()
