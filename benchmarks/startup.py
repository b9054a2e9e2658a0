"""How long `compress --help` and `import compressor` take, and that they load nothing heavy.

    python benchmarks/startup.py

Medians over fresh processes, the interpreter's own start included and shown beside. Ends with 1
when a requirement does not hold.
"""

import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

PROCESSES = 15
HEAVY = ("torch", "onnxruntime")
CASES = (
    ("python -c pass", ("-c", "pass"), None),
    ("import compressor", ("-c", "import compressor"), 0.3),
    ("compress --help", ("-m", "compressor", "--help"), 0.5),
)


def seconds(arguments: tuple[str, ...]) -> float:
    """Wall time of one fresh interpreter."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - started


def loaded(arguments: tuple[str, ...]) -> list[str]:
    """Which of the heavy packages the interpreter imports."""
    command = [sys.executable, "-X", "importtime", *arguments]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    modules = {line.rsplit("|", 1)[-1].strip() for line in told.splitlines()}
    return [package for package in HEAVY if package in modules]


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    table = Table("what", "median", "required", "", title=f"{PROCESSES} fresh processes each")
    held = True
    for name, arguments, limit in CASES:
        seconds(arguments)  # compiles and caches
        median = statistics.median(seconds(arguments) for _ in range(PROCESSES))
        if limit is None:
            table.add_row(name, f"{median:.3f} s", "", "")
            continue
        heavy = loaded(arguments)
        good = median < limit and not heavy
        held = held and good
        verdict = f"NO: loads {', '.join(heavy)}" if heavy else "yes" if good else "NO"
        table.add_row(name, f"{median:.3f} s", f"< {limit} s, no torch, no onnxruntime", verdict)
    Console().print(table)
    sys.exit(not held)


if __name__ == "__main__":
    main()
