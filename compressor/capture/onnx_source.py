"""ONNX models as a source: brought to an opset that can be quantized, and run.

There is nothing to compare with, as the model is its own source; unless its opset was raised or it
computed in half: then it is compared with the model as it was.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from compressor.capture.captured import Captured, Log
from compressor.capture.choice import asked, bind_samples, check_declared, declared_relations
from compressor.capture.defaults import take_weights_in
from compressor.capture.finishing import raise_opset
from compressor.capture.inputs import TRACED_BATCH, Inputs, named, sized
from compressor.capture.noise_inputs import (
    NOTHING_TAKEN,
    listed,
    noise_lifted,
    noise_notices,
    runtime_inverts,
    with_noise,
)
from compressor.capture.parity import compare_outputs, run
from compressor.capture.relations import Evaluate, runs
from compressor.capture.runtime_dropout import without_dropout
from compressor.capture.source import ModelSource
from compressor.capture.verify import Expected, expectations, settle, verify
from compressor.capture.widening import widen
from compressor.errors import CaptureError, CompressorError, GraphError
from compressor.graph.files import initializer_bytes
from compressor.graph.hints import fit_outputs, settle_hints
from compressor.graph.invariants import check, import_domains
from compressor.graph.lifting import DrawnInput, drawing, flat
from compressor.graph.names import make_unique
from compressor.graph.noise import drawing_nodes, draws
from compressor.graph.session import LARGE, open_session, words
from compressor.graph.shapes import input_specs, with_input_shapes
from compressor.graph.sizes import names_in, parse_size
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
        inputs = _inputs(model, declared, examples, source.description)
        model, inputs, expected = _settled(model, inputs, log)
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
                + _of_one_shape(model, inputs.batch)
            )
            inputs = inputs.baked([inputs.batch_symbol])
            model = with_input_shapes(model, inputs.specs)
        elif (related := _related(model, inputs)) is not None:
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


def _settled(
    model: ir.Model, inputs: Inputs, log: Log
) -> tuple[ir.Model, Inputs, tuple[Expected, ...]]:
    """The model's outputs at sizes that it runs at; without a Dropout that does not run."""
    what = log.source.description
    noisy = bool(drawing_nodes(model))
    evaluate = _evaluator(model, what)
    inputs, expected = _run(evaluate, inputs, _leading(model) if noisy else (), noisy=noisy)
    if not noisy:
        return model, inputs, expected
    plain, dropouts = without_dropout(flat(model))
    if dropouts and not drawing_nodes(plain):  # else the rule is all there is
        found = _evaluator(plain, what)(expected[0].inputs)
        same = compare_outputs(
            expected[0].outputs, found, batch=inputs.batch, computed_in="float32"
        )
        dropouts = () if same.failures else dropouts
    if not dropouts:
        return model, inputs, expected
    log.notices.append(
        f"in training mode, and left out all the same, as ONNX Runtime does: {listed(dropouts)}; "
        "give the torch model to keep what it drops"
    )
    return plain, inputs, expected


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
    evaluate = _evaluator(lifted.model, log.source.description)
    drawn = [with_noise(e.inputs, lifted.noises) for e in expected]
    again = tuple(Expected(at, evaluate(at)) for at in drawn)
    return lifted.model, with_noise(inputs, lifted.noises), again, lifted.noises


def _of_one_shape(model: ir.Model, batch: int) -> str:
    """Which node draws exactly so many samples."""
    for node in model.graph.all_nodes():
        shape = list(node.attributes.get_ints("shape", ())) if draws(node) else []
        if batch > 1 and shape[:1] == [batch]:
            return f": {node.op_type} {node.name!r} draws the fixed shape {shape}"
    return ""


def _leading(model: ir.Model) -> tuple[int, ...]:
    """The leading sizes of what is drawn in a fixed shape: numbers of samples that may run."""
    shapes = [node.attributes.get_ints("shape", ()) for node in model.graph.all_nodes()
              if draws(node)]  # fmt: skip
    sizes = [shape[0] for shape in shapes if len(shape) > 1 and shape[0] > 1]
    return tuple(dict.fromkeys(sizes))


def _related(model: ir.Model, inputs: Inputs) -> list[TensorSpec] | None:
    """The inputs with sums, and multiples of the batch, for names that say nothing; else None."""
    before = {spec.name: spec for spec in input_specs(model)}
    if (told_unnamed := _several_of_unnamed(before, inputs)) is not None:
        return told_unnamed
    batch = inputs.batch_symbol if inputs.batch_symbol in names_in(before.values()) else None
    told = {
        ours: theirs
        for spec in inputs.specs
        for ours, theirs in zip(before[spec.name].shape, spec.shape, strict=True)
        if isinstance(ours, str) and isinstance(theirs, str) and ours != theirs
        if "+" in theirs or _is_multiple(theirs, batch)
    }
    if not told:
        return None
    return [
        replace(spec, shape=tuple(told.get(d, d) if isinstance(d, str) else d for d in spec.shape))
        for spec in before.values()
    ]


def _several_of_unnamed(
    before: Mapping[str, TensorSpec], inputs: Inputs
) -> list[TensorSpec] | None:
    """The inputs as they are known, where sizes without names are multiples of the batch."""
    batch = inputs.batch_symbol
    pairs = [
        (ours, theirs)
        for spec in inputs.specs
        for ours, theirs in zip(before[spec.name].shape, spec.shape, strict=True)
    ]
    unnamed = [theirs for ours, theirs in pairs if ours is None and isinstance(theirs, str)]
    if batch is None or not any(_is_multiple(size, batch) for size in unnamed):
        return None
    return [
        replace(
            spec,
            shape=tuple(
                theirs if ours is None else ours
                for ours, theirs in zip(before[spec.name].shape, spec.shape, strict=True)
            ),
        )
        for spec in inputs.specs
    ]


def _is_multiple(size: str, batch: str | None) -> bool:
    return size != batch and [names for names, _ in parse_size(size).terms] == [(batch,)]


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


def _inputs(
    model: ir.Model,
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
    what: str,
) -> Inputs:
    """The model's own inputs with samples bound to them, else with sizes that are declared."""
    try:
        specs = tuple(named(spec) for spec in input_specs(model))
    except GraphError as error:
        raise CaptureError(f"{what}: {error.message}") from error
    if not specs and not drawing_nodes(model):
        raise CaptureError(f"{what} has no inputs, and draws nothing: it is a constant")
    if any(spec.dtype.kind == "O" for spec in specs):
        raise CaptureError(f"{what} takes text: {', '.join(map(str, specs))}")
    declared = check_declared(specs, declared, what)
    specs = tuple(declared_relations(specs, declared))
    if examples:
        return sized(specs, bind_samples(specs, examples, what))
    return asked(sized(specs, {}), declared)


def _evaluator(model: ir.Model, what: str) -> Evaluate:
    """Runs the model as it was given."""
    try:
        session = open_session(model)
    except GraphError as error:
        raise CaptureError(f"{what}: {error.message}") from error
    outputs = [value.name or "" for value in model.graph.outputs]

    def evaluate(at: Inputs) -> Mapping[str, Array]:
        try:
            return run(session, at.arrays(), outputs)
        except Exception as error:  # the runtime raises its own, unrelated classes
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CaptureError(
                f"{what} fails in ONNX Runtime on the inputs {at.described()}: {line}",
                hint=at.advice()
                if at.real
                else "Give calibration data, or name sizes that the model takes with --input "
                "'name:float32[1,3,224,224]'.",
            ) from error

    return evaluate


def _run(
    evaluate: Evaluate, inputs: Inputs, batches: Sequence[int], *, noisy: bool
) -> tuple[Inputs, tuple[Expected, ...]]:
    """The model's outputs at sizes that it runs at; a dynamic batch may turn out to be fixed.

    Args:
        evaluate: Runs the model.
        inputs: The inputs at the sizes that are tried first.
        batches: What a batch may be fixed at, before 1, at which much runs by broadcasting.
        noisy: Whether the model draws.
    """
    symbol = inputs.batch_symbol
    if symbol is not None and batches and not runs(evaluate, inputs):
        for size in batches:
            found = inputs.resized({symbol: size})
            if runs(evaluate, found):
                return found, (Expected(found, evaluate(found)),)
    try:
        settled = settle(evaluate, inputs)
        return settled, expectations(evaluate, settled, "float32", noisy=noisy)
    except CaptureError:
        if inputs.batch_symbol is None or inputs.batch != TRACED_BATCH:
            raise
        try:
            settled = settle(evaluate, inputs.resized({inputs.batch_symbol: 1}))
            return settled, (Expected(settled, evaluate(settled)),)
        except CaptureError:
            pass
        raise


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
