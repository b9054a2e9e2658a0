"""What the source computes at two sets of sizes, and whether a graph computes the same."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.capture.inputs import OTHER_BATCHES, SYMBOL_SIZES, Inputs
from compressor.capture.parity import Comparison, compare_outputs, run
from compressor.errors import CaptureError
from compressor.graph.session import open_session
from compressor.graph.tensors import Array
from compressor.records import Parity

Evaluate = Callable[[Inputs], Mapping[str, Array]]
"""Runs the source on the arrays of some inputs; a CaptureError when it fails."""


@dataclass(frozen=True)
class Expected:
    """What the source returned on some inputs."""

    inputs: Inputs
    outputs: Mapping[str, Array]


def settle(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Sizes of dynamic dimensions at which the source runs, where no samples tell them.

    Raises:
        CaptureError: It runs at none; the message is that of the first.
    """
    others = [symbol for symbol in inputs.symbols if symbol != inputs.batch_symbol]
    if inputs.real or not others:
        return inputs
    failure: CaptureError | None = None
    larger = [inputs.resized(dict.fromkeys(others, size)) for size in SYMBOL_SIZES]
    for candidate in (inputs, *larger):
        try:
            evaluate(candidate)
        except CaptureError as error:
            failure = failure or error
        else:
            return candidate
    assert failure is not None
    raise failure


def expectations(evaluate: Evaluate, inputs: Inputs, computed_in: str) -> tuple[Expected, ...]:
    """The source's outputs at the traced sizes and, if any is dynamic, at others.

    On other samples than the first, which are those that are traced.

    Raises:
        CaptureError: The source fails at the traced sizes, or two runs of it differ.
    """
    inputs = inputs.shifted(inputs.batch)
    first = Expected(inputs, evaluate(inputs))
    again = compare_outputs(
        first.outputs, evaluate(inputs), batch=inputs.batch, computed_in=computed_in
    )
    if again.failures:
        raise CaptureError(
            f"the model is not deterministic: {again.failures[0]} between two runs on the same "
            "inputs",
            hint="Remove random operations from forward, such as sampling, or dropout with "
            "training=True.",
        )
    for other in _other_sizes(inputs.shifted(inputs.batch)):
        try:
            return (first, Expected(other, evaluate(other)))
        except CaptureError:  # the source itself does not run at these sizes
            continue
    return (first,)


def verify(model: ir.Model, expected: Sequence[Expected], computed_in: str) -> Comparison:
    """Run a graph in ONNX Runtime and compare it with what the source returned.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
    """
    session = open_session(model)
    parity: list[Parity] = []
    failures: list[str] = []
    notices: list[str] = []
    for at in expected:
        try:
            found = run(session, at.inputs.arrays(), list(at.outputs))
        except Exception as error:  # the runtime raises its own classes, unrelated to each other
            lines = str(error).strip().splitlines() or [type(error).__name__]
            failures.append(f"ONNX Runtime fails at batch {at.inputs.batch}: {lines[0]}")
            continue
        compared = compare_outputs(
            at.outputs, found, batch=at.inputs.batch, computed_in=computed_in
        )
        parity += compared.parity
        failures += compared.failures
        notices += compared.notices
    return Comparison(tuple(parity), tuple(failures), tuple(notices))


def _other_sizes(inputs: Inputs) -> Iterator[Inputs]:
    """Other batch sizes, with other dynamic sizes halved first and then as they are."""
    halved = {
        symbol: size // 2
        for symbol, size in inputs.sizes.items()
        if symbol in inputs.symbols and symbol != inputs.batch_symbol and size > 1
    }
    if inputs.batch_symbol is None:
        if halved:
            yield inputs.resized(halved)
        return
    for batch in OTHER_BATCHES:
        if halved:
            yield inputs.resized({inputs.batch_symbol: batch, **halved})
        yield inputs.resized({inputs.batch_symbol: batch})
