"""Sizes at which an ONNX model runs, and what it computes there."""

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from compressor.capture.captured import Log
from compressor.capture.inputs import TRACED_BATCH, Inputs
from compressor.capture.noise_inputs import listed
from compressor.capture.parity import compare_outputs, run
from compressor.capture.relations import Evaluate, runs
from compressor.capture.runtime_dropout import without_dropout
from compressor.capture.verify import Expected, expectations, settle
from compressor.errors import CaptureError, GraphError
from compressor.graph.lifting import flat
from compressor.graph.noise import drawing_nodes, draws
from compressor.graph.session import open_session
from compressor.graph.tensors import Array


def settled_model(
    model: ir.Model, inputs: Inputs, log: Log
) -> tuple[ir.Model, Inputs, tuple[Expected, ...]]:
    """The model's outputs at sizes that it runs at; without a Dropout that does not run.

    Raises:
        CaptureError: It runs at none.
    """
    what = log.source.description
    noisy = bool(drawing_nodes(model))
    evaluate = evaluator(model, what)
    inputs, expected = _run(evaluate, inputs, _leading(model) if noisy else (), noisy=noisy)
    if not noisy:
        return model, inputs, expected
    plain, dropouts = without_dropout(flat(model))
    if dropouts and not drawing_nodes(plain):  # else the rule is all there is
        found = evaluator(plain, what)(expected[0].inputs)
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


def evaluator(model: ir.Model, what: str) -> Evaluate:
    """Runs the model as it was given.

    Raises:
        CaptureError: ONNX Runtime does not load it; likewise where a run fails.
    """
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


def _leading(model: ir.Model) -> tuple[int, ...]:
    """The leading sizes of what is drawn in a fixed shape: numbers of samples that may run."""
    shapes = [node.attributes.get_ints("shape", ()) for node in model.graph.all_nodes()
              if draws(node)]  # fmt: skip
    sizes = [shape[0] for shape in shapes if len(shape) > 1 and shape[0] > 1]
    return tuple(dict.fromkeys(sizes))


def of_one_shape(model: ir.Model, batch: int) -> str:
    """Which node draws exactly so many samples."""
    for node in model.graph.all_nodes():
        shape = list(node.attributes.get_ints("shape", ())) if draws(node) else []
        if batch > 1 and shape[:1] == [batch]:
            return f": {node.op_type} {node.name!r} draws the fixed shape {shape}"
    return ""
