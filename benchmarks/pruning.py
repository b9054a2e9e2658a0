"""CIFAR-10 ResNet-20: channels and whole blocks removed and repaired from 256 images, no training.

    python benchmarks/pruning.py --data DIR --model FILE

DIR holds calib.npz and test.npz, FILE is a state dict of `resnet.py`, both as for `cifar.py`. For
each share of the multiply-accumulates: top-1 on test.npz after the cut alone, after folding the
means of what went, and after the repair. Then one and two whole blocks, beside channels at as many
multiply-accumulates, timed in turn against the float original. Ends with 1 when a requirement does
not hold.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import onnx_ir as ir
from rich.console import Console

from calibration.dataset import CalibrationSet
from cifar_data import cifar_job, options_of
from compressor.folding import fold
from compressor.graph.cost import macs
from compressor.graph.files import load_model
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.pruning import cut, find_groups
from compressor.pruning.block_removal import BlockRemoval
from compressor.pruning.blocks import Block, Shortened, without
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.pruning.selection.costs import Macs, Sizes
from compressor.pruning.selection.importance import Scoring
from compressor.pruning.selection.select import Selecting, select
from compressor.recipe.methods import METHODS, Method
from exporters.base import find_target
from mean_folding import fold_means
from processes import Figures, Row, show
from versus import Job, bound, export_float, faster_than, top1

SAMPLES = 256
REQUIRED = {1.3: 85.7, 1.5: 84.0, 2.0: 81.2}
"""Fewer multiply-accumulates → top-1."""
SECONDS = 60.0
"""For selection and repair at the last of them, on two cores."""
BLOCKS = 2


@dataclass(frozen=True)
class Session:
    """The float model and its data."""

    job: Job
    model: ir.Model
    data: CalibrationSet
    threads: int

    def top1(self, model: ir.Model) -> float:
        """On the evaluation data, in percent."""
        with find_target("ort").open(model) as runner:
            return top1(runner, bound(self.job, runner, self.job.evaluation))

    def speedup(self, model: ir.Model, batch: int) -> float:
        """Over the float original, timed in turn on one thread."""
        target = find_target("ort")
        return faster_than(target.open(self.model), target.open(model), self.job, batch)

    def fewer(self, model: ir.Model) -> float:
        """How many times fewer multiply-accumulates."""
        whole, left = macs(self.model).macs, macs(model).macs
        assert whole
        assert left
        return whole / left

    def pruned(
        self, ratio: float, start: Shortened | None = None, method: Method = METHODS[0]
    ) -> tuple[ir.Model, Figures]:
        """Channels removed, of the whole model or of one without blocks, and repaired."""
        begun, worked = time.perf_counter(), time.process_time()
        base = self.model if start is None else start.model
        feeds = self.data.head(2).inputs
        grouping = find_groups(base, feeds)
        how = self.selecting(start, method)
        cost = Macs(Sizes(base, grouping))
        target = (macs(self.model).macs or 0) / ratio
        chosen = select(self.model, grouping, self.data, cost, target, how, start=base)
        keep = chosen.allocation.keep
        bare = cut(base, grouping, keep)
        made, _ = repair(self.model, bare, grouping, keep, self.data, how.repair)
        seconds, work = time.perf_counter() - begun, time.process_time() - worked
        folded = fold_means(base, bare, grouping, keep, self.data, how.scoring)
        name = f"{ratio:g}x"
        Console(stderr=True).print(f"{name}: {chosen.record.parameters}", style="dim")
        return made, {
            f"top1 cut {name}": self.top1(bare),
            f"top1 means {name}": self.top1(folded),
            f"top1 {name}": self.top1(made),
            f"fewer {name}": self.fewer(made),
            f"s {name}": seconds,
            f"cpu {name}": work,
        }

    def selecting(self, start: Shortened | None, method: Method) -> Selecting:
        """How channels are selected; gaps of removed blocks are aimed over."""
        how = Repair(threads=self.threads, aims={} if start is None else start.aims)
        return Selecting(Scoring(method, threads=self.threads), how)

    def shortened(self) -> Figures:
        """One and two blocks, repaired, and channels at as many multiply-accumulates."""
        grouping = find_groups(self.model, self.data.head(2).inputs)
        how = Repair(threads=self.threads)
        found: Figures = {}

        def saved(block: Block) -> float:
            left = macs(without(Shortened(self.model), block).model).macs
            return (macs(self.model).macs or 0) - (left or 0)

        removal = BlockRemoval(self.model, self.data, saved, how)
        for n in range(1, BLOCKS + 1):
            short = removal.without(n)
            assert short is not None, "the network has more blocks"
            limited = replace(how, aims=short.aims)
            made, _ = repair(self.model, short.model, grouping, {}, self.data, limited)
            Console(stderr=True).print(f"without {', '.join(short.removed)}", style="dim")
            found |= self._timed(f"{n} blocks", made)
            channels, _ = self.pruned(self.fewer(made))
            found |= self._timed(f"channels, as {n} blocks", channels)
            if n == 1:
                both, _ = self.pruned(2.0, short)
                found |= self._timed("1 block and channels", both)
        return found

    def _timed(self, name: str, model: ir.Model) -> Figures:
        figures = {f"top1 {name}": self.top1(model), f"fewer {name}": self.fewer(model)}
        return figures | {f"b{b} {name}": self.speedup(model, b) for b in (1, 32)}


def rows() -> list[Row]:
    """The table."""

    def at_least(least: float) -> Callable[[float], bool]:
        return lambda value: value >= least - 1e-9

    table = [Row("top-1, float", itemgetter("top1 float"), "{:.2f} %")]
    for ratio, least in REQUIRED.items():
        name = f"{ratio:g}x"
        table += [
            Row(f"{name}: fewer MACs", itemgetter(f"fewer {name}"), "{:.2f}x"),
            Row(f"{name}: top-1, cut only", itemgetter(f"top1 cut {name}"), "{:.2f} %"),
            Row(f"{name}: top-1, means folded", itemgetter(f"top1 means {name}"), "{:.2f} %"),
            Row(
                f"{name}: top-1, repaired",
                itemgetter(f"top1 {name}"),
                "{:.2f} %",
                f"≥ {least}",
                at_least(least),
            ),
            Row(f"{name}: processor time", itemgetter(f"cpu {name}"), "{:.1f} s"),
            Row(f"{name}: selection and repair", itemgetter(f"s {name}"), "{:.1f} s"),
        ]
    last = replace(table[-1], required=f"≤ {SECONDS:g} s", holds=lambda v: v <= SECONDS)
    table[-1] = last
    names = [f"{what}{n} blocks" for n in (1, 2) for what in ("", "channels, as ")]
    for name in (*names, "1 block and channels"):
        table += [
            Row(f"{name}: fewer MACs", itemgetter(f"fewer {name}"), "{:.2f}x"),
            Row(f"{name}: top-1", itemgetter(f"top1 {name}"), "{:.2f} %"),
            Row(f"{name}: faster, batch 1", itemgetter(f"b1 {name}"), "{:.2f}x"),
            Row(f"{name}: faster, batch 32", itemgetter(f"b32 {name}"), "{:.2f}x"),
        ]
    return table


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = options_of(__doc__)
    parser.add_argument("--threads", type=int, default=0, help="of the runtime; 0 is all")
    options = parser.parse_args()
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    job = cifar_job(options.data, options.model)
    with tempfile.TemporaryDirectory(prefix="pruning-") as name:
        export_float(job, Path(name) / "float.onnx")
        model, _ = fold(infer_shapes(load_model(Path(name) / "float.onnx")))
        data = job.data(job.calibration, SAMPLES).bind(input_specs(model))
        session = Session(job, infer_shapes(model), data, options.threads)
        figures: Figures = {"top1 float": session.top1(model)}
        for ratio in REQUIRED:
            figures |= session.pruned(ratio)[1]
        figures |= session.shortened()
    title = f"Pruned ResNet-20, {SAMPLES} calibration images, no training"
    sys.exit(not show(title, rows(), figures))


if __name__ == "__main__":
    main()
