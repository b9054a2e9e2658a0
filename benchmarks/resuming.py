"""What the cache saves: a run, the same again, and one that is killed at 80 % and goes on.

    python benchmarks/resuming.py [--data DIR --model FILE] [--deep FILE] [--only NAME ...]

The models and runs are those of `compress_time.py`; each run is a process of its own, timed from
its start to its end. All runs of a row measure the deciding latency, and quality, anew. Bytes are
those of the artifact. The killed process gets SIGKILL after 80 % of the time of the first run.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from compress_time import RUNS, Case, cases, parser_of, timed

KILLED_AT = 0.8


@dataclass(frozen=True)
class Ended:
    """A run that came to its end.

    Attributes:
        seconds: From the start of its process to its end.
        digest: Of its artifact.
        reused: What it took from the cache.
    """

    seconds: float
    digest: str
    reused: str


def started(case: Case, run: str, folder: Path, cache: Path) -> subprocess.Popen[bytes]:
    """A run in a process of its own."""
    folder.mkdir()
    task = json.dumps([vars(case), run, str(folder), str(cache)])
    return subprocess.Popen(
        [sys.executable, __file__, "--task", task],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def ended(case: Case, run: str, folder: Path, cache: Path) -> Ended:
    """A run to its end; told at once, as all of them take minutes."""
    begun = time.perf_counter()
    if started(case, run, folder, cache).wait() != 0:
        sys.exit(f"{run} failed in {folder}")
    seconds = time.perf_counter() - begun
    report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    artifact = (folder / "out" / "model.onnx").read_bytes()
    found = Ended(seconds, hashlib.sha256(artifact).hexdigest(), ", ".join(report["reused"]))
    print(f"{run}, {folder.name}: {seconds:.1f} s, {found.digest[:12]}, {found.reused}", flush=True)
    return found


def killed(case: Case, run: str, folder: Path, cache: Path, seconds: float) -> None:
    """A run that is ended from outside after so many seconds."""
    process = started(case, run, folder, cache)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    else:
        print(f"{run} had ended before it was killed")


def rows(case: Case, run: str, scratch: Path) -> list[tuple[str, Ended]]:
    """The four runs of one model and one set of options."""
    cache = scratch / "cache"
    first = ended(case, run, scratch / "first", cache)
    again = ended(case, run, scratch / "again", cache)
    other = scratch / "other-cache"
    killed(case, run, scratch / "killed", other, KILLED_AT * first.seconds)
    return [
        ("first", first),
        ("the same again", again),
        (f"after a kill at {KILLED_AT:.0%}", ended(case, run, scratch / "on", other)),
    ]


def main() -> None:
    """Measure and print."""
    options = parser_of(__doc__).parse_args()
    if options.task:
        fields, run, folder, cache = json.loads(options.task)
        case = Case(**{**fields, "runs": tuple(fields["runs"])})
        timed(case, run, Path(folder), Path(cache))
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before")
    table = Table("model", "options", "run", "s", "of the first", "bytes", "taken")
    for name, make in cases(options).items():
        if options.only and name not in options.only:
            continue
        for run in options.runs or RUNS:
            with tempfile.TemporaryDirectory(prefix="resuming-") as scratch:
                case = make(Path(scratch))
                if run not in case.runs:
                    continue
                found = rows(case, run, Path(scratch))
            first = found[0][1]
            for what, one in found:
                same = "the same" if one.digest == first.digest else "others"
                share = f"{one.seconds / first.seconds:.2f}x"
                table.add_row(name, run, what, f"{one.seconds:.1f}", share, same, one.reused)
    Console(width=160).print(table)
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
