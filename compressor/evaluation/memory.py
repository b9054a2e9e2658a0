"""Peak resident memory of a model at work, each in a child process of its own.

A process that has already held another model, its calibration data or torch cannot tell what
this one needs: the peak of a process never falls.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from compressor.graph.tensors import Arrays
from compressor.results.measurements import MemoryResult
from compressor.system.processes import run_python
from compressor.system.scratch import scratch
from exporters import DEFAULT_TARGET

RUNS = 3
"""Inferences in the child: the runtime's arena settles in the first two."""

TIMEOUT = 600.0


class PeakMemory(NamedTuple):
    """Bytes, or None with the reason why they were not measured."""

    bytes: int | None
    reason: str | None = None


def peak_memory(
    model: Path,
    feeds: Arrays,
    *,
    target: str = DEFAULT_TARGET,
    threads: int = 1,
    timeout: float = TIMEOUT,
) -> PeakMemory:
    """Load `model` with `target` in a fresh process, run it on `feeds`, read its peak.

    The figure is the whole process: interpreter, runtime, model, activations. Whatever goes
    wrong in there (the runtime is killed for memory, say) is a reason, not an error: a missing
    figure must not cost the run.
    """
    with scratch() as name:
        folder = Path(name)
        answer = folder / "answer.json"
        # Keys of an .npz are file names: inputs called "a/b" or "file" are passed by position.
        np.savez(folder / "feeds.npz", *feeds.values())
        task = {
            "model": str(model.resolve()),
            "target": target,
            "threads": threads,
            "runs": RUNS,
            "feeds": str(folder / "feeds.npz"),
            "names": list(feeds),
            "answer": str(answer),
        }
        arguments = ["-m", "compressor.evaluation.child", json.dumps(task)]
        failure = run_python(arguments, timeout=timeout)
        if failure is None and answer.is_file():
            return PeakMemory(int(json.loads(answer.read_text())["peak_bytes"]))
        return PeakMemory(None, f"the measuring process {failure or 'wrote no answer'}")


def compare_memory(
    baseline: Path, result: Path, feeds: Arrays, *, target: str = DEFAULT_TARGET, threads: int = 1
) -> MemoryResult:
    """Peak memory of two model files, one process each.

    Peaks of fresh processes differ by a percent or less, which no figure here rests on.
    """
    first = peak_memory(baseline, feeds, target=target, threads=threads)
    second = peak_memory(result, feeds, target=target, threads=threads)
    sides = (("baseline", first), ("result", second))
    reasons = [f"{role}: {peak.reason}" for role, peak in sides if peak.reason]
    ratio = None
    if first.bytes is not None and second.bytes is not None:
        ratio = first.bytes / second.bytes
    return MemoryResult(
        baseline_bytes=first.bytes,
        result_bytes=second.bytes,
        ratio=ratio,
        reason="; ".join(reasons) or None,
    )
