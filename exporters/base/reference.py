"""What an artifact answers to an input, stored beside it: whoever gets the folder can ask it."""

from pathlib import Path

import numpy as np

from compressor.graph.tensors import Array, Arrays
from exporters.base.runner import Runner

REFERENCE = "reference.npz"
LARGEST = 16 << 20
"""Bytes of inputs and outputs above which an artifact of ONNX Runtime gets no reference."""


def write_reference(
    runner: Runner, feeds: Arrays, path: Path, *, largest: int | None = None
) -> Path | None:
    """Store inputs, and what the graph makes of them, as `input/NAME` and `output/NAME`.

    Args:
        runner: Runs the graph that ships.
        feeds: Its inputs, and perhaps others.
        path: The file.
        largest: Bytes above which nothing is stored; None for any number.

    Returns:
        The file; None where nothing was stored.
    """
    inputs = {spec.name: feeds[spec.name] for spec in runner.inputs}
    outputs = runner.run(inputs)
    named = {f"input/{name}": array for name, array in inputs.items()}
    named |= {f"output/{name}": array for name, array in outputs.items()}
    if any(array.dtype == object for array in named.values()):  # texts, which only a pickle stores
        return None
    if largest is not None and sum(array.nbytes for array in named.values()) > largest:
        return None
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **named)
    return path


def read_reference(path: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and outputs that `write_reference` stored.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file.
    """
    with np.load(path, allow_pickle=False) as stored:
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it is one array, and no archive of them")
        named = {key: stored[key] for key in stored.files}
    inputs, outputs = (
        {key.removeprefix(role): array for key, array in named.items() if key.startswith(role)}
        for role in ("input/", "output/")
    )
    return inputs, outputs
