"""What every stage makes of one network of the zoo, through the front door; a dict for JSON.

The graph is captured and folded once and held against the module. What runs of
`compressor.compress` make of it, of 16 calibration samples, ships whether it is faster or not: what
is asked here is whether it is right. Artifacts are loaded again and held against the module itself,
at two batch sizes, on samples that no run has seen.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from networks import Network
from networks.share import share

import compressor
from compressor.capture import Captured
from compressor.errors import CompressorError
from compressor.folding import fold
from compressor.graph.session import open_session
from compressor.graph.tensors import Array, Arrays
from compressor.pruning import check, find_groups
from compressor.results.graph_report import GraphReport
from compressor.results.report import Report

SAMPLES = 16
BATCHES = (1, 3)
QUICK: dict[str, Any] = {
    "keep_slower": True,
    "measure_seconds": 0.05,
    "measure_memory": False,
    "reuse": False,
    "progress": False,
}
"""Options of every run: nothing here is about speed."""

Entry = dict[str, Any]


@dataclass
class Subject:
    """A network, and what its parts share.

    Attributes:
        network: The network.
        folder: Scratch.
    """

    network: Network
    folder: Path

    @cached_property
    def captured(self) -> Captured:
        """The graph as a run captures it."""
        found: Captured = self.network.captured()
        return found

    @cached_property
    def folded(self) -> ir.Model:
        """The graph as pruning gets it."""
        return fold(self.captured.model, self.network.feeds(2))[0]

    @cached_property
    def file(self) -> Path:
        """The same as a file, which the runs are given."""
        path = self.folder / f"{self.network.name}.onnx"
        ir.save(self.folded, path)
        return path

    @cached_property
    def answers(self) -> list[tuple[Arrays, list[Array]]]:
        """Inputs of each batch size, and what the module answers."""
        module = self.network.module()
        drawn = [self.network.feeds(batch, seed=100 + batch) for batch in BATCHES]
        return [(feeds, self.network.answers(module, feeds)) for feeds in drawn]

    def run(self, name: str, **options: Any) -> Report:
        """One compression."""
        return compressor.compress(
            self.file,
            calibration=self.network.feeds(SAMPLES),
            output=self.folder / name,
            **QUICK,
            **options,
        )

    def cosine(self, name: str) -> float | None:
        """The least cosine of an output of an artifact with the module's, over both batch sizes.

        None where the outputs are decisions that came out in another number, or whole numbers.
        """
        model = compressor.load(self.folder / name, threads=1)
        found = []
        for feeds, wanted in self.answers:
            for ours, theirs in zip(model(**feeds).values(), wanted, strict=True):
                if theirs.dtype.kind == "f":
                    found.append(_cosine(theirs, np.asarray(ours)))
        known = [number for number in found if number is not None]
        return min(known) if known and len(known) == len(found) else None


def measure(network: Network, entry: Entry, keep: Callable[[str], None]) -> None:
    """Everything about one network that is not in its entry yet.

    What a run refuses has the words of its refusal, what breaks in it those of the fault.

    Args:
        network: The network.
        entry: What is known of it; parts are added.
        keep: Called with the name of each part that was added.
    """
    with tempfile.TemporaryDirectory() as scratch:
        subject = Subject(network, Path(scratch))
        for name, part in PARTS.items():
            if name in entry:
                continue
            if name != "parity" and not entry["parity"].keys().isdisjoint(FAILED):
                continue  # nothing without a graph
            try:
                entry[name] = part(subject)
            except CompressorError as error:
                entry[name] = {"refused": str(error)}
            except Exception as error:
                entry[name] = {"fault": f"{type(error).__name__}: {error}"}
            keep(name)


def parity(subject: Subject) -> Entry:
    """The graph as captured, then as folded, against the module."""
    found = subject.captured
    session = open_session(subject.folded)
    errors = [
        _relative(theirs, np.asarray(ours))
        for feeds, wanted in subject.answers
        for ours, theirs in zip(session.run(None, dict(feeds)), wanted, strict=True)
    ]
    return {
        "exporter": found.record.parameters.get("exporter"),
        "batch": found.record.parameters.get("batch"),
        "captured": max((one.max_relative for one in found.parity), default=None),
        "folded": max(errors),
    }


def pruning(subject: Subject) -> Entry:
    """Groups, why the rest stays, and the oracle on a random half of them."""
    feeds = subject.network.feeds(2)
    grouping = find_groups(subject.folded, feeds)
    counted = share(subject.folded, grouping)
    rng = np.random.default_rng(0)
    keep = {group.name: rng.random(group.units) < 0.5 for group in grouping.groups}
    for stays in keep.values():
        stays[-1] |= not stays.any()
    check(subject.folded, grouping, keep, feeds)
    return {
        "parameters": counted.total,
        "share": counted.part,
        "groups": len(grouping.groups),
        "unknown": list(grouping.unknown),
        "held": [
            {"reason": reason, "share": count / counted.total, "first": counted.first[reason]}
            for reason, count in counted.held.items()
        ],
    }


def integer(subject: Subject) -> Entry:
    """INT8 by ranges of calibration, and what the runtime then runs as integer."""
    return _quantized(subject, "int8")


def dynamic(subject: Subject) -> Entry:
    """INT8 with ranges that are found at run time."""
    return _quantized(subject, "int8-dynamic")


def four_bits(subject: Subject) -> Entry:
    """Weights in four bits."""
    graph = subject.run("int4", quantize="int4").graphs["model"]
    sizes = graph.result_size.file_bytes / graph.baseline_size.file_bytes
    return {
        "shipped": graph.shipped,
        "reason": graph.shipped_reason,
        "cosine": subject.cosine("int4"),
        "bytes": sizes,
    }


def tensorrt(subject: Subject) -> Entry:
    """What the linter and TensorRT's own parser say of the graph that is made for it."""
    report = subject.run("trt", target="trt", trt_backend="script")
    found = compressor.lint(Path(report.files["model"]), target="trt")
    graph = report.graphs["model"]
    return {
        "shipped": graph.shipped,
        "reason": graph.shipped_reason,
        "counts": found.counts,
        "errors": [
            f"{one.node}: {one.reason}" for one in found.findings if one.severity == "error"
        ],
        "rules": dict(Counter(one.rule for one in found.findings)),
        "parser": found.parser.accepted,
        "why": found.parser.reason,
        "package": f"{found.parser.package} {found.parser.version}",
    }


FAILED = ("refused", "fault")
"""What a part has instead of figures."""

PARTS: Mapping[str, Callable[[Subject], Entry]] = {
    "parity": parity,
    "int8": integer,
    "dynamic": dynamic,
    "int4": four_bits,
    "prune": pruning,
    "trt": tensorrt,
}


def _quantized(subject: Subject, mode: str) -> Entry:
    graph = subject.run(mode, quantize=mode).graphs["model"]
    return {
        "shipped": graph.shipped,
        "reason": graph.shipped_reason,
        "cosine": subject.cosine(mode),
        "integer": _integer_share(graph),
        "islands": _islands(graph),
    }


def _integer_share(graph: GraphReport) -> float | None:
    """The share of the multiply-accumulates in nodes that do not stay float."""
    if not graph.float_work and graph.shipped == "float":
        return 0.0
    return 1.0 - sum(graph.float_work.values())


def _islands(graph: GraphReport) -> list[Entry]:
    """Reasons why nodes stay float: how many, their share of the work, and the first."""
    found: dict[str, Entry] = {}
    for node, reason in graph.float_reasons.items():
        entry = found.setdefault(_general(reason), {"nodes": 0, "work": 0.0, "first": node})
        entry["nodes"] += 1
        entry["work"] += graph.float_work.get(node, 0.0)
    return [{"reason": reason, **entry} for reason, entry in found.items()]


def _general(reason: str) -> str:
    """A reason without the names and counts of the node at hand."""
    reason = re.sub(r"reads float from \S+:", "reads float:", reason)
    return re.sub(r"\d+(\.\d+)? multiply-accumulates", "few multiply-accumulates", reason)


def _cosine(one: Array, other: Array) -> float | None:
    if one.shape != other.shape:
        return None
    a, b = (array.astype(np.float64).ravel() for array in (one, other))
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))


def _relative(one: Array, other: Array) -> float:
    """The largest difference over the largest magnitude; infinite where shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(np.abs(a - b).max() / max(float(np.abs(a).max()), 1e-30))
