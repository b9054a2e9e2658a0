"""A comparison in fresh processes: medians of all of them in a table, requirements beside."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from versus import FEW, MANY, Job

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the table: how it follows from the medians, and what it must be."""

    name: str
    value: Callable[[Figures], float]
    form: str
    required: str = ""
    holds: Callable[[float], bool] | None = None


def run_comparison(job: Job, processes: int) -> Figures:
    """Medians over fresh processes of everything that `versus.py` measures."""
    console, runs = Console(stderr=True), []
    for number in range(1, processes + 1):
        console.print(f"process {number} of {processes}", style="dim")
        with tempfile.TemporaryDirectory(prefix="versus-") as name:
            folder = Path(name)
            job.save(folder / "job.json")
            figures = _child("compare", folder)
            for samples in (FEW, MANY) if job.many else ():
                figures |= _child("memory", folder, str(samples))
        runs.append(figures)
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _child(what: str, folder: Path, *more: str) -> Figures:
    script = Path(__file__).with_name("versus.py")
    command = [sys.executable, script, what, folder / "job.json", folder, *more]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\n{script.name} {what} failed, see above")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def rows(job: Job) -> list[Row]:
    """What every job shows; a requirement is added with `dataclasses.replace`."""
    few, many = f"growth with {FEW}", f"growth with {MANY}"
    speed = "speed-up over {}, batch {}"
    growth = [
        Row(f"memory {few}", lambda f: f[few], "{:.1f} MB"),
        Row(f"memory {many}", lambda f: f[many], "{:.1f} MB"),
        Row("difference of the two", lambda f: f[many] - f[few], "{:+.1f} MB"),
    ]
    return [
        Row("top-1, float", lambda f: f["top1 float"], "{:.2f} %"),
        Row("top-1, INT8", lambda f: f["top1 ours"], "{:.2f} %"),
        Row("top-1, quantize_static", lambda f: f["top1 runtime"], "{:.2f} %"),
        Row("drop of INT8", lambda f: f["top1 float"] - f["top1 ours"], "{:+.2f} points"),
        Row("Conv and Gemm nodes", lambda f: f["weighted"], "{:.0f}"),
        Row("of them not integer", lambda f: f["weighted"] - f["integer"], "{:.0f}"),
        Row("over float, batch 1", lambda f: f[speed.format("float", 1)], "{:.2f}x"),
        Row("over float, batch 32", lambda f: f[speed.format("float", 32)], "{:.2f}x"),
        Row("over quantize_static, batch 1", lambda f: f[speed.format("runtime", 1)], "{:.3f}x"),
        Row("over quantize_static, batch 32", lambda f: f[speed.format("runtime", 32)], "{:.3f}x"),
        *(growth if job.many else ()),
    ]


def show(title: str, table_rows: list[Row], figures: Figures) -> bool:
    """Print the table; whether every requirement holds."""
    judged = any(row.holds for row in table_rows)
    columns = ("what", "measured", *(("required", "") if judged else ()))
    table = Table(*columns, title=title, title_justify="left")
    held = True
    for row in table_rows:
        value = row.value(figures)
        verdict = "" if row.holds is None else "yes" if row.holds(value) else "NO"
        held = held and verdict != "NO"
        cells = (row.name, row.form.format(value), row.required, verdict)
        table.add_row(*cells[: len(columns)])
    Console().print(table)
    return held
