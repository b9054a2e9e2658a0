"""Whole residual blocks removed one after the other, each time that which costs least.

    damage / saved,   damage = E(after) - E(before)

with E the error at the outputs, on samples that no refit has seen, once the layer in front of the
gap imitates what the original has behind it (Wang and Wu, PRACTISE, arXiv 2202.07861), and `saved`
what the block costs, in seconds where those are measured. Ranked by the damage of plain removal a
ResNet-56 without six blocks loses 0.9 points of top-1, ranked so 0.25. Most damages change little
when another block goes, and most rise: those that look best are estimated anew, and no others (as
in the lazy greedy of Minoux 1978, "Accelerated Greedy Algorithms for Maximizing Submodular Set
Functions").

The refit of what went stays for the estimates that follow. Whatever removes fewer blocks is on the
way to what removes more, so that one trace serves every goal.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.frontier import Frontier, Values
from calibration.taps import Taps
from compressor.graph.concrete import concrete_shapes
from compressor.graph.shapes import known_shapes
from compressor.layerwise.activity import why_not_gathered
from compressor.layerwise.im2col import PIECE
from compressor.layerwise.layers import Layer, layers_of
from compressor.layerwise.moments import solve
from compressor.layerwise.streams import stream_of
from compressor.pruning.blocks import Block, Shortened, find_blocks, without
from compressor.pruning.coupling.groups import Grouping
from compressor.pruning.output_error import floating_outputs, relative_error
from compressor.pruning.reconstruction.fitting import batch_for, divided, seen_moments
from compressor.pruning.reconstruction.problem import Problem, Source
from compressor.pruning.reconstruction.repair import MEMORY, Repair
from compressor.pruning.reconstruction.restriction import Restriction
from compressor.pruning.reconstruction.writing import write
from compressor.system.progress import SILENT, Progress

FRESH = 4
"""Blocks whose damage is estimated anew before another goes: those that looked best."""
ROWS = 16
"""Rows per column of a quick refit."""
RUINED = 1.0
"""Error from which the outputs are no better than their means, so that no other block goes."""

WALKED = 20_000
"""Nodes that the candidates of one removal have together, at most: each is built and run whole."""
FEWEST = 4
"""Candidates that are tried whatever the size of the graph."""


def likeliest(
    model: ir.Model, blocks: Sequence[Block], data: CalibrationSet, batch: int
) -> list[Block]:
    """The blocks that are worth trying: of a deep graph those that change their stream least.

        change = Σ ‖y - x‖² / Σ ‖y‖²,   y = x + f(x)

    over some samples, in one run (after the "block influence" of Men et al. 2024, arXiv
    2403.03853, section 3.1, which takes the cosine).

    Args:
        model: Their model.
        blocks: All of them.
        data: Bound to its inputs.
        batch: Samples of the run.
    """
    most = max(FEWEST, WALKED // max(len(model.graph), 1))
    if len(blocks) <= most:
        return list(blocks)
    taps = Taps(known_shapes(model.clone()))
    fetched = []
    for block in blocks:
        x, y = taps.values[block.skip], taps.values[block.total]
        for value in (taps.node("Sub", [y, x]), y):
            flat = taps.node("Reshape", [value, taps.integers(-1)])
            fetched.append(taps.output(taps.reduced("ReduceSumSquare", flat, 0)))
    front = Frontier(taps.finished(), data.take(batch), batch=batch, room=0)
    found = next(front.batches(fetched))
    sums = np.array([found[name] for name in fetched], np.float64).reshape(-1, 2)
    changes = sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny)
    chosen = sorted(np.argsort(np.nan_to_num(changes, nan=np.inf), kind="stable")[:most])
    return [blocks[index] for index in chosen]


Saved = Callable[[Block], float]
"""What leaving a block out of the whole graph saves; 0 or less where nothing."""


@dataclass(frozen=True)
class _Estimate:
    """What removing a block comes to.

    Attributes:
        block: The block.
        short: The graph without it, the layer in front of the gap refitted.
        error: Error at the outputs.
    """

    block: Block
    short: Shortened
    error: float


class BlockRemoval:
    """The trace of removals from one graph, as far as it was asked for."""

    def __init__(
        self,
        original: ir.Model,
        data: CalibrationSet,
        saved: Saved,
        how: Repair | None = None,
        progress: Progress = SILENT,
        *,
        leave: Sequence[str] = (),
    ) -> None:
        """Nothing is removed yet.

        Args:
            original: The whole model, which the refits aim at.
            data: Bound to its inputs: three of four batches refit, the others judge.
            saved: What a block costs; those that cost nothing stay.
            how: Options of the refits.
            progress: Told the blocks tried.
            leave: Patterns of names whose blocks stay.
        """
        self._how = how or Repair()
        self._original, self._data = known_shapes(original.clone()), data
        self._saved, self._progress, self._leave = saved, progress, leave
        self._batch = batch_for(len(data), self._how.batch)
        self._running = Shortened(self._original)
        self._last: dict[str, float] = {}
        self._names = floating_outputs(original)
        self._shapes = concrete_shapes(original, data.head(1).inputs, 1).shapes
        self._ended = not self._names
        self.trace = [Shortened(original)]

    def damages(self) -> dict[str, float]:
        """Block → error at the outputs without it alone, the layer in front of the gap refitted.

        Of all blocks of the original, before any is removed.
        """
        assert len(self.trace) == 1, "nothing was removed"
        blocks = self._blocks(self._running.model)
        with self._progress.stage("remove a block", total=len(blocks)) as advance:
            found = {}
            for one in self._estimates(blocks):
                found[one.block.add] = one.error
                advance(1)
        return found

    def without(self, count: int) -> Shortened | None:
        """The graph without so many blocks, none of it repaired; None where that is too many."""
        while len(self.trace) <= count and self._go_on():
            pass
        return self.trace[count] if count < len(self.trace) else None

    def _go_on(self) -> bool:
        """Remove one more; whether there was one."""
        best = None if self._ended else self._cheapest()
        self._ended = best is None or best.error >= RUINED
        if best is None or self._ended:
            return False
        plain = self.trace[-1]
        same = next(b for b in self._blocks(plain.model) if b.add == best.block.add)
        self._last.pop(best.block.add, None)
        self._running = best.short
        self.trace.append(replace(without(plain, same), error=best.error))
        return True

    def _cheapest(self) -> _Estimate | None:
        """The block of least damage for what it saves, of those that looked best before."""
        model = self._running.model
        blocks = {b.add: b for b in self._blocks(model) if self._saved(b) > 0}
        if not self._last:
            tried = likeliest(model, list(blocks.values()), self._data, self._batch)
        else:
            known = [name for name in self._last if name in blocks]
            tried = [blocks[name] for name in sorted(known, key=self._last.__getitem__)[:FRESH]]
        if not tried:
            return None
        found = {}
        with self._progress.stage("remove a block", total=len(tried)) as advance:
            for one in self._estimates(tried):
                found[one.block.add] = one
                advance(1)
        before = self.trace[-1].error
        prices = {n: (one.error - before) / self._saved(one.block) for n, one in found.items()}
        self._last |= prices
        return found[min(prices, key=prices.__getitem__)]

    def _blocks(self, model: ir.Model) -> list[Block]:
        found = find_blocks(model, shapes=self._shapes)
        return [block for block in found if not block.is_left(self._leave)]

    def _estimates(self, blocks: Sequence[Block]) -> Iterator[_Estimate]:
        """What each comes to, in the graph's order: what is in front of them is run once."""
        model = self._running.model
        layers, places = layers_of(model), {n.name: i for i, n in enumerate(model.graph)}
        fronts = {block.add: _in_front(layers, block) for block in blocks}

        def at(block: Block) -> str:
            front = fronts[block.add]
            return block.add if front is None else front.name

        now, then = self._frontier(model), self._then()
        for block in sorted(blocks, key=lambda one: places[at(one)]):
            now.advance(at(block))
            if isinstance(then, Frontier):
                then.advance(at(block))
            yield self._estimate(block, fronts[block.add], now, then)

    def _estimate(
        self, block: Block, front: Layer | None, now: Frontier, then: Source
    ) -> _Estimate:
        short = without(self._running, block, draft=True)
        if front is not None and why_not_gathered(front, self._how.memory) is None:
            self._refit(short, block, front, now, then)
        made = now.of(short.model).batches(self._names, divided(len(now))[1])
        return _Estimate(block, short, relative_error(self._names, self._wanted, made))

    def _refit(
        self, short: Shortened, block: Block, front: Layer, now: Frontier, then: Source
    ) -> None:
        """Fit the layer in front of the gap of `short` to what the original has behind it."""
        stream = stream_of(front)
        if stream is not None and stream.value.name != block.before:
            stream = None
        problem = Problem(
            front,
            stream,
            then,
            now,
            Restriction(_NOTHING, {}),
            short.aims,
            min(self._room // 2, PIECE),
            self._how.rows or ROWS,
        )
        has_bias = front.bias_value is not None
        ridge = self._how.options.candidates(front)[-1]
        try:
            seen = seen_moments(problem, divided(len(now))[0])
            matrix, bias = solve(seen, ridge, front.matrix(), affine=has_bias)
        except np.linalg.LinAlgError:
            return  # it stays as it is
        own = layers_of(short.model)[front.name]
        write(short.model, own, matrix, bias if has_bias else None)

    @property
    def _room(self) -> int:
        return (self._how.memory or MEMORY) // 4

    def _frontier(self, model: ir.Model) -> Frontier:
        threads = self._how.threads
        return Frontier(model, self._data, batch=self._batch, room=self._room, threads=threads)

    def _then(self) -> Source:
        """The original's values behind all blocks: kept where they fit, else run through again."""
        return self._frontier(self._original) if self._aims is None else self._aims

    @cached_property
    def _aims(self) -> "_Kept | None":
        names = [block.total for block in self._blocks(self._original)]
        return _Kept.of(self._frontier(self._original), names, 2 * self._room)

    @cached_property
    def _wanted(self) -> list[dict[str, Values]]:
        front = self._frontier(self._original)
        return list(front.batches(self._names, divided(len(front))[1]))


@dataclass(frozen=True)
class _Kept:
    """Values of all batches in memory."""

    found: Sequence[Mapping[str, Values]]

    @classmethod
    def of(cls, front: Frontier, names: Sequence[str], room: int) -> "_Kept | None":
        """Run a model once; None where the values take more than `room` bytes."""
        found, size = list[Mapping[str, Values]](), 0
        for made in front.batches(names):
            found.append(made)
            size += sum(array.nbytes for array in made.values())
            if size / len(found) * len(front) > room:
                return None
        return cls(found)

    def batches(
        self, names: Sequence[str], pick: Callable[[int], bool]
    ) -> Iterator[Mapping[str, Values]]:
        """See `Source`."""
        del names
        return (made for number, made in enumerate(self.found) if pick(number))


_NOTHING = Grouping((), (), ())


def _in_front(layers: Mapping[str, Layer], block: Block) -> Layer | None:
    """The last layer that makes the stream in front of a gap, alone or added into it."""
    if block.before is None:
        return None
    found = None
    for layer in layers.values():
        stream = stream_of(layer)
        reached = layer.output if stream is None else stream.value
        is_own = len(layer.weight_value.uses()) == 1
        if block.before in (layer.output.name, reached.name) and is_own:
            found = layer
    return found
