"""Weight-only INT4 and INT8: which matrices are stored in blocks, and their integers.

Products get integers that make up for each other's errors on calibration data (`gptq`), where those
are better than the nearest ones on samples held out. Tables that rows are looked up in get the
nearest integers, and more bits: a row is read as it is, with no sum in which errors could cancel.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.layerwise.factor import cores, own_threads
from compressor.quantization.blocks import (
    BlockFormat,
    Bytes,
    Grid,
    Matrix,
    Packed,
    dequantized,
    grid_of,
    nearest,
    packed,
)
from compressor.quantization.gptq import ordered, output_error, rounded
from compressor.quantization.grams import Gram, each_gram, why_not_summed
from compressor.quantization.matrices import ROWS, ConstantMatrix, find_matrices
from compressor.quantization.storing import bias_of
from compressor.results.format import decibels_of_noise
from compressor.results.records import Decision, StageRecord
from compressor.system.progress import SILENT, Advance, Progress
from compressor.system.stopwatch import Stopwatch

GPTQ, NEAREST = "GPTQ", "nearest"
SOLVED = 2**25
"""Bytes of the rows that GPTQ rounds together: each of its steps is one column of them."""


@dataclass(frozen=True)
class StoringOptions:
    """Options of weight-only quantization.

    Attributes:
        bits: Bits of matrices that are multiplied with: 4 or 8.
        table_bits: Bits of those that rows are looked up in.
        block: Inputs that share a scale.
        symmetric: Whether there are no zero points; None for 8 bits without and 4 bits with.
        leave: Patterns of names that stay float.
        tables_only: Whether nothing but what rows are looked up in is stored so.
        least: Numbers of a matrix from which it is.
        batch: Samples per calibration step.
        memory: Bytes to take beside the model (1 GB).
        standard: Whether they become DequantizeLinear: of whole blocks, and not of tables.
    """

    bits: int
    table_bits: int = 8
    block: int = 32
    symmetric: bool | None = None
    leave: tuple[str, ...] = ()
    tables_only: bool = False
    least: int = 0
    batch: int = 32
    memory: int | None = None
    standard: bool = False

    def form(self, matrix: ConstantMatrix) -> BlockFormat:
        """Format of one matrix: bits, block and symmetry."""
        bits = max(self.bits, self.table_bits) if matrix.is_table else self.bits
        symmetric = bits == 8 if self.symmetric is None else self.symmetric
        return BlockFormat(bits, self.block, symmetric)


@dataclass(frozen=True)
class Storing:
    """The weight-only quantization that was chosen.

    Attributes:
        forms: Initializer → how it is stored.
        packed: Initializer → its integers, scales and zero points.
        errors: Initializer → energy of the error relative to that of the output: on samples held
            out, or without data of the weights themselves.
        nodes: Nodes that read them, in graph order.
        float_reasons: Node → why its matrix stays float.
        record: The stage.
    """

    forms: Mapping[str, BlockFormat]
    packed: Mapping[str, Packed]
    errors: Mapping[str, float]
    nodes: tuple[str, ...]
    float_reasons: Mapping[str, str]
    record: StageRecord


def choose(
    model: ir.Model,
    data: CalibrationSet | None,
    options: StoringOptions,
    *,
    progress: Progress = SILENT,
) -> Storing:
    """Choose the integers of every matrix that can be stored in blocks.

    Args:
        model: The float graph; it is not changed.
        data: Calibration samples; without any all integers are the nearest ones.
        options: Bits, blocks and memory.
        progress: Where it is shown how many are done.

    Raises:
        DataError: A layer's input is not finite on the data.
    """
    watch = Stopwatch()
    matrices, reasons = _storable(model, options)
    chosen = _Choosing(options)
    with progress.stage("store weights", total=len(matrices)) as advance:
        _round_all(chosen, model, matrices, data, progress, advance)
    names = {matrix.name for matrix in matrices}
    readers = {r.node.name or "" for matrix in matrices for r in matrix.readers}
    record = _record(matrices, chosen, reasons, data, options, watch.seconds)
    return Storing(
        forms={m.name: chosen.forms[m.name] for m in matrices if m.name in names},
        packed=chosen.packed,
        errors=chosen.errors,
        nodes=tuple(n.name or "" for n in model.graph.all_nodes() if n.name in readers),
        float_reasons=reasons,
        record=record,
    )


def _round_all(
    chosen: "_Choosing",
    model: ir.Model,
    matrices: Sequence[ConstantMatrix],
    data: CalibrationSet | None,
    progress: Progress,
    advance: Advance,
) -> None:
    """Those first that no sums are needed for, or taken; then by input."""
    options = chosen.options
    inputs: dict[str, list[ConstantMatrix]] = {}
    for matrix in matrices:
        value = _input(matrix, model.graph)
        why = None if value is None else why_not_summed(matrix.shape[1], options.memory)
        if data is None or value is None or why is not None:
            chosen.round(matrix, None, None if data is None else why)
            advance(1)
        else:
            inputs.setdefault(value, []).append(matrix)
    if data is None or not inputs:
        return

    def use(value: str, gram: Gram) -> None:
        for matrix in inputs[value]:
            chosen.round(matrix, gram)
            advance(1)

    widths = {value: members[0].shape[1] for value, members in inputs.items()}
    each_gram(
        model, widths, data, use, batch=options.batch, memory=options.memory, progress=progress
    )


def _storable(
    model: ir.Model, options: StoringOptions
) -> tuple[list[ConstantMatrix], dict[str, str]]:
    """The matrices that gain, and why others do not."""
    matrices, reasons = find_matrices(model, options.leave)
    kept = []
    for matrix in matrices:
        why = _why_not_stored(matrix, options.form(matrix), options)
        if why is None:
            kept.append(matrix)
        else:
            reasons |= {reader.node.name or "": why for reader in matrix.readers}
    return kept, reasons


def _why_not_stored(
    matrix: ConstantMatrix, form: BlockFormat, options: StoringOptions
) -> str | None:
    outputs, inputs = matrix.shape
    if options.tables_only and (not matrix.is_table or matrix.products):
        return "it is not only looked up in"
    if outputs * inputs < options.least:
        return f"a matrix of {outputs} × {inputs} is small"
    if options.standard and matrix.is_table:
        return "rows are looked up in it, which no fused kernel does in 4 bits"
    if options.standard and inputs % form.block:
        return f"rows of {inputs} are not whole blocks of {form.block}"
    if matrix.is_table and inputs % form.block:
        return f"rows of {inputs} are not whole blocks of {form.block}"
    if form.bytes(outputs, inputs) >= 4 * outputs * inputs:
        return f"a matrix of {outputs} × {inputs} is no smaller in blocks of {form.block}"
    if not all(np.isfinite(matrix.rows(p.start, p.stop)).all() for p in matrix.parts()):
        return f"weights of {matrix.name!r} are not finite"
    whys = (bias_of(node, outputs) for node in matrix.products)
    return next((why for why in whys if isinstance(why, str)), None)


def _input(matrix: ConstantMatrix, graph: ir.Graph) -> str | None:
    """What the first product outside of bodies reads, where samples of it can be seen.

    None for tables, whose rows are read as they are.
    """
    for node in () if matrix.is_table else matrix.products:
        value = node.inputs[0]
        if value is not None and not value.is_initializer() and _is_outside(value, graph):
            return value.name
    return None


def _is_outside(value: ir.Value, graph: ir.Graph) -> bool:
    made_by = value.producer()
    return value in set(graph.inputs) if made_by is None else made_by.graph is graph


@dataclass
class _Choosing:
    """The integers of one matrix after the other."""

    options: StoringOptions
    forms: dict[str, BlockFormat] = field(default_factory=dict)
    packed: dict[str, Packed] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)
    compared: dict[str, float] = field(default_factory=dict)
    unsolved: dict[str, str] = field(default_factory=dict)

    def round(self, matrix: ConstantMatrix, gram: Gram | None, unseen: str | None = None) -> None:
        """Nearest integers; with second moments those of GPTQ where they are better.

        Some rows at a time, which do not depend on each other once the moments are factored.
        """
        form, order = self.options.form(matrix), None
        if unseen is not None:
            self.unsolved[matrix.name] = unseen
        if gram is not None and not all(np.isfinite(one).all() for one in (gram.seen, gram.held)):
            self.unsolved[matrix.name] = "they are too large for float32"
            gram = None
        if gram is not None:
            try:
                with own_threads():
                    order = ordered(gram.seen)
            except np.linalg.LinAlgError as error:
                self.unsolved[matrix.name] = str(error)
        near, better = _Rows(matrix, form), _Rows(matrix, form)

        def of(part: slice) -> tuple[slice, _Lossy, _Lossy | None]:
            values = matrix.rows(part.start, part.stop)
            grid = grid_of(values, form, None if gram is None else np.diag(gram.seen))
            first = _lossy(values, nearest(values, grid, form), grid, form, gram)
            if gram is None or order is None:
                return part, first, None
            to_grid = partial(grid.nearest, form=form)
            found = rounded(values, gram.seen, to_grid, known=order).astype(np.uint8)
            return part, first, _lossy(values, found, grid, form, gram)

        with own_threads(), ThreadPoolExecutor(cores() if gram is None else 1) as pool:
            for part, first, second in pool.map(of, matrix.parts(ROWS if gram is None else SOLVED)):
                near.add(part, first)
                if second is not None:
                    better.add(part, second)
        name = matrix.name
        self.methods[name], chosen = NEAREST, near
        if order is not None:
            self.compared[name] = near.error
            if better.error < near.error:
                self.methods[name], chosen = GPTQ, better
        self.forms[name], self.errors[name] = form, chosen.error
        self.packed[name] = chosen.packed


class _Lossy(NamedTuple):
    """Stored rows, and the energy of their output, or weights, and its error."""

    packed: Packed
    signal: float
    lost: float


def _lossy(
    values: Matrix, integers: Bytes, grid: Grid, form: BlockFormat, gram: Gram | None
) -> _Lossy:
    exact, difference = values.astype(np.float64), values - dequantized(integers, grid, form)
    signal, lost = (
        float(np.vdot(one, one)) if gram is None else output_error(one, gram.held)
        for one in (exact, difference)
    )
    return _Lossy(packed(integers, grid, form), signal, lost)


class _Rows:
    """The rows of one matrix as they are stored, and what was lost of them."""

    def __init__(self, matrix: ConstantMatrix, form: BlockFormat) -> None:
        self._form, self._shape = form, matrix.shape
        self._packed: Packed | None = None
        self._signal = self._lost = 0.0

    def add(self, part: slice, rows: "_Lossy") -> None:
        """Some rows."""
        self._put(part, rows.packed)
        self._signal += rows.signal
        self._lost += rows.lost

    @property
    def error(self) -> float:
        """Energy of the error relative to that of the output, or of the weights."""
        return _relative(self._lost, self._signal)

    @property
    def packed(self) -> Packed:
        """All rows."""
        assert self._packed is not None, "a matrix has rows"
        return self._packed

    def _put(self, part: slice, rows: Packed) -> None:
        if self._packed is None:
            whole = [
                None if one is None else np.empty((self._shape[0], *one.shape[1:]), one.dtype)
                for one in (rows.codes, rows.scales, rows.zeros)
            ]
            self._packed = Packed(*whole)  # type: ignore[arg-type]
        for name in ("codes", "scales", "zeros"):
            one = getattr(rows, name)
            if one is not None:
                getattr(self._packed, name)[part] = one


def _relative(error: float, signal: float) -> float:
    """0 where there is no error, whatever the signal."""
    if error <= 0:
        return 0.0
    return error / signal if signal > 0 else math.inf


def _signal_to_noise(error: float) -> str:
    """A relative error as a ratio of signal to noise, in words."""
    ratio = decibels_of_noise(error)
    return f"{ratio} of signal to noise" if ratio.endswith("dB") else ratio


def _record(
    matrices: list[ConstantMatrix],
    chosen: _Choosing,
    reasons: Mapping[str, str],
    data: CalibrationSet | None,
    options: StoringOptions,
    seconds: float,
) -> StageRecord:
    notices: tuple[str, ...] = ()
    if data is None and any(matrix.products for matrix in matrices):
        notices = ("without calibration data (--calib DATA) weights were rounded to the nearest",)
    return StageRecord(
        name="store weights",
        seconds=seconds,
        parameters={
            "bits": options.bits,
            "table bits": max(options.bits, options.table_bits),
            "block": options.block,
            "samples": 0 if data is None else len(data),
            "chosen": dict(Counter(chosen.methods.values())),
        },
        changed={"matrices in blocks": len(matrices)},
        decisions=(
            *(_decision(matrix, chosen) for matrix in matrices),
            *(
                Decision(subject=node, verdict="float", reason=reason)
                for node, reason in reasons.items()
            ),
        ),
        notices=notices,
    )


def _decision(matrix: ConstantMatrix, chosen: _Choosing) -> Decision:
    name, method = matrix.name, chosen.methods[matrix.name]
    form = chosen.forms[name]
    zeros = "no zero points" if form.symmetric else "zero points"
    kind = f"{form.bits} bits in blocks of {form.block}, {zeros}"
    if name not in chosen.compared:
        why = "rows are looked up in it" if matrix.is_table else "there are no samples of its input"
        if name in chosen.unsolved:
            why = f"the second moments of its input cannot be solved with: {chosen.unsolved[name]}"
        said = f"{_signal_to_noise(chosen.errors[name])} in the weights; {why}"
    elif method == GPTQ:
        nearest_error = _signal_to_noise(chosen.compared[name])
        error = _signal_to_noise(chosen.errors[name])
        said = f"{error} at its output, {nearest_error} by the nearest"
    else:
        error = _signal_to_noise(chosen.errors[name])
        said = f"{error} at its output, which GPTQ does not better"
    return Decision(subject=name, verdict=method, reason=f"{kind}: {said}")
