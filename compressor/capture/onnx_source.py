"""ONNX models as a source: brought to an opset that can be quantized, and run.

There is nothing to compare with, as the model is its own source; unless its opset was raised or it
computed in half: then it is compared with the model as it was.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from compressor.capture.captured import Captured, Log
from compressor.capture.defaults import take_weights_in
from compressor.capture.finishing import raise_opset
from compressor.capture.inputs import Inputs
from compressor.capture.noise_inputs import (
    NOTHING_TAKEN,
    noise_lifted,
    noise_notices,
    runtime_inverts,
    with_noise,
)
from compressor.capture.onnx_inputs import inputs_of, related_specs
from compressor.capture.onnx_running import evaluator, of_one_shape, settled_model
from compressor.capture.parity import compare_outputs, run
from compressor.capture.source import ModelSource
from compressor.capture.verify import Expected, verify
from compressor.capture.widening import widen
from compressor.errors import CaptureError, CompressorError, GraphError
from compressor.graph.files import initializer_bytes
from compressor.graph.hints import fit_outputs, settle_hints
from compressor.graph.invariants import check, import_domains
from compressor.graph.lifting import DrawnInput, drawing, flat
from compressor.graph.names import make_unique
from compressor.graph.noise import drawing_nodes
from compressor.graph.session import LARGE, open_session, words
from compressor.graph.shapes import with_input_shapes
from compressor.graph.tensors import Array, TensorSpec
from compressor.results.records import Decision, Parity
from compressor.system.asked_first import why_not_survived
from compressor.system.third_party_output import relayed
from exporters.base.execution import NOTE

logger = logging.getLogger("compressor.capture")

_ENDLESS = 60
"""Seconds of the processor after which a loop in a small graph counts as one without an end."""


def capture_onnx(
    source: ModelSource,
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
    opset: int,
    least_opset: int,
) -> Captured:
    """Take an ONNX model as it is, but for float16; see `compressor.capture.capture`.

    Checker, converter and runtime are native code, which a hostile graph may bring down: what is
    small is captured in a process of its own first, so that this one is not the first to find out.
    """
    assert source.model is not None
    what = source.description

    def captured() -> Captured:
        return _capture(source, declared, examples, opset, least_opset)

    if initializer_bytes(source.model) < LARGE:
        reason = why_not_survived(captured, _ENDLESS if _loops(source.model) else None)
        if reason is not None:
            raise CaptureError(
                f"{what}: ONNX or ONNX Runtime {reason} on this graph, in a process of its own",
                hint="Export the model again; a graph that does this is broken, or made to do it.",
            )
    try:
        return captured()
    except GraphError as error:  # what is true of the user's own graph is no defect of ours
        raise CaptureError(f"{what}: {error.message}", hint=error.hint) from error
    except CompressorError:
        raise
    except (MemoryError, RecursionError) as error:
        raise CaptureError(
            f"{what}: its graph takes more memory than there is, or is nested too deep to be read",
            hint="A shape or a constant in it may be far larger than it should be.",
        ) from error
    except Exception as error:  # every part that reads a graph has its own ways to fail in one
        told = f"{type(error).__name__}: {words(error)}"
        raise CaptureError(
            f"{what}: its graph is none that can be read and run: {told}",
            hint="Export the model again. `-v` shows which part of it could not be read.",
        ) from error


def _loops(model: ir.Model) -> bool:
    bodies = [model.graph, *(function.graph for function in model.functions.values())]
    return any(node.op_type == "Loop" for body in bodies for node in body.all_nodes())


def _capture(
    source: ModelSource,
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
    opset: int,
    least_opset: int,
) -> Captured:
    assert source.model is not None
    log = Log(source)
    with relayed(logger):
        model = source.model.clone()
        model.metadata_props.pop(NOTE, None)  # how an artifact of ours is executed, not a source
        make_unique(model)
        import_domains(model)
        _check(model, source.description)
        given = {*(examples or {}), *(spec.name for spec in declared)}
        log.notices += take_weights_in(model, given)
        log.notices += settle_hints(model)
        _require_tensors(model, source.description)
        inputs = inputs_of(model, declared, examples, source.description)
        model, inputs, expected = settled_model(model, inputs, log)
        _require_as_written(source, expected[0])
        log.decisions.append(
            Decision(
                subject="ONNX Runtime",
                verdict="ok",
                reason=f"loads the model and runs it on {inputs.described()}; it is its own "
                "source, so there is nothing to compare it with",
            )
        )
        for at in expected:
            log.notices += fit_outputs(model, [array.shape for array in at.outputs.values()])
        if inputs.batch_symbol is not None and len({e.inputs.batch for e in expected}) == 1:
            log.notices.append(
                f"the model declares a dynamic batch, and runs only at {inputs.batch}"
                + of_one_shape(model, inputs.batch)
            )
            inputs = inputs.baked([inputs.batch_symbol])
            model = with_input_shapes(model, inputs.specs)
        elif (related := related_specs(model, inputs)) is not None:
            log.notices.append(
                f"open sizes: {', '.join(map(str, inputs.specs))}, as its names and runs say"
            )
            model = with_input_shapes(model, related)
        log.notices += _notices(model, inputs)
        model, inputs, expected, noises = _lifted(model, inputs, expected, log)
        parity: tuple[Parity, ...] = ()
        if model.opset_imports.get("", 0) < least_opset:
            model, parity = _raised(model, expected, opset, least_opset, log)
        model, parity = _widened(model, expected, log) or (model, parity)
    return log.captured(model, inputs, parity, "none: the model is ONNX", noises)


def _require_as_written(source: ModelSource, at: Expected) -> None:
    """Refuse a file of which the runtime makes something else than of what was read here.

    Protobuf lets a message say two things at once, and leave out what a default then is: readers
    differ in what they make of that. A file that only runs as it was read is no such file.

    Raises:
        CaptureError: Outputs differ at the same inputs.
    """
    assert source.model is not None
    small = initializer_bytes(source.model) < LARGE
    if source.path is None or not small or drawing_nodes(source.model):
        return
    try:
        found = run(open_session(source.path), at.inputs.arrays(), list(at.outputs))
    except Exception:  # the runtime's own classes, and names that it lacks
        return
    same = compare_outputs(at.outputs, found, batch=at.inputs.batch, computed_in="float32")
    if same.failures:
        raise CaptureError(
            f"{source.description}: ONNX Runtime computes something else from the file than from "
            f"the graph that was read of it: {same.failures[0]}",
            hint="The file says something twice, or in a way that readers differ in: export it "
            "again.",
        )


def _lifted(
    model: ir.Model, inputs: Inputs, expected: tuple[Expected, ...], log: Log
) -> tuple[ir.Model, Inputs, tuple[Expected, ...], tuple[DrawnInput, ...]]:
    """The model with its noise as inputs, and what it computes of those."""
    if not drawing_nodes(model):
        return model, inputs, expected, ()
    inverted = any(node.op_type == "Bernoulli" for node, _ in drawing(flat(model)))
    inverted = inverted and runtime_inverts()
    lifted = noise_lifted(model, inputs, [e.inputs for e in expected], inverted=inverted)
    log.notices += noise_notices(lifted)
    if inverted:
        log.notices.append(
            "ONNX Runtime draws Bernoulli with the probability 1 - p, and so does the artifact"
        )
    if not lifted.noises:
        return model, inputs, expected, ()
    evaluate = evaluator(lifted.model, log.source.description)
    drawn = [with_noise(e.inputs, lifted.noises) for e in expected]
    again = tuple(Expected(at, evaluate(at)) for at in drawn)
    return lifted.model, with_noise(inputs, lifted.noises), again, lifted.noises


def _notices(model: ir.Model, inputs: Inputs) -> Iterator[str]:
    if not inputs.specs:
        yield NOTHING_TAKEN
        return
    if inputs.batch_symbol is None:
        yield (
            f"the batch is baked in at {inputs.batch} (the model was exported so): the artifact "
            "takes exactly so many samples at a time"
        )
    weights = model.graph.initializers.values()
    overridable = sum(value.is_graph_input() for value in weights)
    if overridable:
        yield (
            f"{overridable} of {len(weights)} constants are inputs with a default: callers may "
            "override them, so that nothing is folded, pruned or quantized with them"
        )
    if not inputs.real:
        yield "no calibration data: the model was run on seeded random inputs"


def _check(model: ir.Model, what: str) -> None:
    """What is broken in a file is bad input; in later stages it would be a defect of ours."""
    try:
        check(model, "loading")
    except GraphError as error:
        line = error.message.splitlines()[0].removeprefix("after loading: ")
        raise CaptureError(
            f"{what}: {line}", hint="Export the model again; ONNX's own checker refuses it too."
        ) from error


def _require_tensors(model: ir.Model, what: str) -> None:
    """Refuse outputs that are sequences or maps before any work: nothing here compares such."""
    for value in model.graph.outputs:
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            raise CaptureError(
                f"{what}: its output {value.name!r} is no tensor but {value.type}",
                hint="Export it with tensors as outputs: join a sequence (torch.cat, "
                "ConcatFromSequence), and give skl2onnx options={'zipmap': False}.",
            )


def _raised(
    model: ir.Model, expected: Sequence[Expected], opset: int, least: int, log: Log
) -> tuple[ir.Model, tuple[Parity, ...]]:
    before = model.opset_imports.get("", 0)
    model = raise_opset(model, opset)
    after = model.opset_imports.get("", 0)
    make_unique(model)
    check(model, "raising the opset")
    comparison = verify(model, expected, "float32")
    if comparison.failures and not drawing_nodes(model):
        raise CaptureError(
            f"{log.source.description}: raising the opset from {before} to {after} changed what "
            f"the model computes: {'; '.join(comparison.failures[:3])}",
            hint=f"Export the model with opset {opset}.",
        )
    if after > before:
        log.notices.append(
            f"opset raised from {before} to {after}: what is asked for needs {least} or later"
        )
    return model, comparison.parity


def _widened(
    model: ir.Model, expected: Sequence[Expected], log: Log
) -> tuple[ir.Model, tuple[Parity, ...]] | None:
    """The model in float32; None where it is already, or is something else then."""
    wide = model.clone()
    told = widen(wide)
    if told is None:
        return None
    comparison = verify(wide, expected, "float16")
    failures = "" if drawing_nodes(wide) else "; ".join(comparison.failures[:3])
    log.tried("float16 as float32", failures or None)
    if failures:
        return None
    log.notices.append(told)
    return wide, comparison.parity
