"""Ways to make a graph of a torch source: which exporter, with which sizes open."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import onnx_ir as ir

from compressor.capture.exporting import INPUT, export_module, export_program, export_torchscript
from compressor.capture.finishing import finish, rename_dimensions
from compressor.capture.inputs import Inputs
from compressor.capture.opening import Axis
from compressor.capture.reference import FlatModule, coarsest_float
from compressor.capture.source import ModelSource
from compressor.capture.verify import Expected
from compressor.graph.shapes import shape_of
from compressor.graph.tensors import Array, TensorSpec
from compressor.system.third_party_output import relayed_output

logger = logging.getLogger("compressor.capture")

TRANSLATION = "translation of the exported program"

TORCH_EXPORT = "torch.export-based exporter"

TORCHSCRIPT = "TorchScript-based exporter"

_EXPORTERS = {
    "module": (TORCH_EXPORT, TORCHSCRIPT),
    "torchscript": (TORCHSCRIPT,),
    "exported program": (TORCH_EXPORT, TORCHSCRIPT),
}


@dataclass(frozen=True)
class Subject:
    """The source as a flat module, and inputs bound to it.

    Attributes:
        source: What it was made from.
        flat: The source, ready to run.
        inputs: The inputs with dynamic sizes, and arrays of them.
        symbols: An exported program's own names of dynamic sizes → ours.
        fixed: Axes whose sizes the user gave; None where the source has sizes of its own.
        varied: Inputs that the data has in several sizes.
        draws: Whether two runs on the same inputs differ: what it draws is given to it then.
    """

    source: ModelSource
    flat: FlatModule
    inputs: Inputs
    symbols: Mapping[str, str] = field(default_factory=dict)
    fixed: frozenset[Axis] | None = None
    varied: frozenset[str] = frozenset()
    draws: bool = False

    @property
    def computed_in(self) -> str:
        """The coarsest floating-point type of the weights."""
        return coarsest_float(list(chain(self.flat.parameters(), self.flat.buffers())))


@dataclass(frozen=True)
class CaptureAttempt:
    """A way to capture: an exporter, and inputs of which some sizes may be dynamic."""

    exporter: str
    inputs: Inputs

    @property
    def name(self) -> str:
        """The exporter in the record: `TorchScript-based exporter, every size baked in`."""
        if self.exporter == TRANSLATION:
            return self.exporter
        sizes = "dynamic" if self.inputs.symbols else "every size baked in"
        axes = f" {', '.join(self.inputs.symbols)}" if self.inputs.symbols else ""
        return f"{self.exporter}, {sizes}{axes}"


def attempts(inputs: Inputs, asked: Sequence[str], kind: str) -> Iterator[CaptureAttempt]:
    """Every size open, then those that were asked for, then none: each with every exporter."""
    if kind == "exported program":
        yield CaptureAttempt(TRANSLATION, inputs)
    found = [symbol for symbol in inputs.symbols if symbol not in asked]
    ways = [inputs, inputs.baked(found), inputs.baked(inputs.others), inputs.fixed()]
    for way in dict.fromkeys(tuple(map(str, way.specs)) for way in ways):
        for exporter in _EXPORTERS[kind]:
            yield CaptureAttempt(exporter, next(w for w in ways if tuple(map(str, w.specs)) == way))


def takes(inputs: Inputs, expected: Expected) -> bool:
    """Whether a graph with these open sizes takes the arrays of an expectation."""
    baked = set(expected.inputs.symbols) - set(inputs.symbols)
    return all(expected.inputs.sizes[s] == inputs.sizes[s] for s in baked)


def exported(
    subject: Subject, attempt: CaptureAttempt, outputs: Mapping[str, Array], opset: int
) -> ir.Model:
    """The graph that an exporter makes, with our names, types and open sizes.

    Raises:
        Exception: Whatever the exporter raises.
    """
    order, inputs, flat = subject.flat.order, attempt.inputs, subject.flat
    found: list[ir.Value | None]
    if attempt.exporter == TRANSLATION:
        model = export_program(subject.source.program, opset)
        rename_dimensions(model, subject.symbols)
        found = list(model.graph.inputs)
    elif attempt.exporter == TORCH_EXPORT:
        model = export_module(flat, order, inputs, len(outputs), opset)
        found = list(model.graph.inputs)
        rename_dimensions(model, _exporters_names(model, [_spec(inputs, name) for name in order]))
    else:
        # A failure prints the whole graph, whatever is asked for (torch 2.13).
        with relayed_output(logger):
            model = export_torchscript(flat, order, inputs, len(outputs), opset)
        by_name = {value.name: value for value in model.graph.inputs}
        found = [by_name.get(INPUT.format(i)) for i in range(len(order))]
    specs = {spec.name: spec for spec in inputs.specs}
    return finish(
        model,
        inputs=[specs[name] for name in order],
        found_inputs=found,
        outputs=outputs,
        batch=None if inputs.batch_symbol is None else (inputs.batch_symbol, inputs.batch),
        opset=opset,
        prefix="" if attempt.exporter == TRANSLATION else "source.",
    )


def _spec(inputs: Inputs, name: str) -> TensorSpec:
    return next(spec for spec in inputs.specs if spec.name == name)


def _exporters_names(model: ir.Model, specs: Sequence[TensorSpec]) -> dict[str, str]:
    """The exporter's names of open sizes → ours."""
    names = dict[str, str]()
    for value, spec in zip(model.graph.inputs, specs, strict=True):
        for theirs, ours in zip(shape_of(value) or (), spec.shape, strict=False):
            if isinstance(theirs, str) and isinstance(ours, str) and ours.isidentifier():
                names.setdefault(theirs, ours)
    return {theirs: ours for theirs, ours in names.items() if theirs.isidentifier()}
