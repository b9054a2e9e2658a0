"""A finished model's file, loaded anew and asked what it answered when it was written.

    python -P -m compressor.evaluation.reloaded '{"model": ..., "target": ..., ...}'

It is asked in a process of its own: a file that kills the runtime is a reason like any other.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressor.graph.tensors import Array
from compressor.system.processes import run_python
from compressor.system.scratch import scratch
from exporters.base import find_target
from exporters.base.reference import read_reference

TOLERANCE = 0.05
"""‖y - r‖ / ‖r‖ that an output may be off: integer kernels round otherwise on other processors."""
TIMEOUT = 600.0


class Answered(NamedTuple):
    """What became of it.

    Attributes:
        met: Whether it runs and answers what it did.
        said: The figure, or what is wrong.
    """

    met: bool
    said: str


def answered(model: Path, target: str, reference: Path | None) -> Answered:
    """Load `model` in a fresh process, run it on what lies in `reference`, compare the outputs.

    Args:
        model: The file.
        target: Name of the target that runs it.
        reference: Inputs and outputs as the build stored them; None where there are none, and it
            is loaded only.
    """
    with scratch() as folder:
        answer = Path(folder) / "answer.json"
        task = {
            "model": str(model.resolve()),
            "target": target,
            "reference": None if reference is None else str(reference.resolve()),
            "answer": str(answer),
        }
        failure = run_python(
            ["-m", "compressor.evaluation.reloaded", json.dumps(task)], timeout=TIMEOUT
        )
        if answer.is_file():
            return Answered(**json.loads(answer.read_text(encoding="utf-8")))
        return Answered(False, f"the process that loaded it {failure or 'wrote no answer'}")


def distance(found: Array, expected: Array) -> float:
    """‖found - expected‖ / ‖expected‖ in float64; of whole numbers, the share that differs.

    Infinite where shapes differ, or a number is finite in one alone.
    """
    if found.shape != expected.shape:
        return float("inf")
    if not found.size:
        return 0.0
    if not np.issubdtype(expected.dtype, np.floating):
        return float(np.mean(found != expected))
    a, b = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(finite, np.isfinite(a)):
        return float("inf")
    apart, norm = np.linalg.norm((a - b)[finite]), np.linalg.norm(b[finite])
    return float(apart / norm) if norm > 0 else float(apart)


def _asked(task: dict[str, Any]) -> Answered:
    try:
        with find_target(task["target"]).open(Path(task["model"]), timed=False) as runner:
            if task["reference"] is None:
                return Answered(True, "loads; there is no stored answer to compare it with")
            inputs, outputs = read_reference(Path(task["reference"]))
            found = runner.run(inputs)
    except Exception as error:  # runtimes have classes of their own, without a common one
        return Answered(False, f"does not run: {' '.join(str(error).split())[:300]}")
    missing = sorted(set(outputs) - set(found))
    if missing:
        return Answered(False, f"has no output {missing[0]!r} any more")
    off = {name: distance(found[name], expected) for name, expected in outputs.items()}
    worst = max(off, key=lambda name: off[name], default=None)
    if worst is None or off[worst] <= TOLERANCE:
        most = 0.0 if worst is None else off[worst]
        told = "what it answered when written" if most == 0 else f"off by {most:.2g} at most"
        return Answered(True, f"runs on the stored sample: {told}")
    return Answered(
        False,
        f"output {worst!r} is off by {off[worst]:.3g} of what it was when written, "
        f"where {TOLERANCE:g} may come of another processor",
    )


def main(task: dict[str, Any]) -> None:
    """Do the task of `answered`."""
    text = json.dumps(_asked(task)._asdict())
    Path(task["answer"]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
