"""TensorRT on this machine's GPU: engines of eight networks and a pipeline, checked and timed.

    make trt-device                               # or, with what is installed as it is:
    python benchmarks/trt_device.py [NETWORK ...] [--install] [--build-only] [--lock-clocks]

`compress --target trt` makes an FP16, INT8, FP8 and 2:4 sparse engine of each network. Outputs are
held against ONNX Runtime on the same graph, an engine is timed in turn with the FP16 one by CUDA
events, and the engine inspector tells the precisions of its kernels. One more row is a whole run of
`compress`, which races its candidates on the GPU itself.

Graphs are made first, side by side, and need no GPU. Each row is then a process of its own with a
time limit: what crashes, hangs or is refused costs one row, which says so. All ends after eight
minutes; the same command goes on with the rows that are missing or failed. All is written to
out/trt-device: results.json, table.md (for docs/tensorrt.md), a file a row in parts/, and graphs/,
which may come from another machine.

--install lets pip install `tensorrt` into the environment of this interpreter (`make trt-device`:
.venv) where engines of no installed package run. --build-only needs no GPU: `tensorrt-rtx` builds,
and rows say `built, not run`. --lock-clocks locks the GPU's clocks meanwhile, if that is allowed.

Ends with 0 where every row is measured and agrees, with 1 where one does not, and with 4 where no
engine can run.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from compressor.errors import TargetError
from compressor.system.processes import run_python
from compressor.system.processors import available_processors
from trt_device_nets import NETS, Net
from trt_device_parts import (
    BASE,
    DONE,
    KINDS,
    LEAST_CAPABILITY,
    WHOLE,
    Part,
    Parts,
    is_prepared,
    slug,
    written,
)
from trt_device_place import Place, clocks_locked, find_place
from trt_device_table import Row, document, table

LEAST = 5.0
"""Seconds without which no row is begun."""


@dataclass(frozen=True)
class Limits:
    """Seconds: of all, of a network's graphs, of a row."""

    total: float
    graphs: float
    row: float


class Scripts(NamedTuple):
    """What does the work, each in a process of its own: of a network's graphs, of a row."""

    graphs: Path
    row: Path


SCRIPTS = Scripts(*(Path(__file__).with_name(f"trt_device_{name}.py") for name in Scripts._fields))


class Proof:
    """One run.

    Args:
        place: Where.
        out: The folder of all that is written.
        nets: What is measured.
        limits: How long.
        scripts: What does the work.
    """

    def __init__(
        self, place: Place, out: Path, nets: Sequence[Net], limits: Limits, scripts: Scripts
    ) -> None:
        self.place, self.out, self.nets = place, out, nets
        self.limits, self.scripts = limits, scripts
        self.until = time.monotonic() + limits.total
        self.graphs = out / "graphs"
        self.graphs.mkdir(parents=True, exist_ok=True)
        self.parts = Parts(out / "parts", place.made_by)
        self.refused: dict[tuple[str, str], str] = {}
        self.graphs_until = self.until
        self.stopped = threading.Event()

    @property
    def wanted(self) -> list[tuple[Net, str]]:
        """All rows, in the order in which they are made; the base of a network is its first."""
        rows = [(net, kind) for net in self.nets for kind in KINDS]
        return [*rows, *((net, WHOLE) for net in self.nets[:1])]

    def known(self) -> list[Row]:
        """All rows, with what is known by now."""
        return [(net.name, kind, self.parts.get(net.name, kind)) for net, kind in self.wanted]

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def prepare(self) -> None:
        """Make the graphs that are missing, a process a network, and as many as there are cores.

        In half of the time at most: on few cores rows whose graphs are there come first.
        """
        self.graphs_until = time.monotonic() + self.left / 2
        missing = [net for net in self.nets if self._missing(net)]
        if not missing:
            return
        say(f"graphs of {', '.join(net.name for net in missing)}")
        with ThreadPoolExecutor(min(len(missing), available_processors())) as pool:
            try:
                list(pool.map(self._prepare, missing))
            except KeyboardInterrupt:
                self.stopped.set()  # the processes are of other threads, which saw nothing
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _missing(self, net: Net) -> list[str]:
        return [kind for kind in KINDS if not self._is_ready(net, kind)]

    def _is_ready(self, net: Net, kind: str) -> bool:
        return is_prepared(self.graphs / slug(net.name, kind))

    def _prepare(self, net: Net) -> None:
        job = {"network": net.name, "kinds": self._missing(net), "folder": str(self.graphs)}
        limit = min(self.limits.graphs, self.graphs_until - time.monotonic())
        failure, refused = self._asked(self.scripts.graphs, job, limit)
        for kind in self._missing(net):
            why = (refused or {}).get(kind) or f"its process {failure or 'left it out'}"
            self.refused[net.name, kind] = f"no graph: {why}"

    def measure(self) -> None:
        """Make the rows that are missing or failed, one after the other, while there is time."""
        for net, kind in self.wanted:
            part = self.parts.get(net.name, kind)
            if part is not None and part.state in DONE:
                continue
            if self.left < LEAST:
                return
            part = self._row(net, kind)
            if part.state == "failed" and self.left <= 0:
                return  # it was not the row's own limit that ended it
            self.parts.put(part)
            say(f"{net.name} {kind}: {part.state}{': ' if part.words else ''}{part.words}")

    def _row(self, net: Net, kind: str) -> Part:
        if (why := self._why_left_out(kind)) is not None:
            return Part(network=net.name, kind=kind, state="left out", words=why)
        if (net.name, kind) in self.refused:
            why = self.refused[net.name, kind]
            return Part(network=net.name, kind=kind, state="failed", words=why)
        limit = self.limits.row * (2 if kind == WHOLE else 1)
        base = self.parts.get(net.name, BASE)
        job = {
            "network": net.name,
            "kind": kind,
            "folder": str(self.graphs),
            "chosen": asdict(self.place.chosen),
            "cache": str(self.out / self.place.cache_name),
            "base": BASE if kind != BASE and base and base.milliseconds else None,
            "seconds": limit,
        }
        began = time.monotonic()
        failure, told = self._asked(self.scripts.row, job, limit)
        if told is not None:
            part = Part.model_validate(told)
            behind = f"its process {failure} behind its answer"
            words = part.words if failure is None else f"{part.words}; {behind}".lstrip("; ")
            return part.model_copy(update={"words": words})
        took = round(time.monotonic() - began, 2)
        words = f"its process {failure or 'gave no answer'}"
        return Part(network=net.name, kind=kind, state="failed", words=words, seconds=took)

    def _why_left_out(self, kind: str) -> str | None:
        """Why the GPU has no such kernels; None where it has, or nothing is run."""
        has, needs = self.place.gpu.capability, LEAST_CAPABILITY.get(kind)
        if has is None or needs is None or has >= needs:
            return None
        numbers = [".".join(map(str, one)) for one in (needs, has)]
        return "it needs compute capability {} or later, this GPU has {}".format(*numbers)

    def _asked(self, script: Path, job: dict[str, Any], limit: float) -> tuple[str | None, Any]:
        """What became of a process, and what it answered; None for what there is none of."""

        def end_where_stopped() -> None:
            if self.stopped.is_set():
                raise KeyboardInterrupt

        limit = max(min(limit, self.left), 1.0)
        with tempfile.TemporaryDirectory(prefix="trt-device-") as folder:
            asked, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
            written(asked, {**job, "answer": str(answer)})
            arguments = [str(script), str(asked)]
            failure = run_python(arguments, timeout=round(limit, 1), poll=end_where_stopped)
            told = json.loads(answer.read_text("utf-8")) if answer.is_file() else None
        return None if failure is None else str(failure), told

    def write(self, clocks: str) -> None:
        """The JSON and the table of all that is known."""
        rows = self.known()
        written(self.out / "results.json", document(rows, self.place.made_by, clocks))
        words = f"{self.place.words}; {clocks}"
        (self.out / "table.md").write_text(table(rows, words), encoding="utf-8")


def say(text: str) -> None:
    """What is going on."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, scripts: Scripts = SCRIPTS) -> int:
    """Run, and say how it went.

    Args:
        arguments: Of the command line.
        scripts: What does the work.
    """
    options = parsed(arguments)
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi numbers GPUs
    try:
        place = find_place(install=options.install, build_only=options.build_only)
    except TargetError as error:
        say(f"error: {' '.join(error.message.split())}. {error.hint}")
        return TargetError.exit_code
    nets = [net for net in NETS if net.name in (options.networks or [net.name])]
    limits = Limits(options.seconds, options.graph_seconds, options.row_seconds)
    proof = Proof(place, options.out, nets, limits, scripts)
    say(place.words)
    interrupted = False
    with clocks_locked(options.lock_clocks) as clocks:
        try:
            proof.prepare()
            proof.measure()
        except KeyboardInterrupt:
            interrupted = True
        proof.write(clocks)
    print((options.out / "table.md").read_text(encoding="utf-8"))
    return ended(proof.known(), place, options.out, interrupted=interrupted)


def ended(rows: Sequence[Row], place: Place, out: Path, *, interrupted: bool) -> int:
    """Say what is left to do, and with which code that ends."""
    fine = {"measured", "left out"}
    if place.chosen.why_not_run is not None:
        fine.add("built, not run")
    states = ["not reached" if part is None else part.state for *_, part in rows]
    wrong = [state for state in states if state not in fine]
    missing = sum(state == "not reached" for state in states)
    say(f"{len(rows) - len(wrong)} of {len(rows)} rows are as they should be: {out / 'table.md'}")
    if missing or interrupted:
        say(f"{missing} rows were not reached: the same command goes on with them")
    return 130 if interrupted else int(bool(wrong))


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    names = [net.name for net in NETS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=Path("out/trt-device"), help="folder")
    parser.add_argument("--install", action="store_true", help="let pip install tensorrt if needed")
    parser.add_argument("--build-only", action="store_true", help="no GPU: build, do not run")
    parser.add_argument("--lock-clocks", action="store_true", help="lock the GPU's clocks")
    parser.add_argument("--seconds", type=float, default=480, help="of all; 480")
    parser.add_argument("--graph-seconds", type=float, default=240, help="of a net's graphs; 240")
    parser.add_argument("--row-seconds", type=float, default=90, help="of a row; 90")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.networks) - set(names)):
        parser.error(f"unknown: {', '.join(unknown)}; choose of: {', '.join(names)}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
