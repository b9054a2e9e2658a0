"""A decoder of 3 GB under `--memory 1GB`, block by block, against the run that has all memory.

    python benchmarks/streamed.py [--layers 54] [--quantize int4] [--folder DIR] [--only bounded]

Layers of width 1,024 (51 MB each) with random weights, and an embedding and a last product of
32,000 tokens: 3.0 GB. Each run is a process of its own, and its peak is what the kernel says of it
and of its children (VmHWM). Required is a peak of 1 GB and one block, and the quality of the run
without a limit: of INT4 itself, which ships whatever random weights lose by it. Files stay in DIR,
so that the runs may be done one by one: `--only bounded`, `--only unbounded`. Ends with 1 where a
requirement does not hold.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from streamed_net import write_decoder

WIDTH, INNER, VOCABULARY, TOKENS = 1024, 2816, 32000, 64
CALIBRATION, EVALUATION = 32, 8
MEMORY = 1_000_000_000
BLOCK = MEMORY // 16
RUNS = {"bounded": ["--memory", "1GB"], "unbounded": ["--memory", "100GB"]}
ALIKE = 0.002
"""Difference of the metric up to which quality counts as the same."""


def prepare(folder: Path, layers: int) -> Path:
    """The model and its data, written once; its path."""
    path = folder / f"decoder-{layers}.onnx"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            made = Path(aside) / path.name
            write_decoder(made, layers=layers, width=WIDTH, inner=INNER, vocabulary=VOCABULARY)
            made.with_name(f"{path.name}.data").rename(data_of(path))
            made.rename(path)
    rng = np.random.default_rng(1)
    for name, count in (("calib", CALIBRATION), ("eval", EVALUATION)):
        np.savez(folder / f"{name}.npz", input_ids=rng.integers(0, VOCABULARY, (count, TOKENS)))
    return path


def data_of(model: Path) -> Path:
    """The file with its weights."""
    return model.with_name(f"{model.name}.data")


def run(folder: Path, model: Path, name: str, mode: str) -> dict[str, Any]:
    """Report, seconds and peak of one run; what an earlier call found, where there is that."""
    kept = folder / f"{model.stem}-{mode}-{name}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    command = [sys.executable, "-m", "compressor", str(model), "--calib", str(folder / "calib.npz"),
               "--eval", str(folder / "eval.npz"), "--quantize", mode, "--no-cache", "--no-memory",
               "--measure-seconds", "0.1", "--keep-ruined", "--json",
               "-o", str(folder / f"{mode}-{name}"), *RUNS[name]]  # fmt: skip
    started, peaks = time.perf_counter(), dict[int, int]()
    with tempfile.TemporaryFile() as output:
        job = psutil.Popen(command, stdout=output, env=os.environ | {"TMPDIR": str(folder)})
        while job.poll() is None:
            for pid in [job.pid, *(child.pid for child in job.children(recursive=True))]:
                peaks[pid] = max(peaks.get(pid, 0), high_water(pid))
            time.sleep(0.25)  # the kernel keeps the peak: only the last moments of a child are lost
        if job.returncode != 0:
            sys.exit(f"compress ended with {job.returncode}")
        output.seek(0)
        report = json.loads(output.read())
    graph = report["graphs"]["model"]
    found = {
        "seconds": time.perf_counter() - started,
        "peak": max(peaks.values()),
        "quality": graph["quality"][0],
        "files": graph["result_size"]["file_bytes"],
        "stages": {stage["name"]: stage["seconds"] for stage in report["stages"]},
        "blocks": next(
            (s["parameters"] for s in report["stages"] if s["name"] == "block by block"), {}
        ),
    }
    kept.write_text(json.dumps(found))
    return found


def high_water(pid: int) -> int:
    """VmHWM of a process, in bytes; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (OSError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def main() -> None:
    """Run what is asked for, and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--layers", type=int, default=54)
    parser.add_argument("--quantize", default="int4")
    parser.add_argument("--folder", type=Path, help="where files go, and stay")
    parser.add_argument("--only", choices=tuple(RUNS))
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="streamed-"))
    folder.mkdir(parents=True, exist_ok=True)
    model = prepare(folder, options.layers)
    names = [options.only] if options.only else list(RUNS)
    found = {name: run(folder, model, name, options.quantize) for name in names}
    size = data_of(model).stat().st_size
    table = Table(title=f"A decoder of {size / 1e9:.2f} GB, {options.quantize}, one thread")
    for heading in ("", *names):
        table.add_column(heading)
    metric = next(iter(found.values()))["quality"]["metric"]
    columns = [
        (
            f"{one['peak'] / 1e9:.2f} GB", f"{one['seconds']:.0f} s",
            f"{one['quality']['result']:.4f}", f"{one['files'] / 1e9:.3f} GB",
            str(one["blocks"].get("blocks", "")),
        )
        for one in found.values()
    ]  # fmt: skip
    for what, *values in zip(
        ("peak of a process", "time", metric, "files", "blocks"), *columns, strict=True
    ):
        table.add_row(what, *values)
    for stage in next(iter(found.values()))["stages"]:
        table.add_row(
            f"  {stage}", *(f"{one['stages'].get(stage, 0):.1f} s" for one in found.values())
        )
    Console().print(table)
    sys.exit(not held(found))


def held(found: dict[str, dict[str, Any]]) -> bool:
    """Whether what is there of the runs keeps what is required."""
    bounded, unbounded = found.get("bounded"), found.get("unbounded")
    kept = True
    if bounded is not None:
        largest = bounded["blocks"]["bytes of the largest"]
        print(
            f"peak {bounded['peak'] / 1e9:.2f} GB, wanted at most {(MEMORY + largest) / 1e9:.2f} GB"
        )
        kept = bounded["peak"] <= MEMORY + largest
    if bounded is not None and unbounded is not None:
        apart = abs(bounded["quality"]["result"] - unbounded["quality"]["result"])
        print(f"quality {apart:.5f} apart, wanted at most {ALIKE}")
        kept = kept and apart <= ALIKE
    return kept


if __name__ == "__main__":
    main()
