"""A synthetic model above protobuf's 2 GB limit, through the whole job.

    python benchmarks/large.py [--folder DIR]

Ten fully connected layers of 7,424 units with random weights: 551 million parameters, 2.2 GB. The
job runs in a process of its own; its memory, children included, is looked at from outside. Needs
about 10 GB of memory and 10 GB of disk in DIR, where nothing stays.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import psutil
from rich.console import Console
from rich.table import Table

LAYERS = 10
WIDTH = 7424
SAMPLES = 64
DISK = 10_000_000_000


def write_model(path: Path) -> None:
    """Write x [batch, WIDTH] → (Gemm → Relu) · LAYERS; weights of He's variance keep the scale."""
    rng = np.random.default_rng(0)
    x = ir.val("x", ir.DataType.FLOAT, ["batch", WIDTH])
    value, nodes, initializers = x, [], []
    for layer in range(LAYERS):
        weight = rng.standard_normal((WIDTH, WIDTH), dtype=np.float32)
        weight *= np.sqrt(2 / WIDTH)
        for name, array in (("weight", weight), ("bias", np.zeros(WIDTH, np.float32))):
            initializers.append(ir.val(f"layer{layer}.{name}"))
            initializers[-1].const_value = ir.tensor(array, name=initializers[-1].name)
        gemm = ir.node("Gemm", [value, *initializers[-2:]], name=f"gemm{layer}")
        nodes += [gemm, ir.node("Relu", gemm.outputs, name=f"relu{layer}")]
        value = nodes[-1].outputs[0]
    value.name, value.type, value.shape = "y", ir.TensorType(ir.DataType.FLOAT), x.shape
    graph = ir.Graph(
        [x], [value], nodes=nodes, initializers=initializers, opset_imports={"": 20}, name="large"
    )
    model = ir.Model(graph, ir_version=10)
    ir.save(model, path, external_data=f"{path.name}.data")


def run_job(folder: Path) -> tuple[dict[str, Any], float, int]:
    """The report, the seconds and the peak of resident memory of `compress large.onnx`."""
    options = ["--calib", "calib.npz", "-o", "result", "--keep-slower", "--json"]
    command = [sys.executable, "-m", "compressor", "large.onnx", *options]
    started, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        # Temporary files, which hold whole models, go where the user said there is room.
        job = psutil.Popen(
            command, cwd=folder, stdout=output, env=os.environ | {"TMPDIR": str(folder)}
        )
        while job.poll() is None:
            peak = max(peak, resident(job))
            time.sleep(0.1)
        if job.returncode != 0:
            sys.exit(f"compress ended with {job.returncode}")
        output.seek(0)
        report: dict[str, Any] = json.loads(output.read())
    return report, time.perf_counter() - started, peak


def resident(job: psutil.Process) -> int:
    """Bytes of resident memory of a process and its children."""
    total = 0
    for process in (job, *job.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def main() -> None:
    """Write the model and its data, run the job, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the files go; default: a temporary one")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="large-", dir=options.folder))
    if shutil.disk_usage(folder).free < DISK:
        folder.rmdir()
        sys.exit(
            f"{folder.parent} has less than {DISK / 1e9:.0f} GB free: name a --folder that has"
        )
    try:
        write_model(folder / "large.onnx")
        x = np.random.default_rng(1).standard_normal((SAMPLES, WIDTH), dtype=np.float32)
        np.savez(folder / "calib.npz", x=x)
        report, seconds, peak = run_job(folder)
    finally:
        shutil.rmtree(folder)
    show(report, seconds, peak)


def show(report: dict[str, Any], seconds: float, peak: int) -> None:
    """Print what the report says of the model, and what was seen from outside."""
    graph = report["graphs"]["model"]
    table = Table("what", "before", "after", title="A model of 2.2 GB", title_justify="left")
    before, after = graph["baseline_size"]["file_bytes"], graph["result_size"]["file_bytes"]
    table.add_row("files", f"{before / 1e9:.2f} GB", f"{after / 1e9:.2f} GB")
    for timed in graph["latency"]:
        what = f"batch {timed['config']['batch']}, threads {timed['config']['threads'] or 'all'}"
        pair = (f"{timed[side]['median_ms']:.0f} ms" for side in ("baseline", "result"))
        table.add_row(what, *pair)
    if graph["memory"] and graph["memory"]["result_bytes"]:
        pair = (
            f"{graph['memory'][f'{side}_bytes'] / 1e9:.2f} GB" for side in ("baseline", "result")
        )
        table.add_row("peak memory of inference", *pair)
    for row in graph["placement"]:
        if row["integer"]:
            table.add_row(f"{row['operator']} nodes, integer", "", f"{row['integer']}")
    table.add_section()
    for stage in report["stages"]:
        table.add_row(stage["name"], "", f"{stage['seconds']:.1f} s")
    table.add_row("whole job", "", f"{seconds:.0f} s")
    table.add_row("its peak memory, children included", "", f"{peak / 1e9:.1f} GB")
    Console().print(table)


if __name__ == "__main__":
    main()
