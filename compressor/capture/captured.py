"""What a capture returns, and the record of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from compressor.capture.inputs import Inputs
from compressor.capture.peculiar import peculiarities
from compressor.capture.source import ModelSource
from compressor.graph.lifting import DrawnInput
from compressor.graph.shapes import input_specs, output_specs
from compressor.graph.tensors import TensorSpec
from compressor.results.effects import effects
from compressor.results.records import Decision, Parity, StageRecord
from compressor.system.stopwatch import Stopwatch


@dataclass(frozen=True)
class Captured:
    """A source as a graph.

    Attributes:
        model: The graph, unfolded, with unique names.
        parity: The agreement with the source, an entry for each output and batch size.
        record: What was tried, and notices.
        inputs: What the inputs look like, and sizes that work.
        noises: Inputs of the graph that stand for what the source draws.
    """

    model: ir.Model
    parity: tuple[Parity, ...]
    record: StageRecord
    inputs: Inputs
    noises: tuple[DrawnInput, ...] = ()


@dataclass
class Log:
    """Collects what happens during one capture."""

    source: ModelSource
    watch: Stopwatch = field(default_factory=Stopwatch)
    decisions: list[Decision] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    also_runs_at: TensorSpec | None = None

    def tried(self, subject: str, failure: str | None) -> None:
        """Note one attempt, failed for a reason or not."""
        verdict = "ok" if failure is None else "failed"
        reason = "the graph agrees with the source" if failure is None else failure
        self.decisions.append(Decision(subject=subject, verdict=verdict, reason=reason))

    def captured(
        self,
        model: ir.Model,
        inputs: Inputs,
        parity: Sequence[Parity],
        exporter: str,
        noises: tuple[DrawnInput, ...] = (),
    ) -> Captured:
        """Close the log."""
        specs = input_specs(model)[: len(input_specs(model)) - len(noises)]
        baked = None if inputs.batch_symbol is not None else inputs.batch
        record = StageRecord(
            name="capture",
            seconds=self.watch.seconds,
            parameters={
                "source": self.source.kind,
                "exporter": exporter,
                "opset": model.opset_imports.get("", 0),
                "batch": "dynamic" if baked is None else baked,
                "inputs": [str(spec) for spec in specs],
                "outputs": [str(spec) for spec in output_specs(model)],
                "samples": "real" if inputs.real else "seeded random numbers",
                **({} if self.also_runs_at is None else {"other sizes": str(self.also_runs_at)}),
            },
            decisions=tuple(self.decisions),
            notices=tuple(
                dict.fromkeys((*self.source.notices, *self.notices, *peculiarities(model)))
            ),
            effects=effects(None, model),
        )
        return Captured(model, tuple(parity), record, inputs, noises)
