"""Calibration and a search by two workers, here and on a Ray cluster, beside one process.

    python benchmarks/workers.py [--samples 4096] [--trials 16] [--only calibrate,search,lost]

A convolutional network of 12 layers (1.7 GMAC an image, about what ResNet-18 has) is calibrated on
random images; one half as wide is searched in some trials of like length, without the evolution of
widths. One process has one core; so has each of the two workers, so that the ratio tells what
dividing the work costs. The cluster is Ray's own for tests: two nodes of one core
each on this machine, and a head without; where Ray is missing its rows are left out. In the last
part a node of it is killed while it works. Required is 1.6 times the speed, the statistics of one
process bit for bit, and a right end without the node. Ends with 1 where that does not hold.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import psutil
from rich.console import Console
from rich.table import Table

from compressor import SearchReport

PARTS = ("calibrate", "search", "lost")
LAYERS, SIDE = 12, 32
WIDE, NARROW = 128, 64
"""Channels of the network that is calibrated, and of the one that is searched."""
SPACE = '[search.space]\nwidths = "allocated"\n'
LEAST = 1.6
FALLS = 0.4
"""Share of the time of two workers after which one is killed."""
QUIET, PATIENCE = 10.0, 60
"""Percent of the processors that a cluster which has started may take, and seconds to wait."""


def write_model(path: Path, channels: int) -> None:
    """Write image [n, 3, 32, 32] → Conv and Relu, 12 times → mean → Gemm: 10 logits."""
    rng = np.random.default_rng(0)
    image = ir.val("image", ir.DataType.FLOAT, ["n", 3, SIDE, SIDE])
    value, nodes, weights = image, [], []
    for layer in range(LAYERS):
        shape = (channels, 3 if layer == 0 else channels, 3, 3)
        scale = np.sqrt(2 / (9 * shape[1]))
        array = (scale * rng.standard_normal(shape)).astype(np.float32)
        weights.append(_weight(f"conv{layer}.weight", array))
        conv = ir.node("Conv", [value, weights[-1]], {"pads": [1, 1, 1, 1]}, name=f"conv{layer}")
        nodes += [conv, ir.node("Relu", conv.outputs, name=f"relu{layer}")]
        value = nodes[-1].outputs[0]
    last = (rng.standard_normal((channels, 10)) / np.sqrt(channels)).astype(np.float32)
    weights.append(_weight("fc.weight", last))
    nodes.append(ir.node("GlobalAveragePool", [value], name="mean"))
    nodes.append(ir.node("Flatten", nodes[-1].outputs, name="flat"))
    nodes.append(ir.node("MatMul", [nodes[-1].outputs[0], weights[-1]], name="fc"))
    logits = nodes[-1].outputs[0]
    logits.name, logits.type, logits.shape = "logits", image.type, ir.Shape(["n", 10])
    graph = ir.Graph(
        [image], [logits], nodes=nodes, initializers=weights, opset_imports={"": 20}, name="deep"
    )
    ir.save(ir.Model(graph, ir_version=10), path)


def _weight(name: str, array: Any) -> ir.Value:
    value = ir.val(name)
    value.const_value = ir.tensor(array, name=name)
    return value


@dataclass
class Bench:
    """Where all lies, how much is asked, and what was found.

    Attributes:
        folder: Model and data, and what runs write.
        samples: Images that calibrate.
        trials: Of the search.
        rows: What was found, as the table has it.
        held: Whether every requirement held.
    """

    folder: Path
    samples: int
    trials: int
    rows: list[tuple[str, ...]] = field(default_factory=list)
    held: bool = True

    def prepare(self) -> None:
        """Write the model and its data."""
        rng = np.random.default_rng(1)
        write_model(self.folder / "wide.onnx", WIDE)
        write_model(self.folder / "narrow.onnx", NARROW)
        (self.folder / "space.toml").write_text(SPACE)
        for name, count in (("calib", self.samples), ("few", 128)):
            images = rng.standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)
            np.savez(self.folder / f"{name}.npz", image=images)

    @cached_property
    def alone(self) -> tuple[float, str]:
        """Calibration by one process: its seconds, and a digest of the statistics."""
        return self.calibrated("one", "1")

    def calibrated(self, name: str, workers: str) -> tuple[float, str]:
        """Seconds of `compress calibrate`, and a digest of the statistics that it wrote."""
        file = self.folder / f"{name}-statistics.npz"
        seconds = self._run(
            "calibrate", "wide.onnx", "--calib", "calib.npz", "-o", file.name, "--no-cache",
            workers=workers,
        )  # fmt: skip
        return seconds, _digest(file)

    def searched(self, name: str, workers: str) -> tuple[float, float]:
        """Seconds of `compress search`, and of its trials, of which there are as many as asked for.

        The cache is empty at first: it is how processes share what all trials need.
        """
        seconds = self._run(
            "search", "narrow.onnx", "--calib", "few.npz", "--recipe", "space.toml",
            "--trials", str(self.trials), "--sampler", "random", "--no-warm-start",
            "--objectives", "quality,size", "--measure-seconds", "0.2",
            "--cache", f"{name}-cache", "-o", name, workers=workers,
        )  # fmt: skip
        told = (self.folder / name / "front.json").read_text()
        found = len(SearchReport.model_validate_json(told).trials)
        if found != self.trials:
            sys.exit(f"{name}: {found} trials, {self.trials} were asked for")
        return seconds, _span(self.folder / name / "study.journal")

    def _run(self, command: str, *arguments: str, workers: str) -> float:
        """Seconds of a command in a process of its own, which has one core where it is alone."""
        alone = workers == "1"
        line = [sys.executable, "-m", "compressor", command, *arguments, "--workers", workers]
        environment = os.environ | ({"OMP_NUM_THREADS": "1"} if alone else {})
        cores = os.sched_getaffinity(0)
        started = time.perf_counter()
        with subprocess.Popen(
            line, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL
        ) as process:  # fmt: skip
            if alone:
                psutil.Process(process.pid).cpu_affinity([min(cores)])
            if process.wait() != 0:
                sys.exit(f"compress {command} --workers {workers} ended with {process.returncode}")
        return time.perf_counter() - started

    def row(self, name: str, value: str, required: str = "", *, holds: bool = True) -> None:
        """A line of the table, told at once, too."""
        self.held = self.held and holds
        self.rows.append((name, value, required, "" if not required else "yes" if holds else "NO"))
        print(*self.rows[-1], sep=" | ", file=sys.stderr, flush=True)


def _span(journal: Path) -> float:
    """Seconds from the start of the first trial to the end of the last."""
    import optuna  # noqa: PLC0415 - one part needs it
    from optuna.storages import JournalStorage  # noqa: PLC0415 - likewise
    from optuna.storages.journal import JournalFileBackend  # noqa: PLC0415 - likewise

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lies = JournalStorage(JournalFileBackend(str(journal)))
    trials = optuna.load_study(study_name=None, storage=lies).get_trials(deepcopy=False)
    starts = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    ends = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    return (max(ends) - min(starts)).total_seconds()


def _digest(file: Path) -> str:
    """Of all arrays but the document, which names the shards."""
    found = hashlib.sha256()
    with np.load(file) as stored:
        for name in sorted(set(stored.files) - {"document"}):
            found.update(name.encode() + stored[name].tobytes())
    return found.hexdigest()


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """Ray's cluster for tests: so many nodes of one core; its address is `address`."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - an extra

    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        found.workers = [found.add_node(num_cpus=1) for _ in range(nodes)]
        _settle()
        yield found
    finally:
        found.shutdown()


def _settle() -> None:
    """Wait until a new cluster has started: one that is joined has long been up."""
    until = time.perf_counter() + PATIENCE
    while psutil.cpu_percent(interval=2) > QUIET and time.perf_counter() < until:
        pass


def calibrate(bench: Bench) -> None:
    """One process, two here, two nodes: seconds and bytes."""
    one, digest = bench.alone
    bench.row("calibration, one process on one core", f"{one:.1f} s")
    _compared(bench, "calibration, two processes", one, *bench.calibrated("two", "2"), digest)
    if find_spec("ray") is not None:
        with cluster(2) as found:
            seconds, other = bench.calibrated("ray", found.address)
        _compared(bench, "calibration, two nodes of Ray", one, seconds, other, digest)


def _compared(bench: Bench, name: str, one: float, seconds: float, found: str, digest: str) -> None:
    ratio, same = one / seconds, found == digest
    bench.row(name, f"{seconds:.1f} s, {ratio:.2f}x", f"≥ {LEAST}x", holds=ratio >= LEAST)
    bench.row(f"{name}: statistics", "equal" if same else "differ", "equal", holds=same)


def search(bench: Bench) -> None:
    """The same of trials that time nothing, whose order alone differs."""
    whole, one = bench.searched("search-one", "1")
    trials = f"{bench.trials} trials"
    bench.row(f"{trials}, one process on one core", f"{one:.1f} s")
    bench.row("the search with what comes before and after", f"{whole:.1f} s")
    ways = {"two processes": bench.searched("search-two", "2")}
    if find_spec("ray") is not None:
        with cluster(2) as found:
            ways["two nodes of Ray"] = bench.searched("search-ray", found.address)
    for name, (together, seconds) in ways.items():
        ratio = one / seconds
        bench.row(
            f"{trials}, {name}", f"{seconds:.1f} s, {ratio:.2f}x", f"≥ {LEAST}x",
            holds=ratio >= LEAST,
        )  # fmt: skip
        bench.row(f"the search, {name}", f"{together:.1f} s, {whole / together:.2f}x")


def lost(bench: Bench) -> None:
    """A node is killed in the middle of a calibration, whose result is that of one process."""
    if find_spec("ray") is None:
        print("lost: left out, as Ray is not installed", file=sys.stderr)
        return
    one, digest = bench.alone
    with cluster(2) as found:
        fall = threading.Timer(
            FALLS * one, lambda: found.remove_node(found.workers[1], allow_graceful=False)
        )
        fall.start()
        seconds, other = bench.calibrated("lost", found.address)
        fell = not fall.is_alive()
        fall.cancel()
    same = other == digest and fell
    told = f"{seconds:.1f} s, {'equal' if same else 'differ' if fell else 'it ended before'}"
    bench.row("calibration, a node of Ray killed meanwhile", told, "equal", holds=same)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=4096, help="images that calibrate")
    parser.add_argument("--trials", type=int, default=16, help="trials of the search")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    options = parser.parse_args(arguments)
    parts = {"calibrate": calibrate, "search": search, "lost": lost}
    if unknown := set(options.only.split(",")) - set(parts):
        parser.error(f"no such part: {', '.join(unknown)}; known are {', '.join(PARTS)}")
    if len(os.sched_getaffinity(0)) < 2:
        print("two workers need two cores, and one is here", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="workers-") as folder:
        bench = Bench(Path(folder), options.samples, options.trials)
        bench.prepare()
        for name in options.only.split(","):
            parts[name](bench)
    table = Table("what", "measured", "required", "holds", title="Two workers beside one process")
    for cells in bench.rows:
        table.add_row(*cells)
    Console().print(table)
    return 0 if bench.held else 1


if __name__ == "__main__":
    sys.exit(main())
