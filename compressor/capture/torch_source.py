"""Capture of torch modules, TorchScript archives and exported programs.

Several ways are tried in turn, and the first whose graph computes what the source computes, at
two batch sizes, is taken:

1. an exported program is translated as it is,
2. the torch.export-based exporter with dynamic sizes,
3. the TorchScript-based exporter with dynamic sizes,
4. either with those sizes dynamic that were asked for, the batch among them,
5. either with every size baked in, where that was asked for.

Neither exporter alone suffices: reshapes with unpacked sizes fail in the first, operators without
a symbolic function in the second. TorchScript archives are for the second only.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from calibration.values import is_float
from compressor.capture.binding import bind, takes_nothing, without_strangers
from compressor.capture.captured import Captured, Log
from compressor.capture.choice import choose_inputs, given_sizes
from compressor.capture.drawing import drawn_by
from compressor.capture.inputs import BFLOAT16, Inputs
from compressor.capture.module_state import borrowed
from compressor.capture.noise_inputs import NOTHING_TAKEN, noise_lifted, noise_notices, with_noise
from compressor.capture.opening import opened, other_pictures, traceable
from compressor.capture.parity import compare_outputs
from compressor.capture.program import flat_program, program_inputs
from compressor.capture.reference import flat_module, to_numpy
from compressor.capture.source import ModelSource
from compressor.capture.torch_attempts import CaptureAttempt, Subject, attempts, exported, takes
from compressor.capture.verify import Expected, expectations, open_outputs, settle, verify
from compressor.capture.widening import widen
from compressor.errors import CaptureError, CompressorError
from compressor.graph.batch import BatchAxis
from compressor.graph.session import LARGE
from compressor.graph.sizes import parse_size
from compressor.graph.tensors import Array, TensorSpec
from compressor.system.asked_first import why_not_survived
from compressor.system.third_party_output import relayed

logger = logging.getLogger("compressor.capture")

_LINE = 240

_RARE = ("float64",)
"""Types that most operators of ONNX Runtime on the CPU do not take."""


def capture_torch(
    source: ModelSource,
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
    axes: Mapping[str, BatchAxis | None] | None,
    varied: frozenset[str],
    opset: int,
) -> Captured:
    """Capture what is not ONNX yet; see `compressor.capture.capture`."""
    log = Log(source)
    with relayed(logger), torch.no_grad():
        if source.kind == "exported program":
            found = program_inputs(source.program, declared, examples)
            flat = flat_program(source.program, [spec.name for spec in found.inputs.specs])
            return _capture(Subject(source, flat, found.inputs, found.symbols), opset, log)
        declared = _declared(source.module, declared)
        inputs = choose_inputs(declared, _examples(source.module, examples, log), axes)
        if inputs is None and takes_nothing(source.module):
            inputs = Inputs(())
        if inputs is None:
            raise CaptureError(
                f"{source.description}: names, types and shapes of the inputs are not known",
                hint="Give calibration data with --calib, or each input as "
                "--input 'name:float32[batch,3,224,224]'.",
            )
        names = [spec.name for spec in inputs.specs]
        binding = bind(source.module, names)
        with borrowed(source.module, names) as module:
            flat, fixed = flat_module(module, binding), given_sizes(declared, inputs)
            subject = Subject(source, flat, inputs, fixed=fixed, varied=varied)
            if source.kind == "torchscript":
                _require_survival(subject, opset)
            return _capture(subject, opset, log)


def _require_survival(subject: Subject, opset: int) -> None:
    """An archive of TorchScript is code of a stranger's, which its interpreter may die of."""

    def captured() -> None:
        torch.set_num_threads(1)  # those of the pool are not there after a fork
        _capture(subject, opset, Log(subject.source))

    weights = (tensor.nbytes for tensor in subject.source.module.state_dict().values())
    reason = why_not_survived(captured) if sum(weights) < LARGE else None
    if reason is not None:
        raise CaptureError(
            f"{subject.source.description}: torch {reason} on this TorchScript, in a process of "
            "its own",
            hint="Save it again; an archive that does this is broken, or made to do it.",
        )


def _declared(module: torch.nn.Module, declared: Sequence[TensorSpec]) -> list[TensorSpec]:
    """What `--input` declares, in bfloat16 where the module is: float32 is what is fed later."""
    is_brain = _sole_float(module) == torch.bfloat16
    return [
        replace(spec, dtype=BFLOAT16) if is_brain and spec.dtype == np.float32 else spec
        for spec in declared
    ]


def _sole_float(module: torch.nn.Module) -> torch.dtype:
    """The floating-point type of all parameters; float32 where they have several, or none."""
    kinds = {p.dtype for p in module.parameters() if p.dtype.is_floating_point}
    return next(iter(kinds)) if len(kinds) == 1 else torch.float32


def _examples(
    module: torch.nn.Module, examples: Mapping[str, Array] | None, log: Log
) -> Mapping[str, Array] | None:
    """What `forward` asks for, in the floating-point type of a module of another precision."""
    if not examples:
        return None
    inputs = tuple(examples)
    asked = without_strangers(module, inputs)
    if len(asked) < len(inputs):
        strangers = [name for name in inputs if name not in asked]
        log.notices.append(f"no input asks for these arrays of the data: {', '.join(strangers)}")
    dtype = to_numpy(torch.empty(0, dtype=_sole_float(module))).dtype
    return {
        name: examples[name].astype(dtype, copy=False)
        if is_float(examples[name].dtype)
        else examples[name]
        for name in asked
    }


def _capture(subject: Subject, opset: int, log: Log) -> Captured:
    def run_source(at: Inputs) -> Mapping[str, Array]:
        with drawn_by(at.offset) if subject.draws else nullcontext():
            outputs, notices = subject.flat.evaluate(
                at.arrays(),
                f"{subject.source.description} on the inputs {at.described()}",
                at.advice(),
            )
        log.notices += notices
        return outputs

    asked = subject.inputs.symbols
    inputs = settle(run_source, subject.inputs)
    if subject.fixed is not None:
        if inputs.real:
            inputs = opened(run_source, inputs, subject.fixed, subject.varied)
            log.also_runs_at = other_pictures(run_source, inputs, subject.fixed)
            log.notices += _picture_notices(inputs, log.also_runs_at)
        inputs = traceable(run_source, inputs)
    computed_in = subject.computed_in
    one, other = run_source(inputs), run_source(inputs)
    if compare_outputs(one, other, batch=inputs.batch, computed_in=computed_in).failures:
        subject = replace(subject, draws=True)
    expected = expectations(run_source, inputs, computed_in)
    if subject.source.kind == "module":
        inputs = _without_batch(subject, inputs, expected)
    for attempt in attempts(inputs, asked, subject.source.kind):
        targets = [e for e in expected if takes(attempt.inputs, e)]
        captured = _try(subject, attempt, targets, computed_in, opset, log)
        if captured is not None:
            lost = [symbol for symbol in inputs.symbols if symbol not in attempt.inputs.symbols]
            _check_lost(inputs, lost, log)
            return captured
    raise _failed(log, computed_in)


def _picture_notices(inputs: Inputs, open_spec: TensorSpec | None) -> list[str]:
    """What is fixed though the source takes others, and how to keep it open."""
    if open_spec is None:
        return []
    fixed = inputs.shape(next(spec for spec in inputs.specs if spec.name == open_spec.name))
    sizes = ", ".join(f"axis {axis} at {fixed[axis]}" for axis in range(2, len(fixed)))
    return [
        "the source takes pictures of other sizes, the artifact only those of the data: "
        f"{open_spec.name!r} has {sizes}. --input '{open_spec}' keeps them open"
    ]


def _without_batch(subject: Subject, inputs: Inputs, expected: Sequence[Expected]) -> Inputs:
    """The inputs as they are, or with the batch fixed where the module itself takes no other."""
    batch = inputs.batch_symbol
    others = {e.inputs.batch for e in expected}
    return inputs if batch is None or len(others) > 1 else inputs.baked([batch])


def _check_lost(inputs: Inputs, lost: Sequence[str], log: Log) -> None:
    """Refuse a graph that takes less than its source.

    Raises:
        CaptureError: No exporter keeps the batch or a length open.
    """
    places = [
        f"axis {axis} of {spec.name!r} at {inputs.shape(spec)[axis]}"
        for spec in inputs.specs
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, str) and set(parse_size(dim).names) & set(lost)
    ]
    if not places:
        return
    shapes = " ".join(f"--input '{spec}'" for spec in inputs.baked(lost).specs)
    tried = "; ".join(f"{d.subject}: {d.reason}" for d in log.decisions if d.verdict == "failed")
    raise CaptureError(
        f"{log.source.description} takes other sizes than those it is traced at, and no exporter "
        f"keeps them open, so that they would be fixed: {', '.join(places)} ({tried})",
        hint=f"Ask for these sizes with {shapes}; or export the model to ONNX yourself.",
    )


def _try(
    subject: Subject,
    attempt: CaptureAttempt,
    expected: Sequence[Expected],
    computed_in: str,
    opset: int,
    log: Log,
) -> Captured | None:
    """One attempt: the capture, or None with the reason noted."""
    try:
        model = exported(subject, attempt, expected[0].outputs, opset)
        widened = widen(model)
        lifted = noise_lifted(model, attempt.inputs, [e.inputs for e in expected])
        if subject.draws and lifted.inside:
            node, reason = next(iter(lifted.inside.items()))
            raise CaptureError(f"it draws in {node!r}, and {reason}: that cannot be compared")
        drawn = [
            Expected(with_noise(e.inputs, lifted.noises, alike=True), e.outputs) for e in expected
        ]
        comparison = verify(lifted.model, drawn, computed_in)
    except MemoryError:
        raise
    except Exception as error:  # exporters raise anything; the next one may succeed
        logger.debug("%s failed", attempt.name, exc_info=True)
        log.tried(attempt.name, one_line(error))
        return None
    if comparison.failures:
        log.tried(attempt.name, "; ".join(comparison.failures[:3]))
        return None
    log.tried(attempt.name, None)
    open_outputs(lifted.model, expected)
    log.notices += [*comparison.notices, *_notices(subject, attempt.inputs)]
    log.notices += [*([] if widened is None else [widened]), *noise_notices(lifted)]
    inputs = with_noise(attempt.inputs, lifted.noises).without_bfloat16()
    return log.captured(lifted.model, inputs, comparison.parity, attempt.exporter, lifted.noises)


def _notices(subject: Subject, inputs: Inputs) -> list[str]:
    if not inputs.specs:
        return [NOTHING_TAKEN]
    notices = []
    if not inputs.real:
        notices.append(
            "no calibration data: the graph was traced and compared with its source on seeded "
            "random inputs"
        )
    if inputs.batch_symbol is None:
        why = "the module is made for no other"
        if subject.inputs.batch_symbol is None:
            program = subject.source.kind == "exported program"
            why = "the program was exported so" if program else "as --input says"
        notices.append(
            f"the batch is baked in at {inputs.batch} ({why}): the artifact takes exactly so many "
            "samples at a time"
        )
    return notices


def _failed(log: Log, computed_in: str) -> CaptureError:
    lines = [f"  {decision.subject}: {decision.reason}" for decision in log.decisions]
    hint = (
        "-v shows what the exporters say; or export the model to ONNX yourself and pass the .onnx "
        "file."
    )
    if computed_in in _RARE:
        hint = f"ONNX Runtime lacks many kernels for {computed_in}: save the model as float32."
    return CaptureError(
        "\n".join([f"{log.source.description} does not become an equivalent ONNX graph:", *lines]),
        hint=hint,
    )


def one_line(error: BaseException) -> str:
    """Type and first line of the deepest cause of an error."""
    while isinstance(error.__cause__, BaseException):
        error = error.__cause__
    if isinstance(error, CompressorError):
        return error.message.splitlines()[0]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return said if len(said) <= _LINE else f"{said[: _LINE - 4]} ..."
