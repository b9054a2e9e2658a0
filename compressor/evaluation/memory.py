"""Peak resident memory of a model at work, each in a child process of its own.

A process that has already held another model, its calibration data or torch cannot tell what
this one needs: the peak of a process never falls.
"""

import json
import math
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from compressor.graph.tensors import Arrays
from compressor.results.measurements import MemoryResult
from compressor.results.records import Interval
from compressor.system.processes import run_python
from exporters import DEFAULT_TARGET

RUNS = 3
"""Inferences in the child: the runtime's arena settles in the first two."""

PAIRS = 3
"""Processes of each model."""

PATIENCE = 20.0
"""Seconds after which no other pair is started."""

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
    with tempfile.TemporaryDirectory(prefix="compressor-") as name:
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
    """Peak memory of two model files in turn, one process each, up to `PAIRS` times.

    What takes long is large, and varies little: it is measured once.

    Returns:
        Medians, the geometric mean of the ratios r = baseline / result, and their interval
        exp(mean ln r ± t · sd / √n) by Student's t.
    """
    pairs: list[tuple[int, int]] = []
    started = time.perf_counter()
    while len(pairs) < PAIRS and (not pairs or time.perf_counter() - started < PATIENCE):
        first = peak_memory(baseline, feeds, target=target, threads=threads)
        second = peak_memory(result, feeds, target=target, threads=threads)
        if first.bytes is None or second.bytes is None:
            sides = (("baseline", first), ("result", second))
            reasons = [f"{role}: {peak.reason}" for role, peak in sides if peak.reason]
            return MemoryResult(
                baseline_bytes=first.bytes, result_bytes=second.bytes, reason="; ".join(reasons)
            )
        pairs.append((first.bytes, second.bytes))
    peaks = np.array(pairs, np.float64)
    logs = np.log(peaks[:, 0] / peaks[:, 1])
    return MemoryResult(
        baseline_bytes=int(np.median(peaks[:, 0])),
        result_bytes=int(np.median(peaks[:, 1])),
        processes=len(pairs),
        ratio=float(np.exp(logs.mean())),
        interval=_interval(logs),
    )


def _interval(logs: np.ndarray) -> Interval | None:
    if len(logs) < 2:
        return None
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / math.sqrt(len(logs))
    return Interval(low=math.exp(logs.mean() - half), high=math.exp(logs.mean() + half))
