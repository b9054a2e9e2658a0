"""CIFAR-10 ResNet-20: what `compress search` finds, against random search and single runs.

    python benchmarks/search.py --data DIR --model FILE [--folder OUT] [--seeds 0,1,2] [--only PART]

DIR holds calib.npz, train.npz and test.npz, FILE is a state dict of `resnet.py`, as for `cifar.py`.
Searches judge on 2,000 images of train.npz; test.npz is for the figures at the end. Every search is
a folder in OUT that a later call goes on with, so that the whole may be run in parts:

    samplers   hypervolume after 60 trials of tpe and nsga2, without a warm start, against random;
               of the warm start alone, and of tpe behind it
    single     `compress --max-drop 0.5pt, 1pt, 2pt` beside the front of the searches
    widths     the evolved architecture at the latency of `--prune 30%` and INT8, beside its own
    resume     a search that is killed at trial 20 and goes on, beside one that is not

One thread; latencies of one row are timed in turn. Ends with 1 when a requirement does not hold.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import compressor
from calibration.preprocess import Preprocess
from cifar_data import MEAN, STD, options_of
from compressor import Recipe, SearchReport, compress
from compressor.commands.search_asked import asked_of
from compressor.commands.search_job import SearchSpec, job_of
from compressor.commands.search_result import reference_of, volumes
from compressor.commands.search_space import space_of
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.data import DataOptions
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.searching import SearchOptions
from compressor.results.front import Found
from compressor.search.recipes.evaluating import Evaluator
from compressor.search.recipes.front import Values
from compressor.search.recipes.making import Made, Outline
from compressor.search.recipes.running import Search, starting_points
from compressor.search.recipes.study import open_study
from compressor.system.progress import SILENT

PARTS = ("samplers", "single", "widths", "resume")
TRIALS, SEARCHED, KILLED_AT = 60, 2000, 20
DROP = "2pt"
SINGLE = ("0.5pt", "1pt", "2pt")


@dataclass
class Bench:
    """Where data, model and results lie."""

    data: Path
    model: Path
    folder: Path
    trials: int
    held = True

    @property
    def evaluation(self) -> Path:
        """The images that searches judge on."""
        path = self.folder / "search.npz"
        if not path.exists():
            train = np.load(self.data / "train.npz")
            np.savez(path, image=train["image"][:SEARCHED], label=train["label"][:SEARCHED])
        return path

    def recipe(self, **sections: Any) -> Recipe:
        """What all runs have in common."""
        preprocess = Preprocess(layout="nhwc-to-nchw", scale=1 / 255, mean=MEAN, std=STD)
        return Recipe(
            model=ModelOptions(factory=str(Path(__file__).with_name("resnet.py:resnet20"))),
            data=DataOptions(preprocess=preprocess, cache=self.folder / "cache"),
            measure=MeasureOptions(seconds=2.0),
            **sections,
        )

    def search(self, name: str, *, seed: int, drop: str = DROP, **options: Any) -> SearchReport:
        """A search in a folder of its own, as far as it has come."""
        recipe = self.recipe(
            seed=seed,
            budget=BudgetOptions(max_drop=drop, accept="point"),
            search=SearchOptions(**({"trials": self.trials} | options)),
        )
        return compressor.search(
            str(self.model),
            calibration=str(self.data / "calib.npz"),
            evaluation=str(self.evaluation),
            recipe=recipe,
            output=self.folder / name,
        )

    def compressed(self, name: str, **sections: Any) -> tuple[float, float]:
        """A run of `compress`: speed over float, and top-1 on test.npz less float's, in points."""
        report_file = self.folder / name / "report.json"
        if not report_file.exists():
            compress(
                str(self.model),
                calibration=str(self.data / "calib.npz"),
                evaluation=str(sections.pop("evaluation", self.data / "test.npz")),
                recipe=self.recipe(**{k: v for k, v in sections.items() if k != "plan"}),
                plan=sections.get("plan"),
                output=self.folder / name,
            )
        graph = compressor.load_report(report_file).graphs["model"]
        ratio, quality = graph.latency[0].ratio if graph.latency else 1.0, graph.quality[0]
        return ratio or 1.0, quality.difference or 0.0


def volume(report: SearchReport) -> float:
    """The share of the box that the front dominates after the last trial."""
    return report.hypervolume[-1] if report.hypervolume else 0.0


class Remembering(Evaluator):
    """An evaluator for several studies of one model: what one has measured another need not."""

    known: dict[str, Found]

    def evaluated(
        self, outline: Outline, key: str, front: Iterable[Values]
    ) -> tuple[Found, Made | None]:
        """What is known of what an outline makes, else what is found now."""
        if key in self.known:
            return self.known[key], None
        found, made = super().evaluated(outline, key, front)
        if found.stopped is None:
            self.known[key] = found
        return found, made


def samplers(bench: Bench, seeds: list[int], table: Table) -> None:
    """TPE and NSGA-II against random, nothing enqueued; and the warm start alone, TPE behind it.

    One model is prepared for all of them, and what makes the same graph is measured once.
    """
    recipe = bench.recipe(budget=BudgetOptions(max_drop=DROP, accept="point"))
    folder = bench.folder / "samplers"
    folder.mkdir(exist_ok=True)
    data = (str(bench.data / "calib.npz"), str(bench.evaluation))
    job = job_of(SearchSpec(str(bench.model), *data, recipe, folder), asked_of(recipe), SILENT)
    shared = job.shared()
    space = space_of(shared)
    plain = job.evaluator(shared)
    kept = {field.name: getattr(plain, field.name) for field in fields(plain)}
    evaluator = Remembering(**kept)
    evaluator.known = {}
    found: dict[str, list[float]] = {}
    for seed in seeds:
        for name in ("random", "tpe", "nsga2", "warm"):
            own = folder / f"{name}-{seed}"
            own.mkdir(exist_ok=True)
            how = {"objectives": 2, "storage": None, "name": "compress", "seed": seed}
            sampler = "tpe" if name == "warm" else name
            study = open_study(own, space, {}, sampler=sampler, **how)  # type: ignore[arg-type]
            if name == "warm":
                study.enqueue(starting_points(shared, list(space.variables)))
            told = study.told()
            evaluator.known |= {one.found.key: one.found for one in told
                                if one.found is not None and one.found.stopped is None}  # fmt: skip
            Search(study, evaluator, own, bench.trials, None).run()
            rows = volumes(study.told(), reference_of(evaluator), ("latency", "quality"))
            found.setdefault(name, []).append(rows[-1])
            if name == "warm":
                starts = len(starting_points(shared, list(space.variables)))
                found.setdefault(f"warm start alone, {starts} trials", []).append(rows[starts - 1])
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        told_words = ", ".join(f"{value:.3f}" for value in values)
        better = medians[name] > medians["random"]
        row(bench, table, f"hypervolume, {name}", f"{medians[name]:.3f} ({told_words})",
            "> random" if name in ("tpe", "nsga2") else "",
            better or name not in ("tpe", "nsga2"))  # fmt: skip


def single(bench: Bench, seeds: list[int], table: Table) -> None:
    """Single runs against the front, all on test.npz and timed against float."""
    report = bench.search(f"warm-{seeds[0]}", seed=seeds[0], sampler="tpe")
    trials = {trial.number: trial for trial in report.trials}
    points = []
    for number in report.front:
        trial = trials[number]
        if trial.plan is None or trial.outdone:
            continue
        plan = bench.folder / f"warm-{seeds[0]}" / trial.plan
        points.append((number, *bench.compressed(f"point-{number}", plan=plan)))
    for number, speed, change in points:
        row(bench, table, f"front, trial {number}", f"{speed:.2f}x, {change:+.2f} points")
    for drop in SINGLE:
        speed, change = bench.compressed(
            f"single-{drop}", budget=BudgetOptions(max_drop=drop), evaluation=bench.evaluation
        )
        best = max((p[1] for p in points if p[2] >= change - 0.35), default=0.0)
        row(bench, table, f"--max-drop {drop}", f"{speed:.2f}x, {change:+.2f}; front {best:.2f}x",
            "front as fast within 0.35 points", best >= 0.97 * speed)  # fmt: skip


def widths(bench: Bench, seeds: list[int], table: Table) -> None:
    """The evolved architecture that is as fast as `--prune 30%`, by the same repair and INT8."""
    del seeds
    greedy = bench.compressed("prune-30", prune=PruneOptions(macs="30%"))
    space: dict[str, Any] = {
        "widths": "evolved",
        "prune": {"low": 0.3, "high": 0.6, "step": 0.1},
        **{"ranges": "auto", "equalization": "auto", "rounding": "gptq", "bias": "plain"},
        **{"regions": 1.0, "blocks": 0},
    }
    # A budget would refuse what is as fast: it is the greedy allocation that is compared with.
    report = bench.search(
        "widths", seed=0, drop="20pt", sampler="grid", warm_start=False, space=space, trials=4
    )
    trials = {trial.number: trial for trial in report.trials}
    found = []
    for number in report.front:
        plan = trials[number].plan
        if plan is not None:
            path = bench.folder / "widths" / plan
            found.append(bench.compressed(f"evolved-{number}", plan=path))
    row(bench, table, "--prune 30% + INT8", f"{greedy[0]:.2f}x, {greedy[1]:+.2f} points")
    for speed, change in sorted(found):
        row(bench, table, "evolved + INT8", f"{speed:.2f}x, {change:+.2f} points")
    best = max((c for s, c in found if s >= 0.97 * greedy[0]), default=float("-inf"))
    row(bench, table, "evolved, as fast", f"{best:+.2f} points", "no lower", best >= greedy[1])


def resume(bench: Bench, seeds: list[int], table: Table) -> None:
    """Killed at trial 20 and gone on with, beside an unbroken run of the same seed."""
    seed = seeds[0]
    name, whole = f"resumed-{seed}", bench.search(f"random-{seed}", seed=seed, sampler="random",
                                                  warm_start=False)  # fmt: skip
    folder = bench.folder / name
    if not (folder / "front.json").exists():
        _killed(bench, folder, name, seed)
    report = bench.search(name, seed=seed, sampler="random", warm_start=False)
    same = _front_of(report) == _front_of(whole)
    row(bench, table, "front, killed and resumed", "same" if same else "another", "same", same)
    count = len({json.dumps(trial.recipe) for trial in report.trials if trial.found.key})
    row(bench, table, "recipes, of as many trials", f"{count} of {len(report.trials)}")
    once = [t.recipe for t in report.trials] == [t.recipe for t in whole.trials]
    row(bench, table, "trials one by one", "equal" if once else "unlike", "equal", once)


def _killed(bench: Bench, folder: Path, name: str, seed: int) -> None:
    """Start a search in a process of its own, and kill it without warning."""
    code = (
        "import sys; from pathlib import Path; from search import Bench; "
        f"Bench(Path({str(bench.data)!r}), Path({str(bench.model)!r}), "
        f"Path({str(bench.folder)!r}), {bench.trials})"
        f".search({name!r}, seed={seed}, sampler='random', warm_start=False)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        journal = folder / "study.journal"
        most = min(KILLED_AT, bench.trials // 2)
        while process.poll() is None:
            asked = journal.read_text().count('"op_code": 4,') if journal.exists() else 0
            if asked > most:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.2)


def _front_of(report: SearchReport) -> list[dict[str, Any]]:
    trials = {trial.number: trial for trial in report.trials}
    values = [trials[number] for number in report.front]
    return [{"recipe": one.recipe, "values": one.values} for one in values]


def row(
    bench: Bench, table: Table, name: str, value: str, required: str = "", holds: bool = True
) -> None:
    """A line of the table, told at once, too."""
    bench.held = bench.held and holds
    cells = (name, value, required, "" if not required else "yes" if holds else "NO")
    table.add_row(*cells)
    print(*cells, sep=" | ", file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = options_of(__doc__)
    parser.add_argument("--folder", type=Path, help="where searches are kept, and gone on with")
    parser.add_argument("--seeds", default="0", help="seeds of the searches: 0,1,2")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    options = parser.parse_args()
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="search-"))
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.data.resolve(), options.model.resolve(), folder, options.trials)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    table = Table(title=f"CIFAR-10 ResNet-20, {options.trials} trials, one thread")
    for heading in ("what", "measured", "required", "holds"):
        table.add_column(heading)
    for name in options.only.split(","):
        {"samplers": samplers, "single": single, "widths": widths, "resume": resume}[name](
            bench, seeds, table
        )
    Console().print(table)
    sys.exit(not bench.held)


if __name__ == "__main__":
    main()
