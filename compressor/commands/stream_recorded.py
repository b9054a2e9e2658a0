"""What a model that is worked on block by block makes of the samples that judge, computed once.

Metrics ask for the same samples several times, and one batch after the other. To open every block
for each would read all weights as often. Here a block is opened once, and sees all batches before
the next is: what blocks hand on, and in the end the outputs, lie in files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.commands.stream_runner import BlockRunner, each_run
from compressor.evaluation.feeding import calls_of
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.system.progress import Advance


@dataclass
class _Kept:
    """Arrays in a file.

    Attributes:
        path: The file; they lie in it one after the other, as names may be anything.
        names: Theirs, in order.
    """

    path: Path
    names: tuple[str, ...] = ()

    def write(self, arrays: Arrays) -> None:
        """Keep these, and no others."""
        self.names = tuple(arrays)
        with self.path.open("wb") as file:
            for name in self.names:
                np.lib.format.write_array(file, np.asarray(arrays[name]), allow_pickle=False)

    def read(self) -> dict[str, Array]:
        """All of them."""
        with self.path.open("rb") as file:
            return {name: np.lib.format.read_array(file) for name in self.names}


class RecordedRunner:
    """Answers known calls from files, and has others run block by block."""

    on_caller = False

    def __init__(self, runner: BlockRunner, kept: dict[bytes, _Kept]) -> None:
        """As `recorded` makes it.

        Args:
            runner: The blocks.
            kept: Digest of a call → its outputs.
        """
        self._runner, self._kept = runner, kept
        self.inputs: tuple[TensorSpec, ...] = runner.inputs
        self.outputs: tuple[TensorSpec, ...] = runner.outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing stays open."""

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Every output."""
        known = self._kept.get(_digest(feeds))
        return self._runner.run(feeds) if known is None else known.read()

    def bind(self, feeds: Arrays) -> Callable[[], Any]:
        """The same; nothing is timed here."""
        return lambda: self.run(feeds)


def recorded(
    runner: BlockRunner, data: CalibrationSet, batch: int, folder: Path, advance: Advance
) -> RecordedRunner:
    """Run blocks on all samples, one block after the other.

    Args:
        runner: The blocks. None draws random numbers, or a record would hide that.
        data: The samples.
        batch: Samples per run.
        folder: A folder that does not exist, for what is kept.
        advance: Told of each block.

    Returns:
        The same model for these samples in batches of this size, without a run.
    """
    folder.mkdir()
    kept: dict[bytes, _Kept] = {}
    for step in data.batches(batch):
        for feeds in calls_of(runner, step.inputs, len(step), step.sample_axes):
            one = kept.setdefault(_digest(feeds), _Kept(folder / f"{len(kept):06}.bin"))
            one.write({spec.name: feeds[spec.name] for spec in runner.inputs})
    for block, needed in runner.steps():
        states = list(kept.values())
        for state, made in zip(states, each_run(block(), _read(states)), strict=True):
            known = state.read() | made
            state.write({name: array for name, array in known.items() if name in needed})
        advance(1)
    return RecordedRunner(runner, kept)


def _read(states: list[_Kept]) -> Iterator[dict[str, Array]]:
    """What is known in each, as it is asked for."""
    for state in states:
        yield state.read()


def _digest(feeds: Arrays) -> bytes:
    """Of a call: names, types, shapes and values."""
    digest = blake2b(digest_size=16)
    for name in sorted(feeds):
        array = np.ascontiguousarray(feeds[name])
        digest.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.digest()
