"""Memory and time of storing the weights of one large table, looked up in and multiplied with.

    python benchmarks/table.py [--rows 24576] [--folder DIR] [--quantize int8-weights]

A vocabulary of ROWS × 4,096 in float32, whose rows are the last product's weights too: 24,576 rows
are 0.4 GB, 131,072 are 2.1 GB. `compress --memory 1GB` runs in a process of its own, whose resident
memory, children included, is looked at from outside. Wanted is at most 1 GB and 1.5 times the file.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import psutil

from large import resident

WIDTH, INNER = 4096, 256
MEMORY = 1_000_000_000


def write_model(path: Path, rows: int) -> int:
    """Write ids → table[ids] → x + down(relu(up(x))) → logits by the table; its bytes."""
    rng = np.random.default_rng(0)
    ids = ir.val("input_ids", ir.DataType.INT64, ["batch", "seq"])
    shapes = {"table": (rows, WIDTH), "up": (WIDTH, INNER), "down": (INNER, WIDTH)}
    weights = {}
    for name, shape in shapes.items():
        array = rng.standard_normal(shape, dtype=np.float32)
        array *= 0.02
        weights[name] = ir.val(name)
        weights[name].const_value = ir.tensor(array, name=name)
    nodes = [ir.node("Gather", [weights["table"], ids], name="look up")]
    x = nodes[0].outputs[0]
    for operator, *inputs in (("MatMul", x, weights["up"]), ("Relu",), ("MatMul", weights["down"])):
        given = inputs if len(inputs) == 2 else [nodes[-1].outputs[0], *inputs]
        nodes.append(ir.node(operator, given, name=f"inner {len(nodes)}"))
    nodes.append(ir.node("Add", [x, nodes[-1].outputs[0]], name="add"))
    nodes.append(ir.node("Transpose", [weights["table"]], {"perm": [1, 0]}, name="turn"))
    turned, made = nodes[-1].outputs[0], nodes[-2].outputs[0]
    nodes.append(ir.node("MatMul", [made, turned], name="head"))
    logits = nodes[-1].outputs[0]
    logits.name, logits.type = "logits", ir.TensorType(ir.DataType.FLOAT)
    logits.shape = ir.Shape(["batch", "seq", rows])
    graph = ir.Graph(
        [ids], [logits], nodes=nodes, initializers=list(weights.values()), opset_imports={"": 17}
    )
    ir.save(ir.Model(graph, ir_version=8), path, external_data=f"{path.name}.data")
    return path.with_name(f"{path.name}.data").stat().st_size


def run_job(folder: Path, mode: str) -> tuple[float, int]:
    """Seconds and peak of resident memory of the command."""
    options = ["--quantize", mode, "--memory", "1GB", "-o", "result"]
    started, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "compressor", "table.onnx", *options]
    environment = os.environ | {"TMPDIR": str(folder)}
    job = psutil.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=environment)
    while job.poll() is None:
        peak = max(peak, resident(job))
        time.sleep(0.05)
    if job.returncode != 0:
        sys.exit(f"compress ended with {job.returncode}")
    return time.perf_counter() - started, peak


def main() -> None:
    """Write the model, run the job, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=24576)
    parser.add_argument("--folder", type=Path, help="where the files go; default: a temporary one")
    parser.add_argument("--quantize", default="int8-weights")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="table-", dir=options.folder))
    try:
        size = write_model(folder / "table.onnx", options.rows)
        seconds, peak = run_job(folder, options.quantize)
    finally:
        shutil.rmtree(folder)
    wanted = MEMORY + 1.5 * size
    print(
        f"{size / 1e9:.2f} GB of weights, {options.quantize}: {seconds:.0f} s, peak "
        f"{peak / 1e9:.2f} GB, wanted at most {wanted / 1e9:.2f} GB"
    )


if __name__ == "__main__":
    main()
