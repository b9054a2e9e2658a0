"""CIFAR-10 in .npz files, as the benchmarks on it are given it."""

import argparse
from importlib import import_module
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
        preprocess={"layout": "nhwc-to-nchw", "scale": 1 / 255, "mean": MEAN, "std": STD},
        many=str(folder / "train.npz") if many else None,
    )


def trained_job(description: str | None, net: str) -> tuple[Job, Path] | None:
    """A network of a benchmark's own, and the folder of what is made; None without --data.

    `NET_net.py` holds the factory of that name and what trains it, once, into the folder.
    """
    parser = options_of(description, model=False)
    parser.add_argument("--folder", type=Path, default=Path("out", net), help="what is made")
    options = parser.parse_args()
    if not options.data:
        print("skipped: give --data DIR; --help says what it holds")
        return None
    folder: Path = options.folder
    checkpoint = folder / f"{net}.pt"
    if not checkpoint.is_file():
        # Of its own accord this module imports no torch, of which a trained network has no need.
        import_module(f"{net}_net").train(options.data / "train.npz", checkpoint)
    return cifar_job(options.data, checkpoint, f"{net}_net.py:{net}"), folder
