"""The child process of `memory`: load a model, run it, write down the peak of this process.

    python -P -m compressor.evaluation.child '{"model": ..., "target": ..., ...}'

It imports what the target needs and nothing else: no torch, no plotting.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from compressor.evaluation.feeding import feeds_for
from exporters.base import find_target, target_of


def main(task: dict[str, Any]) -> None:
    """Do the task of `memory.peak_memory` and write {"peak_bytes": ...} to its answer file."""
    with np.load(task["feeds"]) as stored:
        feeds = {name: stored[f"arr_{index}"] for index, name in enumerate(task["names"])}
    target = target_of(Path(task["model"])) or find_target(task["target"])
    with target.open(Path(task["model"]), threads=task["threads"]) as runner:
        bound = runner.bind(feeds_for(runner, feeds))
        for _ in range(task["runs"]):
            bound()
        answer = {"peak_bytes": peak_resident_bytes()}
    Path(task["answer"]).write_text(json.dumps(answer))


def peak_resident_bytes() -> int:
    """The greatest resident set this process has had.

    On Linux this is VmHWM, which starts anew with the program. `ru_maxrss` does not: the kernel
    carries the peak of the forking process over exec, so that the child of a parent that holds
    4 GB would report 4 GB whatever it did itself.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        import psutil  # noqa: PLC0415 - here only

        return int(psutil.Process().memory_info().peak_wset)
    import resource  # noqa: PLC0415 - does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kB elsewhere


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
