"""A wide CNN pruned and as INT8, against INT8 alone: batch 32, one thread.

    python benchmarks/wide.py --data DIR [--folder DIR]

The network is that of `wide_net.py`, at least 64 channels everywhere; it is trained once on
train.npz, in minutes, and kept as wide.pt in the folder. Then the command's own function
compresses it as a user would: as INT8, and with a share of the multiply-accumulates removed and
repaired from 512 unlabelled images. Speeds are of pairs timed in turn, top-1 is on test.npz. Ends
with 1 when a requirement does not hold.
"""

import sys
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path

from cifar_data import trained_job
from exporters.base import find_target
from processes import Figures, Row, show
from versus import Job, bound, compress_as_user, export_float, faster_than, top1

SHARES = ("20%", "35%")
REQUIRED_SHARE = "35%"
BATCH = 32
DROP, SPEED, NOT_SLOWER = 2.0, 1.2, 0.98
"""Points of top-1 below float, at most; over INT8 alone, at least; and of every share, which two
sessions of one model can differ by."""


def compressed(job: Job, share: str | None, folder: Path) -> Path:
    """The artifact that a user gets; a share of None prunes nothing."""
    output = folder / ("int8" if share is None else f"pruned-{share.rstrip('%')}")
    return compress_as_user(job, output, {"prune": {"macs": share}, "measure": {"batch": BATCH}})


def measured(job: Job, folder: Path) -> Figures:
    """Accuracy of float, INT8 and pruned INT8, and their speeds."""
    target, float_path = find_target("ort"), folder / "float.onnx"
    export_float(job, float_path)
    paths = {"float": float_path, "INT8": compressed(job, None, folder)}
    paths |= {share: compressed(job, share, folder) for share in SHARES}
    figures: Figures = {}
    for name, path in paths.items():
        with target.open(path, threads=1) as runner:
            figures[f"top1 {name}"] = top1(runner, bound(job, runner, job.evaluation))
    over = partial(faster_than, job=job)
    for batch in (1, BATCH):
        opened = [target.open(paths[name]) for name in ("float", "INT8")]
        figures[f"INT8 over float, {batch}"] = over(*opened, batch=batch)
        for share in SHARES:
            opened = [target.open(paths[name]) for name in ("INT8", share)]
            figures[f"{share} over INT8, {batch}"] = over(*opened, batch=batch)
    return figures


def rows() -> list[Row]:
    """The table."""
    table = [
        Row("top-1, float", itemgetter("top1 float"), "{:.2f} %"),
        Row("top-1, INT8", itemgetter("top1 INT8"), "{:.2f} %"),
        Row("INT8 over float, batch 1", itemgetter("INT8 over float, 1"), "{:.2f}x"),
        Row("INT8 over float, batch 32", itemgetter(f"INT8 over float, {BATCH}"), "{:.2f}x"),
    ]
    for share in SHARES:
        drop, fast = _drop(share), _speed(share, BATCH)
        if share == REQUIRED_SHARE:
            drop = replace(drop, required=f"≤ {DROP:g}", holds=lambda lost: lost <= DROP)
            fast = replace(fast, required=f"≥ {SPEED}x", holds=lambda times: times >= SPEED)
        else:
            least = f"≥ {NOT_SLOWER}x"
            fast = replace(fast, required=least, holds=lambda times: times >= NOT_SLOWER)
        table += [drop, _speed(share, 1), fast]
    return table


def _drop(share: str) -> Row:
    name = f"{share} fewer MACs and INT8: points lost"
    return Row(name, lambda f: f["top1 float"] - f[f"top1 {share}"], "{:+.2f}")


def _speed(share: str, batch: int) -> Row:
    name = f"{share} fewer MACs and INT8: over INT8 alone, batch {batch}"
    return Row(name, itemgetter(f"{share} over INT8, {batch}"), "{:.2f}x")


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    if (trained := trained_job(__doc__, "wide")) is None:
        return
    title = "A CNN of 64 to 256 channels, 512 calibration images, no training after pruning"
    sys.exit(not show(title, rows(), measured(*trained)))


if __name__ == "__main__":
    main()
