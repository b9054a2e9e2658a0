"""Repair without training: layer after layer refitted to the original by least squares.

Each layer of the pruned graph is refitted on what the pruned graph really feeds it, so that it
makes up for what the layers before it lost (the "asymmetric" reconstruction of He, Zhang and Sun
2017, arXiv 1707.06168, section 3, on im2col patches and with an affine term).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.frontier import Frontier
from compressor.graph.shapes import known_shapes
from compressor.layerwise.activity import why_not_gathered
from compressor.layerwise.im2col import PIECE
from compressor.layerwise.layers import Layer, layers_of
from compressor.layerwise.moments import Solution
from compressor.layerwise.streams import Ancestry, Stream, stream_of
from compressor.pruning.coupling.groups import Grouping, Keep
from compressor.pruning.reconstruction.affine import NormAffine, affines_of
from compressor.pruning.reconstruction.fitting import (
    ROUNDING,
    Fit,
    Options,
    batch_for,
    fit,
    is_exact,
)
from compressor.pruning.reconstruction.pairs import LayerPair, second_of
from compressor.pruning.reconstruction.problem import Problem
from compressor.pruning.reconstruction.rescaling import Rescaled, Rescaling
from compressor.pruning.reconstruction.restriction import Restriction
from compressor.pruning.reconstruction.sparsity import sparse_fit
from compressor.pruning.reconstruction.writing import write
from compressor.results.pruning import LayerRepair, LayerVerdict, RepairRecord
from compressor.results.records import Decision
from compressor.system.progress import SILENT, Progress
from compressor.system.stopwatch import Stopwatch

BATCH = 16
"""Samples per run; few, because patches of several values are alive at once."""
MEMORY = 10**9
"""Bytes that repair may take beside the models, unless told otherwise."""

UNSOLVABLE = "the second moments of its input cannot be solved with"
NOTHING = "nothing to repair"
FOLLOWED = "repaired together with the layer behind it"
LATE = "the time was over"


@dataclass(frozen=True)
class Repair:
    """Options of a repair, beside the two models and the data.

    Attributes:
        options: How one layer is fitted.
        batch: Samples per run.
        memory: Bytes to take beside the models; a layer whose moments take more alone is left as it
            is. None for 1 GB, and for half of what the machine has left where one layer takes more.
        threads: Threads of the runtime; 0 is all.
        aims: Value of the pruned graph → value of the original that it should equal, where that
            is not the one of the same name.
        only: Names of the layers to repair, without norms; None for all and norms.
        rounds: Steps at most by which a convolution in front of a Relu and another convolution
            follows what that one should make; see `pairs.py`.
        rows: Rows per column of a layer that it is fitted on, about; None for all that there are.
            Neighbouring positions of an image tell nearly the same.
        sparse: Names of the layers that become 2:4 sparse, whatever that costs; see `sparsity.py`.
        stage: What the stage is called.
        is_over: Asked before each layer and norm whether time is over: what is not reached stays
            as it is.
    """

    options: Options = field(default_factory=Options)
    batch: int = BATCH
    memory: int | None = None
    threads: int = 0
    aims: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] | None = None
    rounds: int = 3
    rows: int | None = None
    sparse: frozenset[str] = frozenset()
    stage: str = "repair"
    is_over: Callable[[], bool] = lambda: False


def repair(
    original: ir.Model,
    pruned: ir.Model,
    grouping: Grouping,
    keep: Keep,
    data: CalibrationSet,
    how: Repair | None = None,
    progress: Progress = SILENT,
) -> tuple[ir.Model, RepairRecord]:
    """Refit the layers of a pruned model to what the original computes.

    In order, for each Conv, ConvTranspose, Gemm and MatMul with a constant weight that is its own:

        min over W, b of Σ ‖W·x̃ + b - y*‖² + λ‖W - W₀‖²

    with x̃ the patches of the input in the pruned model, repaired so far, and y* the original
    output of the channels that stay. Where the output is added to a residual stream, y* is
    o + (s - s̃), the original stream less what the pruned one already carries, so that the branch
    repairs the stream. Norms that stay are fitted by their factors and shifts alone, see
    `rescaling.py`. A repair is kept only where it lowers the error on batches that the solve has
    not seen; what is kept is then solved again with all of them. A layer that makes what it should
    but for rounding is left alone.

    Args:
        original: The model before pruning.
        pruned: What `cut` made of it; stays as it is.
        grouping: The groups of the original.
        keep: What was kept.
        data: Bound to the model's inputs; labels are not used.
        how: Memory, batch and the options of the fit.
        progress: Called with the layers done.

    Returns:
        The repaired model, and the record: each layer's error before and after, relative to the
        variance of what it should be, with seconds and bytes.
    """
    how = how or Repair()
    watch = Stopwatch()
    model = known_shapes(pruned.clone())
    original = known_shapes(original.clone())
    layers = layers_of(model)
    walk = _Walk(original, model, Restriction(grouping, keep), data, how)
    reports: dict[str, LayerRepair] = {}
    chosen = {n: one for n, one in layers.items() if how.only is None or n in how.only}
    affines = affines_of(model) if how.only is None else {}
    order = [n for node in model.graph if (n := node.name or "") in chosen or n in affines]
    with progress.stage(how.stage, total=len(order)) as advance:
        later = walk.numbered(order)
        for name in order:
            begun, later = watch.seconds, later & ~walk.numbered([name])
            if how.is_over():
                found: Fit | Rescaled | str = LATE
            elif name in affines:
                found = walk.rescale(affines[name])
            else:
                found = walk.visit(chosen[name], chosen, later)
            reports[name] = _report(found, watch.seconds - begun, walk.steps.get(name))
            advance(1)
    seconds = watch.seconds
    parameters = {"samples": len(data), "batch": how.batch}
    return model, _record(how.stage, reports, parameters, seconds, judged=walk.batches > 1)


class _Walk:
    """The walk through both models side by side, as far as the repair has come."""

    def __init__(
        self,
        original: ir.Model,
        model: ir.Model,
        restriction: Restriction,
        data: CalibrationSet,
        how: Repair,
    ) -> None:
        batch = batch_for(len(data), how.batch)
        room = (how.memory or MEMORY) // 4
        self._then = Frontier(original, data, batch=batch, room=room, threads=how.threads)
        self._now = Frontier(model, data, batch=batch, room=room, threads=how.threads)
        self._model, self._restriction, self._how = model, restriction, how
        self._done: dict[str, Fit] = {}
        self.steps: dict[str, int] = {}
        self._ancestry = Ancestry(model.graph)
        self._bits = {node.name or "": 1 << i for i, node in enumerate(model.graph)}
        self._known = {v.name for node in original.graph for v in node.outputs}

    @property
    def batches(self) -> int:
        """Number of batches, the same of both models."""
        return len(self._now)

    def rescale(self, affine: NormAffine) -> Rescaled | str:
        """Fit the affine terms of one norm; the fit, or why there was none."""
        output = affine.output.name or ""
        aim = self._how.aims.get(output, output)
        if aim not in self._known:
            return "the original has no such value"
        found = Rescaling(affine, self._then, self._now, self._restriction, aim).solve()
        if found.before <= ROUNDING:
            return NOTHING
        if found.better:
            affine.write(self._model, found.scale, found.shift)
        return found

    def numbered(self, names: Sequence[str]) -> int:
        """Some nodes, as `Ancestry` tells them."""
        return sum(self._bits[name] for name in names)

    def visit(self, layer: Layer, layers: Mapping[str, Layer], later: int) -> Fit | str:
        """Repair one layer; the fit, or why there was none.

        Args:
            layer: The layer.
            layers: All that are repaired.
            later: The nodes that will be visited after it, as `numbered` tells them.
        """
        if layer.name in self._done:
            return self._done[layer.name]
        reason = self._why_not_repaired(layer)
        if reason is not None:
            return reason
        self._then.advance(layer.name)
        self._now.advance(layer.name)
        try:
            return self._fitted(layer, layers, later)
        except np.linalg.LinAlgError as error:
            return f"{UNSOLVABLE}: {error}"

    def _fitted(self, layer: Layer, layers: Mapping[str, Layer], later: int) -> Fit | str:
        """The fit of a layer, and of the one behind it together with it.

        Raises:
            LinAlgError: The layer's moments cannot be solved with.
        """
        own = self._problem(layer, later)
        if layer.name in self._how.sparse:
            fitted = sparse_fit(own, self._how.options)
            write(self._model, layer, fitted.matrix, fitted.bias)
            return fitted
        found = NOTHING if is_exact(own) else fit(own, self._how.options)
        if isinstance(found, Fit) and found.better:
            write(self._model, layer, found.matrix, found.bias)
        second = second_of(layer, layers) if self._how.rounds else None
        if second is not None and self._why_not_repaired(second) is None:
            problem = self._problem(second, later & ~self._bits[second.name])
            if is_exact(problem):
                return found
            pair, both = LayerPair(layer, second, problem, self._write), (layer, second)
            before = [(one.matrix(), one.bias()) for one in both]
            try:
                self._done[second.name], self.steps[layer.name] = pair.improve(
                    self._how.options, self._how.rounds
                )
            except np.linalg.LinAlgError:  # each alone is what it was
                for one, solution in zip(both, before, strict=True):
                    self._write(one, solution)
        return found

    def _write(self, layer: Layer, solution: Solution) -> None:
        write(self._model, layer, *solution)

    def _problem(self, layer: Layer, later: int) -> Problem:
        return Problem(
            layer,
            self._stream(layer, later),
            self._then,
            self._now,
            self._restriction,
            self._how.aims,
            min((self._how.memory or MEMORY) // 8, PIECE),
            self._how.rows,
        )

    def _why_not_repaired(self, layer: Layer) -> str | None:
        if len(layer.weight_value.uses()) > 1:
            return "its weight has other readers"
        if self._how.aims.get(layer.output.name or "", layer.output.name) not in self._known:
            return "the original has no such value"
        return None if layer.name in self._how.sparse else why_not_gathered(layer, self._how.memory)

    def _stream(self, layer: Layer, later: int) -> Stream | None:
        """The stream to aim at: one whose other operand no later repair will change."""
        stream = stream_of(layer)
        if stream is None or self._aim(stream) not in self._known:
            return None
        if self._ancestry.of(stream.skip) & later:
            return None
        o, a = layer.output.name or "", stream.value.name or ""
        found = next(self._now.batches([o, a], lambda batch: batch == 0))
        return None if stream.pull(found[a], found[o].shape) is None else stream

    def _aim(self, stream: Stream) -> str | None:
        return self._how.aims.get(stream.value.name or "", stream.value.name)


def _record(
    stage: str,
    reports: Mapping[str, LayerRepair],
    parameters: Mapping[str, int],
    seconds: float,
    *,
    judged: bool,
) -> RepairRecord:
    repaired = sum(one.verdict is LayerVerdict.REPAIRED for one in reports.values())
    return RepairRecord(
        name=stage,
        seconds=seconds,
        parameters={**parameters, "layers": {name: one.told for name, one in reports.items()}},
        changed={"layers repaired": repaired},
        decisions=tuple(_decision(name, report) for name, report in reports.items()),
        notices=()
        if judged
        else ("one batch of samples only: repairs were judged by what they were solved on",),
        layers=dict(reports),
    )


def _report(found: Fit | Rescaled | str, seconds: float, steps: float | None) -> LayerRepair:
    """What became of a part; `steps` are those by which it was fitted with the layer behind it."""
    if isinstance(found, str):
        followed = bool(steps) and found == NOTHING
        return LayerRepair(
            verdict=LayerVerdict.REPAIRED if followed else LayerVerdict.LEFT_ALONE,
            reason=FOLLOWED if followed else found,
            late=found is LATE,
            seconds=seconds,
            steps=steps,
        )
    return LayerRepair(
        verdict=_verdict(found),
        error_before=found.before,
        error_after=found.after,
        ridge=found.ridge,
        bytes=float(found.bytes),
        seconds=seconds,
        steps=steps,
    )


def _verdict(found: Fit | Rescaled) -> LayerVerdict:
    if isinstance(found, Fit) and found.sparse:
        return LayerVerdict.SPARSE
    return LayerVerdict.REPAIRED if found.better else LayerVerdict.LEFT_ALONE


def _decision(name: str, report: LayerRepair) -> Decision:
    if report.verdict is LayerVerdict.SPARSE:
        told = (
            f"error on held-out samples {report.error_before:.3g} with the largest weights as "
            f"they are, {report.error_after:.3g} refitted, relative to the variance"
        )
        return Decision(subject=name, verdict=report.verdict.value, reason=told)
    reason = report.reason or (
        f"error on held-out samples {report.error_before:.3g} → {report.error_after:.3g},"
        f" relative to the variance"
    )
    return Decision(subject=name, verdict=report.verdict.value, reason=reason)
