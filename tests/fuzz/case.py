"""A case while it is made: its folder, its random numbers, what it takes over and breaks."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzz import hostile
from fuzz.bases import Bases

Step = Callable[[Random, bytes], bytes]
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

    def broken(self, content: bytes, step: Step = hostile.broken_bytes) -> bytes:
        """Bytes after the steps that are taken."""
        for rng in self.each():
            content = step(rng, content)
        return content

    def copy(self, *names: str) -> None:
        """Take right files over."""
        for name in names:
            source = self.bases.folder / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, self.folder / name)

    def earlier(self, name: str = "done8") -> None:
        """In half of the cases there is an earlier result to lose."""
        if self.rng("earlier").random() < 0.5:
            shutil.copytree(self.bases.folder / name, self.folder / EARLIER)
