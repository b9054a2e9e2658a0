"""CIFAR-10 ResNet-20: our INT8 against float and against ONNX Runtime's `quantize_static`.

    python benchmarks/cifar.py --data DIR --model FILE

DIR holds calib.npz, train.npz and test.npz with `image` uint8 [n, 32, 32, 3] and `label`; FILE
is a state dict of `resnet.py`. Medians of five fresh processes, one thread, timed in turn. Ends
with 1 when a requirement does not hold.
"""

import sys
from collections.abc import Callable
from dataclasses import replace

from cifar_data import cifar_job, options_of
from processes import Row, rows, run_comparison, show

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
    parser = options_of(__doc__)
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    job = cifar_job(options.data, options.model, many=True)
    figures = run_comparison(job, options.processes)
    title = f"CIFAR-10 ResNet-20, one thread, medians of {options.processes} processes"
    sys.exit(not show(title, [with_requirement(row) for row in rows(job)], figures))


if __name__ == "__main__":
    main()
