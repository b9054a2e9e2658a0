"""What the source computes at two sets of sizes, and whether a graph computes the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.capture.inputs import OTHER_BATCHES, SYMBOL_SIZES, Inputs
from compressor.capture.parity import ParityCheck, compare_outputs, run
from compressor.capture.relations import (
    Evaluate,
    alone,
    multiples,
    one_sample,
    other_size,
    related,
    runs,
    scattered,
    single,
    unbatched,
)
from compressor.errors import CaptureError
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes, shape_of
from compressor.graph.tensors import Array
from compressor.results.records import Parity


@dataclass(frozen=True)
class Expected:
    """The source's outputs on some inputs."""

    inputs: Inputs
    outputs: Mapping[str, Array]


def settle(evaluate: Evaluate, inputs: Inputs) -> Inputs:
    """Sizes of dynamic dimensions at which the source runs, and what they have to do with others.

    Raises:
        CaptureError: It runs at none; the message is that of the first.
    """
    failure: CaptureError | None = None
    for candidate in _sizes_to_try(inputs):
        try:
            outputs = evaluate(candidate)
        except CaptureError as error:
            failure = failure or error
        else:
            settled = unbatched(evaluate, candidate, outputs)
            return related(evaluate, settled) if settled.others else settled
    assert failure is not None
    for search in (single, related, multiples, alone, one_sample):
        found = search(evaluate, inputs)
        if found != inputs and runs(evaluate, found):
            return found
    raise failure


def expectations(
    evaluate: Evaluate, inputs: Inputs, computed_in: str, *, noisy: bool = False
) -> tuple[Expected, ...]:
    """The source's outputs at the traced sizes and, if any is dynamic, at others.

    On other samples than the first, which are those that are traced. All sizes change together,
    once to one, as broadcasting hides what was baked in at one.

    Raises:
        CaptureError: The source fails at the traced sizes, or two runs of it differ and it is not
            known to be `noisy`.
    """
    inputs = inputs.shifted(inputs.batch)
    first = Expected(inputs, evaluate(inputs))
    again = compare_outputs(
        first.outputs, evaluate(inputs), batch=inputs.batch, computed_in=computed_in
    )
    if again.failures and not noisy:
        raise CaptureError(
            f"the model is not deterministic: {again.failures[0]} between two runs on the same "
            "inputs, also where torch draws the same numbers",
            hint="Draw with torch instead of numpy or random in forward, and keep no state between "
            "calls.",
        )
    found = [first]
    for way in _other_sizes(inputs.shifted(inputs.batch)):
        for other in way:
            try:
                outputs = evaluate(other)
            except CaptureError:  # the source itself does not run at these sizes
                continue
            of_one = inputs.batch == 1 < other.batch
            if of_one and scattered(other.batch, outputs, first.outputs):
                continue  # it does, and is not meant for them
            found.append(Expected(other, outputs))
            break
    return tuple(found)


def verify(model: ir.Model, expected: Sequence[Expected], computed_in: str) -> ParityCheck:
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
            failures.append(f"ONNX Runtime fails on {at.inputs.described()}: {lines[0]}")
            continue
        compared = compare_outputs(
            at.outputs, found, batch=at.inputs.batch, computed_in=computed_in
        )
        parity += compared.parity
        failures += compared.failures
        notices += compared.notices
    return ParityCheck(tuple(parity), tuple(failures), tuple(notices))


def open_outputs(model: ir.Model, expected: Sequence[Expected]) -> None:
    """Open the sizes that outputs are declared with and did not have at all sizes, in place.

    Exporters note those of the trace behind operators whose shapes they do not follow, such as
    LSTM. What is as long as a size of the inputs at all of them gets its name. What is noted inside
    is as stale then, and found anew.
    """
    before = [value.shape for value in model.graph.outputs]
    for value in model.graph.outputs:
        shape = shape_of(value)
        seen = [(e.inputs, e.outputs[value.name or ""].shape) for e in expected]
        if shape is None or any(len(found) != len(shape) for _, found in seen):
            continue
        sizes = list(shape)
        for axis, size in enumerate(shape):
            if isinstance(size, int) and any(found[axis] != size for _, found in seen):
                names = (
                    name
                    for name in expected[0].inputs.symbols
                    if all(at.sizes[name] == found[axis] for at, found in seen)
                )
                sizes[axis] = next(names, f"{value.name}_dim{axis}")
        if sizes != list(shape):
            value.shape = ir.Shape(sizes)
    if all(value.shape is shape for value, shape in zip(model.graph.outputs, before, strict=True)):
        return
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = value.shape if value.is_graph_output() else None
    infer_shapes(model)


def _sizes_to_try(inputs: Inputs) -> Iterator[Inputs]:
    yield inputs
    others = [symbol for symbol in inputs.others if symbol not in inputs.asked]
    if not inputs.real and others:
        for size in SYMBOL_SIZES:
            yield inputs.resized(dict.fromkeys(others, size))


def _other_sizes(inputs: Inputs) -> Iterator[Iterator[Inputs]]:
    """Ways to change the sizes: of each, the first that the source takes is enough.

    All together; then all but the batch to one; then each of those by itself, where it leads.
    """
    batch, others = inputs.batch_symbol, inputs.others
    batches = () if batch is None else OTHER_BATCHES
    changed = {symbol: other_size(inputs.sizes[symbol]) for symbol in others}
    least = dict.fromkeys(others, 1)

    def with_batches(sizes: Mapping[str, int], among: Sequence[int]) -> Iterator[Inputs]:
        for size in among:
            yield inputs.resized({**sizes, **({} if batch is None else {batch: size})})
        if batch is None and sizes:
            yield inputs.resized(sizes)

    def first_way() -> Iterator[Inputs]:
        for size in batches:
            yield from with_batches(changed, (size,))
            yield from with_batches({}, (size,))
        if batch is None and changed:
            yield inputs.resized(changed)

    if batch is not None or others:
        yield first_way()
    if others:
        yield with_batches(least, tuple(reversed(batches)))
    for symbol in others if len(others) > 1 else ():
        yield with_batches({symbol: 1}, batches[:1])
        yield with_batches({symbol: changed[symbol]}, batches[:1])
