"""The samples of generative models, compressed: judged by the metrics of their fields.

    python benchmarks/generative.py gan vae diffusion language encoder

Reads out/NAME, which `make sample-NAME` writes: the trained network and what ships for ONNX
Runtime. Other forms of the same networks are made on the way: float, pruned with repair and
without, and what ONNX Runtime's own quantizers make. The samples' own loops generate everything.

The Fréchet distance of what ships is to other seeds of the original, as that of the original itself
is; the ratio of both is the median of some draws. Latencies are ratios of two timed in turn. Ends
with 1 where a figure is worse than required. With `--keep FOLDER --minutes N` it ends once the time
is over, and goes on where it ended when it is called again.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

import generative_images
import generative_text
from compressor.system.hardware import has_int8_dot, processor
from generative_sample import ROOT, Sample, Unfinished
from processes import Figures, Row, show

SAMPLES = ("gan", "vae", "diffusion", "language", "encoder")


def figures_of(sample: Sample, count: int, draws: int) -> tuple[Figures, list[Row]]:
    """What is measured of a sample, and its table."""
    text: dict[str, tuple[Callable[[Sample], Figures], Callable[[], list[Row]]]] = {
        "language": (generative_text.language, generative_text.language_rows),
        "encoder": (generative_text.encoder, generative_text.encoder_rows),
    }
    if sample.name in text:
        measure, rows = text[sample.name]
        return measure(sample), rows()
    return generative_images.measured(sample, count, draws), generative_images.rows(sample)


def main() -> None:
    """Measure and print; the exit code tells whether all holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samples", nargs="*", default=SAMPLES, help=", ".join(SAMPLES))
    parser.add_argument("--count", type=int, default=2000, help="images of a draw")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="a folder in which what was measured is kept")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing later")
    options = parser.parse_args()
    if find_spec("torch") is None:
        print("skipped: needs torch")
        return
    os.chdir(ROOT)
    dot = "with" if has_int8_dot("host") else "without"
    Console().print(f"{processor()}, {dot} an 8-bit dot product (VNNI)")
    held, until = True, time.monotonic() + 60 * options.minutes
    for name in options.samples:
        with tempfile.TemporaryDirectory(prefix="generative-") as scratch:
            sample = Sample(name, (options.keep or Path(scratch)).resolve() / name, until)
            sample.scratch.mkdir(parents=True, exist_ok=True)
            if not (sample.folder / "ort" / "manifest.json").is_file():
                print(f"{name} skipped: `make sample-{name}` writes out/{name}/ort")
                continue
            try:
                figures, rows = figures_of(sample, options.count, options.draws)
            except Unfinished as open_end:
                sys.exit(f"{open_end}: call it again")
        held = show(name, rows, figures) and held
    sys.exit(not held)


if __name__ == "__main__":
    main()
