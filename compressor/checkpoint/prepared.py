"""A captured graph with data bound to its inputs, and what it is fed when it is timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.capture.inputs import Inputs, named, sized
from compressor.capture.source import ModelSource
from compressor.checkpoint.phases import Phases
from compressor.errors import DataError
from compressor.evaluation.yardstick import Yardstick
from compressor.graph.batch import fixed_batch
from compressor.graph.lifting import DrawnInput, put_back
from compressor.graph.shapes import input_specs
from compressor.graph.sizes import solve
from compressor.graph.tensors import Array, Arrays
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyConfig, Phase, Timing
from compressor.results.records import Parity, StageRecord
from compressor.system.processors import available_processors
from exporters.base import CallShapes


@dataclass(frozen=True)
class Prepared:
    """A captured graph and its data.

    Attributes:
        name: What the source is called in messages and in the report.
        path: The checkpoint's path; None for a live module.
        model: The captured graph, unfolded.
        is_onnx: Whether it came as ONNX, so that it is a user's own graph and not an exporter's.
        parity: The graph's agreement with the source.
        records: The stages so far.
        calibration: Calibration data, bound to the graph's inputs; None without.
        evaluation: Evaluation data, bound to the graph's inputs; None without.
        source: The torch module where gradients of it are asked for; otherwise it may go.
        yardstick: What quality is measured in; None before that is known, or without data.
        captured_at: What the graph's inputs look like, and sizes that it runs at.
        phases: What is timed of a decoder.
        calls: Shapes of the inputs of a call → how many calls of a loop had them; empty where there
            is no loop.
        noises: Inputs of the graph that stand for what the source draws. The artifact draws it.
        source_latency: What the source itself takes where speed decides, if it was timed.
    """

    name: str
    path: Path | None
    model: ir.Model
    is_onnx: bool
    parity: tuple[Parity, ...]
    records: tuple[StageRecord, ...]
    calibration: CalibrationSet | None
    evaluation: CalibrationSet | None
    source: ModelSource | None = None
    yardstick: Yardstick | None = None
    captured_at: Inputs | None = None
    phases: Phases = field(default_factory=Phases)
    calls: Mapping[CallShapes, int] = field(default_factory=dict)
    noises: tuple[DrawnInput, ...] = ()
    source_latency: Timing | None = None

    def as_shipped(self, model: ir.Model) -> ir.Model:
        """A graph of these inputs as it is written and timed: it draws its own noise."""
        return put_back(model, self.noises)

    @property
    def sizes(self) -> Inputs:
        """The inputs at sizes that the graph runs at."""
        return self.captured_at or sized(tuple(map(named, input_specs(self.model))), {})

    def feeds(self, batch: int, seed: int) -> dict[str, Array]:
        """Inputs for one inference of `batch` samples: real ones where there are any.

        Timing does not need meaning, so without data seeded numbers serve, of the sizes that the
        model was captured at; `feeds_are_real` tells which.
        """
        data = self.evaluation if self.calibration is None else self.calibration
        if data is None:
            return self.sizes.of(batch).shifted(seed).arrays()
        return data.sample(batch).filled(batch)

    def timed(self, config: LatencyConfig, seed: int) -> dict[str, Array]:
        """Inputs for one inference of a configuration: of its phase, where it has one."""
        feeds = self.feeds(config.batch, seed)
        if config.phase is None:
            return feeds
        samples = feeds if self.feeds_are_real else {}
        at = replace(self.sizes, samples=samples).of(config.batch).shifted(0 if samples else seed)
        return self.phases.calls[config.phase].arrays(at)

    def deciding(self, recipe: Recipe) -> LatencyConfig:
        """Where speed decides. 0 threads are counted out: those of the processors there are."""
        cores, phase = available_processors(), self.phases.names[0]
        return LatencyConfig(
            batch=self.fixed_batch or recipe.measure.batch,
            threads=min(recipe.measure.threads or cores, cores),
            phase=phase,
            sizes=self.timed_sizes[phase],
        )

    @cached_property
    def timed_sizes(self) -> dict[Phase | None, str]:
        """Open sizes but for the batch, as each phase is timed at: `sequence 64, past 0`."""
        batch = self.fixed_batch or 1
        configs = [LatencyConfig(batch=batch, threads=1, phase=p) for p in self.phases.names]
        return {one.phase: size_names(self.sizes, self.timed(one, 0)) for one in configs}

    @property
    def feeds_are_real(self) -> bool:
        """Whether `feeds` come from data."""
        return self.calibration is not None or self.evaluation is not None

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that is baked into the graph, if one is."""
        return fixed_batch(self.sizes.specs)


def size_names(inputs: Inputs, feeds: Arrays) -> str:
    """Open sizes but for the batch as they are in some feeds: `sequence 64, past 0`."""
    sizes = open_sizes(inputs, feeds)
    return ", ".join(f"{name} {sizes[name]}" for name in inputs.others if name in sizes)


def open_sizes(inputs: Inputs, feeds: Arrays) -> dict[str, int]:
    """Name of an open size → what it is in some feeds; nothing where they contradict each other."""
    try:
        return solve(inputs.specs, feeds, "what is timed")
    except DataError:  # a scalar that is one for all calls, where the relation says the batch
        return {}
