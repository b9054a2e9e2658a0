"""The sample's network: our INT8 against float and against ONNX Runtime's `quantize_static`.

    python benchmarks/digits.py out/digits

The folder is what samples/digits/train.py wrote. Medians of fresh processes, one thread.
"""

import argparse
from pathlib import Path

from processes import rows, run_comparison, show
from versus import Job

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of model.pt, calib.npz and eval.npz")
    parser.add_argument("--processes", type=int, default=3)
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    if not (folder / "model.pt").is_file():
        print(f"skipped: there is no {folder / 'model.pt'}; `make sample` trains it")
        return
    job = Job(
        model=str(folder / "model.pt"),
        factory=f"{ROOT / 'samples' / 'digits' / 'model.py'}:build",
        calibration=str(folder / "calib.npz"),
        evaluation=str(folder / "eval.npz"),
        preprocess={},
    )
    figures = run_comparison(job, options.processes)
    show(f"Digits, one thread, medians of {options.processes} processes", rows(job), figures)


if __name__ == "__main__":
    main()
