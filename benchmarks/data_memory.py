"""Peak memory of a run whose data does not fit into what it may take.

    python benchmarks/data_memory.py [GIGABYTES]

A small network is compressed with calibration data of 20 MB, then of the size that is told (1.5
GB), as `.npz` and as `.npy`, each in a process of its own; the peak resident memory of each is
printed.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx

_MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[batch, 1024] x) => (float[batch, 16] y)
{ y = MatMul(x, w) }
"""


def peak(folder: Path, data: str) -> int:
    """Peak resident bytes of one run."""
    command = ["compress", "model.onnx", "--calib", data, "-o", f"out-{data}", "--force"]
    quick = ["--measure-seconds", "0.3", "--keep-slower"]
    code = (
        "import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, r.returncode)"
    )
    run = [sys.executable, "-c", code, *command, *quick]
    said = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout
    kilobytes, status = map(int, said.split())
    if status:
        sys.exit(f"{data}: exit {status}")
    return kilobytes * 1024


def main() -> None:
    """Write the files, run, print."""
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.5
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        model = onnx.parser.parse_model(_MODEL)
        weight = rng.standard_normal((1024, 16)).astype(np.float32) / 32
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
        onnx.save(model, folder / "model.onnx")
        for label, size in (("small", 0.02), ("large", gigabytes)):
            rows = int(size * 1e9 / 4096)
            array = np.lib.format.open_memmap(
                folder / f"{label}.npy", "w+", np.float32, (rows, 1024)
            )
            for start in range(0, rows, 4096):
                part = array[start : start + 4096]
                part[:] = rng.standard_normal(part.shape, np.float32)
            np.savez(folder / f"{label}.npz", x=array)
            del array
            for kind in ("npy", "npz"):
                print(
                    f"{label}.{kind} {size} GB: peak {peak(folder, f'{label}.{kind}') / 1e6:.0f} MB"
                )


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
