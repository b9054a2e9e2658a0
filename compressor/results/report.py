"""The versioned schema of `report.json`, documented for its readers in `docs/report.md`.

Version 1 grows by optional fields, and by null with a reason where a figure cannot be told: what a
reader of version 1 finds keeps its meaning. A change that would break a reader gets the next
version.
"""

from importlib import import_module
from typing import Any, Final, Literal

from pydantic import Field

from compressor.results.deployment import Deployment
from compressor.results.graph_report import GraphReport
from compressor.results.measured import Measured
from compressor.results.pipeline import PipelineResult
from compressor.results.records import Record, StageRecord

SCHEMA_VERSION: Final = 1


class Environment(Record):
    """Where the figures were measured."""

    platform: str
    processor: str
    cpu_flags: tuple[str, ...]
    """Those that decide which kernels run (`avx2`, `avx512_vnni`, …), not all there are."""
    cores: int
    memory_bytes: int | None = None
    """Installed memory; None where the platform does not tell."""
    python: str
    packages: dict[str, str]


class DataUse(Record):
    """Data that took part in the run, so that it can be told whether two runs saw the same."""

    role: Literal["calibration", "training", "evaluation"]
    description: str
    samples: int
    fingerprint: str | None = None
    """SHA-256 of the preprocessed content."""
    purpose: Literal["search", "confirm"] | None = None
    """With a budget: whether candidates were compared on it, or the chosen one confirmed."""


class Report(Record):
    """The measured account of one run.

    Attributes:
        source: The checkpoint, or what else the model came from.
        created: When the run ended, ISO 8601 with its offset.
        seconds: Wall time of the whole run.
        command: The command line that repeats the run; None when called from Python.
        artifact: The output folder; None when nothing was written.
        files: Role ("model", "report", "report.md", "report.json", "plan", "manifest",
            "usage", "reference", with repaired or rounded weights "plan.safetensors"; "weights"
            where they lie beside the model, "onnx" where it is not portable itself; for TensorRT
            "build_engine.py", "engine" and "timing.cache") → path, the folder included.
        graphs: Keyed by graph; a single model is "model".
        pipeline: What the user's loop makes of them together; None where there is none.
        stages: The stages in the order they ran.
        reused: What was taken from the cache and not done anew, each kind with its count.
        deployment: Which target to deploy, where the command made several; else None.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    source: str
    target: str
    created: str
    seconds: float
    command: str | None = None
    artifact: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    data: tuple[DataUse, ...] = ()
    graphs: dict[str, GraphReport]
    pipeline: PipelineResult | None = None
    stages: tuple[StageRecord, ...] = ()
    notices: tuple[str, ...] = ()
    environment: Environment
    reused: tuple[str, ...] = ()
    deployment: Deployment | None = None

    def summary(self, width: int = 100) -> str:
        """The terminal's summary as text, in lines of so many characters."""
        return str(_shown().as_text(self, width))

    def to_records(self) -> list[dict[str, Any]]:
        """One dict a figure: graph, kind, figure, before, after, change, low, high."""
        return list(_shown().as_records(self))

    def to_pandas(self) -> Any:
        """`to_records` as a DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        return _shown().as_frame(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        shipped = ", ".join(f"{name}: {graph.shipped}" for name, graph in self.graphs.items())
        return f"<Report of {self.source} for {self.target}: {shipped}>"

    def _repr_html_(self) -> str:
        return str(_shown().as_html(self))


def _shown() -> Any:
    """What renders a report: a floor above, and only asked by people."""
    return import_module("compressor.report.shown")


class Comparison(Measured):
    """Any two models side by side, as `compress compare A B` measures them."""

    schema_version: Literal[1] = SCHEMA_VERSION
    baseline: str
    result: str
    notices: tuple[str, ...] = ()
    environment: Environment | None = None
