"""CIFAR-10 in .npz files, as the benchmarks on it are given it."""

import argparse
from pathlib import Path

from versus import Job

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def options_of(description: str | None, *, model: bool = True) -> argparse.ArgumentParser:
    """A parser of --data, and of --model where there is one to be given."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of calib.npz, train.npz and test.npz")
    if model:
        parser.add_argument("--model", type=Path, help="state dict of ResNet-20")
    return parser


def cifar_job(
    data: Path, model: Path, factory: str = "resnet.py:resnet20", *, many: bool = False
) -> Job:
    """A state dict and the factory of its module; with `many` also what measures memory.

    Ends the program where a file is missing.
    """
    folder = data.resolve()
    names = ("calib.npz", "test.npz", *(("train.npz",) if many else ()))
    missing = [str(p) for p in (*(folder / name for name in names), model) if not p.is_file()]
    if missing:
        raise SystemExit(f"there is no {', no '.join(missing)}")
    return Job(
        model=str(model.resolve()),
        factory=str(Path(__file__).with_name(factory)),
        calibration=str(folder / "calib.npz"),
        evaluation=str(folder / "test.npz"),
        preprocess={"layout": "nhwc->nchw", "scale": 1 / 255, "mean": MEAN, "std": STD},
        many=str(folder / "train.npz") if many else None,
    )
