"""A golden set: what a fixed list of runs makes, to be held against what they make after a change.

    python benchmarks/golden.py record FOLDER [--digits out/digits] [--data DIR --model FILE]
    python benchmarks/golden.py check FOLDER

`record` keeps the artifact and the plan of every run. `check` replays each plan, which has to give
the same bytes, and makes each run anew: where that decides otherwise, it says which part of the
plan differs. Runs decide by measured speed, so that two of them may differ with nothing changed:
`record --times 2` tells which do. DIR holds calib.npz and test.npz of CIFAR-10 and FILE a state
dict of `resnet.py`; runs whose files are not given are left out.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import compressor
from cifar_data import MEAN, STD

HERE = Path(__file__).parent
PREPROCESS = {"layout": "nhwc-to-nchw", "scale": 1 / 255, "mean": MEAN, "std": STD}
UNDECIDED = ("digest",)
"""Parts of a plan that follow from the others."""


@dataclass(frozen=True)
class Run:
    """One compression."""

    model: Any
    target: str = "ort"
    calibration: Any = None
    evaluation: Any = None
    recipe: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def into(self, folder: Path, plan: Path | None = None) -> None:
        """Compress, or replay a plan."""
        sections = {name: dict(section) for name, section in self.recipe.items()}
        sections["measure"] = {"threads": 1, "seconds": 1.0} | sections.get("measure", {})
        compressor.compress(
            self.model,
            target=self.target,
            calibration=self.calibration,
            evaluation=self.evaluation,
            recipe=compressor.Recipe.model_validate(sections),
            output=folder,
            plan=plan,
            force=True,
        )


class Transformer(nn.Module):
    """Two layers over embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, dropout=0.0)
        self.embed, self.head = nn.Embedding(128, 64), nn.Linear(64, 10)
        self.net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """[n, length] → [n, 10]."""
        out: torch.Tensor = self.head(self.net(self.embed(tokens)).mean(1))
        return out


def runs(digits: Path | None, data: Path | None, model: Path | None) -> Iterator[tuple[str, Run]]:
    """Name → run, of those whose files are there."""
    if digits is not None:
        factory = HERE.parent / "samples" / "digits" / "model.py"
        yield (
            "digits-int8",
            Run(
                str(digits / "model.pt"),
                calibration=str(digits / "calib.npz"),
                evaluation=str(digits / "eval.npz"),
                recipe={"model": {"factory": f"{factory}:build"}},
            ),
        )
    if data is not None and model is not None:
        yield from _resnets(data, str(model))
    torch.manual_seed(0)
    net = Transformer().eval()
    tokens = {"tokens": np.random.default_rng(0).integers(0, 128, (64, 16))}
    for mode in ("int8-dynamic", "int4", "int8-weights"):
        yield (
            f"transformer-{mode}",
            Run(net, calibration=tokens, recipe={"quantize": {"mode": mode}}),
        )


def _resnets(data: Path, model: str) -> Iterator[tuple[str, Run]]:
    sections: dict[str, dict[str, object]] = {
        "model": {"factory": f"{HERE / 'resnet.py'}:resnet20"},
        "data": {"samples": 512, "preprocess": PREPROCESS},
    }
    files = str(data / "calib.npz"), str(data / "test.npz")
    wishes: dict[str, dict[str, dict[str, object]]] = {
        "int8": {},
        "budget": {"budget": {"max_drop": "1%"}},
        "prune": {"prune": {"macs": "30%"}},
    }
    for name, wish in wishes.items():
        yield f"resnet20-{name}", Run(model, "ort", *files, recipe=sections | wish)
    yield "resnet20-trt", Run(model, "trt", *files, recipe=sections)


def record(folder: Path, found: Mapping[str, Run], times: int) -> int:
    """Make every run, and tell which of them decide otherwise when they are made again."""
    for name, run in found.items():
        run.into(folder / name)
        print(f"{name:28} {_hash(folder / name / 'model.onnx')}", flush=True)
        for _ in range(times - 1):
            run.into(folder / f"{name}-again")
            print(f"{'':28} again: {_told(folder / name, folder / f'{name}-again')}", flush=True)
    return 0


def check(folder: Path, found: Mapping[str, Run]) -> int:
    """Replay every plan and make every run anew; how many replays gave other bytes."""
    changed = 0
    for name, run in found.items():
        if not (folder / name / "plan.json").is_file():
            print(f"{name:28} not recorded")
            continue
        run.into(folder / f"{name}-replayed", folder / name / "plan.json")
        pair = [_hash(folder / kind / "model.onnx") for kind in (name, f"{name}-replayed")]
        same = pair[0] == pair[1]
        changed += not same
        run.into(folder / f"{name}-anew")
        print(
            f"{name:28} replayed: {'same bytes' if same else 'OTHER BYTES'}; "
            f"anew: {_told(folder / name, folder / f'{name}-anew')}",
            flush=True,
        )
    return changed


def _told(before: Path, after: Path) -> str:
    if _hash(before / "model.onnx") == _hash(after / "model.onnx"):
        return "same bytes"
    old, new = (json.loads((folder / "plan.json").read_text()) for folder in (before, after))
    places = sorted(_differing(old, new))
    return f"differs in {', '.join(places[:6])}" if places else "same plan, other numbers"


def _differing(old: object, new: object, at: str = "") -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            if key not in UNDECIDED:
                yield from _differing(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))
    elif old != new:
        yield at


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def main() -> int:
    """Record or check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["record", "check"])
    parser.add_argument("folder", type=Path, help="of what was recorded")
    parser.add_argument("--digits", type=Path, help="what samples/digits/train.py wrote")
    parser.add_argument("--data", type=Path, help="folder of calib.npz and test.npz")
    parser.add_argument("--model", type=Path, help="state dict of ResNet-20")
    parser.add_argument("--only", nargs="+", help="names of runs")
    parser.add_argument("--times", type=int, default=1, help="that each run is made")
    asked = parser.parse_args()
    found = dict(runs(asked.digits, asked.data, asked.model))
    found = {name: run for name, run in found.items() if not asked.only or name in asked.only}
    if asked.what == "record":
        return record(asked.folder, found, asked.times)
    return min(check(asked.folder, found), 1)


if __name__ == "__main__":
    sys.exit(main())
