"""`compress` of a model whose weights exceed `--memory`: one block after the other.

Load a block, run it in float for the samples of the next, calibrate, decide, write, go on. No more
is in memory than one block and what `--memory` allows beside it: weights are mapped from the
model's files and given back, what blocks hand on lies on disk, and so do their results.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import psutil

from calibration.collect import fitting_batch, layout_of
from calibration.dataset import CalibrationSet
from calibration.encoders.model_folder import model_folder
from calibration.preprocess import Preprocess
from calibration.sources.spooled import Spool, Spooled, SpooledSource
from compressor.capture.inputs import Inputs, sized
from compressor.checkpoint.data import data_of
from compressor.checkpoint.prepared import Prepared
from compressor.commands.stream_account import Streamed
from compressor.commands.stream_block import (
    JUDGED,
    PROBE,
    BlockDone,
    BlockTask,
    Part,
    recipe_of,
    worked_on,
)
from compressor.commands.stream_cut import (
    handed_on,
    loaded,
    named_inputs,
    require_streamable,
    with_specs,
)
from compressor.commands.stream_plan import plans_of
from compressor.commands.stream_runner import each_run
from compressor.errors import CaptureError
from compressor.evaluation.grounds import why_degenerate
from compressor.graph.batch import batch_symbol, fixed_batch
from compressor.graph.sizes import solve
from compressor.graph.stretches import Stretch, stretches
from compressor.graph.tensors import Array, Dimension, TensorSpec
from compressor.plan.plan import GraphPlan
from compressor.quantization.matrices import find_matrices
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.data import require_data
from compressor.search.data_split import DataSplit, split_data
from compressor.system.progress import Progress
from compressor.system.workers import Workers
from exporters.base import Target

PARTS = 16
"""A block's weights take so many times less than the memory, where the graph can be cut so."""
COPIES = 3
"""How often weights of a block lie in memory while it is worked on: in the runtime, in the order
of its kernels, and as what they become."""
SOLVING = 4 / 7
"""Share of what is left that second moments may take: to factor some takes three copies more."""
LEAST = 2**26
"""Bytes that a block may take beside its weights, whatever is left."""
READ = 32
"""Samples that are spooled at a time."""


@dataclass
class _Run:
    """How far a run has come.

    Attributes:
        path: The model's file.
        recipe: What is asked for.
        target: What it is for.
        progress: Where progress is shown.
        scratch: A folder for what is not kept.
        workers: Other processes that work on blocks; None where this one does.
        model: The whole graph, without a weight in memory.
        cut: Its blocks.
        specs: Inputs, and what has been handed on so far, by name.
        split: Which samples serve which purpose.
        arrays: What lies on disk: value → samples.
        used: How many samples calibrate.
        judged: How many judge blocks by themselves.
        plan: The plan of an earlier run that is replayed; None where blocks are decided on.
        plans: What that decided, by block.
        batch: Samples that all blocks so far could be run with.
        tasks: The blocks so far, as they were worked on.
    """

    path: Path
    recipe: Recipe
    target: Target
    progress: Progress
    scratch: Path
    workers: Workers | None
    model: ir.Model
    cut: tuple[Stretch, ...]
    specs: dict[str, TensorSpec]
    split: DataSplit
    plan: Path | None
    plans: Mapping[str, GraphPlan]
    arrays: dict[str, Spooled] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    used: int = 0
    judged: int = 0
    batch: int = READ
    tasks: list[BlockTask] = field(default_factory=list)

    @property
    def memory(self) -> int:
        """What was allowed."""
        assert self.recipe.quantize.memory is not None, "without a limit nothing is streamed"
        return self.recipe.quantize.memory

    @property
    def rows(self) -> int:
        """Samples on disk."""
        return self.used + self.judged or PROBE

    @property
    def counting(self) -> Dimension:
        """The size that counts samples."""
        inputs = [self.specs[v.name or ""] for v in self.model.graph.inputs]
        return batch_symbol(inputs) or fixed_batch(inputs) or 1

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """Matrices whose rows some node looks up."""
        return tuple(m.name for m in find_matrices(self.model)[0] if m.is_table)


def streamed(
    path: Path,
    data: tuple[object, object],
    plan: Path | None,
    *,
    recipe: Recipe,
    target: Target,
    scratch: Path,
    workers: Workers | None,
    progress: Progress,
) -> Streamed:
    """Work on a model block by block.

    Args:
        path: The ONNX file, its weights in files beside it.
        data: Calibration and evaluation data, as `compress` takes them.
        plan: The plan of an earlier run that is to be replayed; None to decide.
        recipe: What is asked for.
        target: What it is for.
        scratch: Where blocks, and what they hand on, lie.
        workers: Other processes to work on blocks, which see the same files.
        progress: Where progress is shown.

    Returns:
        What became of each block, for the account.

    Raises:
        RecipeError: What is asked for is not decided block by block.
        CaptureError: The graph cannot be cut so that each block has rows of samples.
    """
    require_streamable(recipe, target, path)
    with progress.stage("cut into blocks"):
        run = _begun(path, data, plan, recipe, target, scratch, workers, progress)
        _spool_inputs(run)
    done: dict[int, BlockDone] = {}
    with progress.stage("work on blocks", total=len(run.cut)) as advance:
        for index, found in _worked(run):
            done[index] = found
            advance(1)
    return Streamed(
        path, recipe, target, run.model, run.cut, run.split, scratch,
        tuple(done[index] for index in range(len(run.cut))), tuple(run.tasks), run.batch,
    )  # fmt: skip


def _begun(
    path: Path, data: tuple[object, object], plan: Path | None, recipe: Recipe, *others: Any
) -> _Run:
    target, scratch, workers, progress = others
    model = loaded(path, target)
    specs = named_inputs(model, path)
    calibration, evaluation = data_of(model, data, recipe, model_folder(path))
    require_data(recipe, calibration, evaluation)
    first = calibration or evaluation
    inputs = sized(specs, {} if first is None else dict(first.head(PROBE).inputs))
    prepared = Prepared(
        str(path), path, model, True, (), (), calibration, evaluation, captured_at=inputs
    )
    split = _split(prepared, recipe, progress)
    memory = recipe.quantize.memory
    assert memory is not None, "without a limit nothing is streamed"
    cut = stretches(model, memory // PARTS)
    known = {spec.name: spec for spec in specs}
    plans = {} if plan is None else plans_of(plan, target, _names(len(cut)))
    run = _Run(
        path, recipe, target, progress, scratch, workers, model, cut, known, split, plan, plans
    )
    run.sizes = dict(solve(specs, _probe(inputs), "the data"))
    return run


def _split(prepared: Prepared, recipe: Recipe, progress: Progress) -> DataSplit:
    """Which samples serve which purpose; none calibrates where they do not vary."""
    split = split_data(prepared, recipe.seed)
    if split.calibration is None:
        return split
    degenerate, odd = why_degenerate(split.calibration)
    said = odd if degenerate is None else (degenerate,)
    for notice in said:
        progress.notice(notice)
    split = replace(split, notices=(*split.notices, *said), degenerate=degenerate)
    if degenerate is None or recipe.quantize.keep_ruined:
        return split
    return replace(split, calibration=None)


def _names(count: int) -> tuple[str, ...]:
    return tuple(f"block-{index:03}" for index in range(count))


def _probe(inputs: Inputs) -> dict[str, Array]:
    """Inputs of a first call: samples, or seeded numbers where there are none."""
    return {name: np.asarray(array) for name, array in inputs.of(PROBE).arrays().items()}


def _spool_inputs(run: _Run) -> None:
    """The samples of all inputs on disk: first those that calibrate, then some that judge."""
    folder = run.scratch / "inputs"
    folder.mkdir()
    spool, split = Spool(folder), run.split
    judging = None if split.quality is None else split.quality.take(JUDGED)
    for role, data in (("used", split.calibration), ("judged", judging)):
        for batch in () if data is None else data.batches(READ):
            spool.add(batch.inputs)
            setattr(run, role, getattr(run, role) + len(batch))
    if not run.used + run.judged:
        specs = tuple(run.specs.values())
        spool.add(_probe(sized(specs, {})))
    run.arrays |= spool.close()


def _worked(run: _Run) -> Iterator[tuple[int, BlockDone]]:
    """What becomes of each block, as it is known."""
    waiting: dict[int, int] = {}
    for index, (name, stretch) in enumerate(zip(_names(len(run.cut)), run.cut, strict=True)):
        folder = run.scratch / name
        folder.mkdir()
        task = _task(run, name, stretch, folder)
        run.tasks.append(task)
        _hand_on(run, index, task)
        if run.workers is None:
            yield index, worked_on(task)
        else:
            waiting[run.workers.submit(worked_on, task)] = index
            while len(waiting) > run.workers.count:
                yield _gathered(run, waiting)
        _forget(run, min([index + 1, *waiting.values()]))
    while waiting:
        yield _gathered(run, waiting)


def _gathered(run: _Run, waiting: dict[int, int]) -> tuple[int, BlockDone]:
    assert run.workers is not None, "something runs there"
    ticket, answer = run.workers.gather()
    index = waiting.pop(ticket)
    if isinstance(answer, BaseException):
        raise answer
    return index, answer


def _task(run: _Run, name: str, stretch: Stretch, folder: Path) -> BlockTask:
    """A block, with the memory that it may take."""
    types = {value: ir.TensorType(ir.DataType.from_numpy(run.specs[value].dtype))
             for value in stretch.reads}  # fmt: skip
    part = with_specs(stretch.of(run.model, types), tuple(run.specs.values()))
    specs = tuple(run.specs[value.name or ""] for value in part.graph.inputs)
    resident = psutil.Process().memory_info().rss
    left = run.memory - resident - COPIES * stretch.weight_bytes
    return BlockTask(
        name=name,
        part=Part.of(part, folder / "float.onnx", run.path.resolve().parent, run.tables),
        specs=specs,
        arrays={spec.name: run.arrays[spec.name] for spec in specs},
        used=run.used,
        judged=run.judged,
        recipe=recipe_of(run.recipe, max(LEAST, int(left * SOLVING))),
        folder=folder,
        plan=run.plans.get(name),
        arrays_of_plan=None if run.plan is None else run.plan.with_suffix(".safetensors"),
    )


def _hand_on(run: _Run, index: int, task: BlockTask) -> None:
    """Run the float block on all samples, and keep what later blocks read."""
    later = {name for stretch in run.cut[index + 1 :] for name in stretch.reads}
    wanted = [name for name in run.cut[index].makes if name in later]
    part = task.part.opened()
    memory = task.recipe.quantize.memory
    data = _all(task, run.rows)
    fixed = fixed_batch(task.specs)
    layout = layout_of(part, [value.name or "" for value in part.graph.outputs], data)
    size = fixed or fitting_batch(layout, run.recipe.quantize.batch, memory)
    run.batch = min(run.batch, size)
    if not wanted:
        return
    folder = task.folder / "made"
    folder.mkdir()
    spool = Spool(folder)
    counts = [min(size, run.rows - start) for start in range(0, run.rows, size)]
    calls = (batch.filled(size) if fixed else batch.inputs for batch in data.batches(size))
    for count, made in zip(counts, each_run(part, calls), strict=True):
        for name in wanted:
            _require_rows(name, made[name], fixed or count, run)
        spool.add({name: made[name][:count] for name in wanted})
    for name, found in spool.close().items():
        run.arrays[name] = found
        shape = handed_on(name, run.model, found.shape, run.sizes, run.counting)
        run.specs[name] = TensorSpec(name, found.dtype, shape)


def _all(task: BlockTask, rows: int) -> CalibrationSet:
    source = SpooledSource({spec.name: task.arrays[spec.name] for spec in task.specs}, 0, rows)
    made = CalibrationSet(source, Preprocess(), "calibration", seed=task.recipe.seed)
    return made.bind(task.specs)


def _require_rows(name: str, array: Array, count: int, run: _Run) -> None:
    if array.ndim and len(array) == count:
        return
    raise CaptureError(
        f"{run.path}: {name!r}, which crosses from one block to the next, is {list(array.shape)} "
        f"for {count} samples, and has no row for each",
        hint="Leave --memory out, and all of the model is worked on at once; or give more, so that "
        "it is cut elsewhere.",
    )


def _forget(run: _Run, index: int) -> None:
    """Remove from disk what no block from `index` on reads; inputs stay."""
    later = {name for stretch in run.cut[index:] for name in stretch.reads}
    inputs = {value.name for value in run.model.graph.inputs}
    for name in [name for name in run.arrays if name not in later and name not in inputs]:
        run.arrays.pop(name).path.unlink(missing_ok=True)
