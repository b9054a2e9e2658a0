"""CIFAR-10 ResNet-20: our INT8 against float and against ONNX Runtime's `quantize_static`.

    python benchmarks/cifar.py --data DIR --model FILE

DIR holds calib.npz, train.npz and test.npz with `image` uint8 [n, 32, 32, 3] and `label`; FILE
is a state dict of `resnet.py`. Medians of five fresh processes, one thread, timed in turn. Ends
with 1 when a requirement does not hold.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from processes import Row, rows, run_comparison, show
from versus import Job

REQUIRED: dict[str, tuple[str, Callable[[float], bool]]] = {
    "drop of INT8": ("≤ 0.5", lambda v: v <= 0.5),
    "of them not integer": ("0", lambda v: v == 0),
    "over float, batch 1": ("≥ 1.8", lambda v: v >= 1.8),
    "over float, batch 32": ("≥ 2.1", lambda v: v >= 2.1),
    "over quantize_static, batch 1": ("≥ 0.97", lambda v: v >= 0.97),
    "over quantize_static, batch 32": ("≥ 0.97", lambda v: v >= 0.97),
    "difference of the two": ("≤ 20", lambda v: v <= 20),
}


def with_requirement(row: Row) -> Row:
    """The row with the project's requirement, where there is one."""
    required, holds = REQUIRED.get(row.name, ("", None))
    return replace(row, required=required, holds=holds)


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of calib.npz, train.npz and test.npz")
    parser.add_argument("--model", type=Path, help="state dict of ResNet-20")
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    data: Path = options.data.resolve()
    needed = [data / "calib.npz", data / "train.npz", data / "test.npz", options.model]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        sys.exit(f"there is no {', no '.join(missing)}")

    job = Job(
        model=str(options.model.resolve()),
        factory=f"{Path(__file__).with_name('resnet.py')}:resnet20",
        calibration=str(data / "calib.npz"),
        evaluation=str(data / "test.npz"),
        preprocess={
            "layout": "nhwc->nchw",
            "scale": 1 / 255,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
        },
        many=str(data / "train.npz"),
    )
    figures = run_comparison(job, options.processes)
    title = f"CIFAR-10 ResNet-20, one thread, medians of {options.processes} processes"
    sys.exit(not show(title, [with_requirement(row) for row in rows(job)], figures))


if __name__ == "__main__":
    main()
