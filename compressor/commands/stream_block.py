"""One block of a model that is worked on block by block: what it becomes by itself.

A block is a model of its own, whose samples are what the float blocks before it make of the user's.
So all that a run decides of a small model is decided of each block: ranges, rounding, which form is
faster. Blocks do not depend on each other, and other processes may take them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import onnx_ir as ir
import safetensors.numpy

from calibration.dataset import CalibrationSet
from calibration.preprocess import Preprocess
from calibration.sources.spooled import Spooled, SpooledSource
from compressor.capture.inputs import sized
from compressor.checkpoint.prepared import Prepared
from compressor.commands.stream_plan import with_arrays
from compressor.graph.cost import macs, parameters
from compressor.graph.files import save_model, without_weights
from compressor.graph.stretches import LOOKED_UP
from compressor.graph.tensors import TensorSpec
from compressor.layerwise.factor import own_threads
from compressor.plan.plan import GraphPlan, Plan
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.data import DataOptions
from compressor.recipe.loading import ModelOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.recipe import Recipe
from compressor.recipe.targets import available_target
from compressor.results.graph_report import NodePlacement
from compressor.results.measurements import LatencyResult
from compressor.results.records import StageRecord
from compressor.search.acceptance import NoBudget
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit, looked_at
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.search.strategy import decide
from compressor.system.progress import SILENT
from compressor.system.sparing import spared
from exporters.base import Target

MODEL, WEIGHTS = "model.onnx", "plan.safetensors"
JUDGED = 32
"""Samples on which a block by itself is looked at for ruin, at most."""
PROBE = 2
"""Samples of seeded numbers that show what blocks hand on where there is no data."""


@dataclass(frozen=True)
class Part:
    """The float graph of a block in a file, its weights where they lie.

    Attributes:
        graph: The file.
        weights: The folder that it refers to.
        tables: Matrices whose rows some block looks up.
    """

    graph: Path
    weights: Path
    tables: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: ir.Model, graph: Path, weights: Path, tables: tuple[str, ...]) -> "Part":
        """Write a graph, but for the weights that lie in files."""
        graph.write_bytes(without_weights(model))
        return cls(graph, weights, tables)

    def opened(self) -> ir.Model:
        """The graph; its weights are mapped as they are read."""
        model = ir.serde.deserialize_model(onnx.load(self.graph, load_external_data=False))
        for value in model.graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value.base_dir = str(self.weights)
            if value.name in self.tables:
                value.metadata_props[LOOKED_UP] = ""
        return model


@dataclass(frozen=True)
class BlockTask:
    """What it takes to work on a block.

    Attributes:
        name: How report and plan call it.
        part: Its float graph.
        specs: Its inputs.
        arrays: Input → samples of it.
        used: How many of these calibrate; what follows judges. None are the user's where it is 0.
        judged: How many judge.
        recipe: What is asked for, with the memory that this block may take.
        folder: Where what becomes of it goes.
        plan: What an earlier run decided; None where it is decided now.
        arrays_of_plan: The file with its arrays; None where there are none.
    """

    name: str
    part: Part
    specs: tuple[TensorSpec, ...]
    arrays: Mapping[str, Spooled]
    used: int
    judged: int
    recipe: Recipe
    folder: Path
    plan: GraphPlan | None = None
    arrays_of_plan: Path | None = None


@dataclass(frozen=True)
class BlockDone:
    """What became of a block; its graph lies in the folder of the task.

    Attributes:
        plan: What was decided; its arrays lie beside the graph.
        reason: Why that ships.
        records: The stages.
        float_reasons: Node → why it stays float.
        placement: What runs as integer.
        race: Its race against float; None where there was none.
        macs: Before and after, of one sample; None where they cannot be counted.
        macs_reason: Why not.
        parameters: Before and after.
    """

    plan: GraphPlan
    reason: str
    records: tuple[StageRecord, ...]
    float_reasons: Mapping[str, str] = field(default_factory=dict)
    placement: tuple[NodePlacement, ...] = ()
    race: LatencyResult | None = None
    macs: tuple[int | None, int | None] = (None, None)
    macs_reason: str | None = None
    parameters: tuple[int, int] = (0, 0)


def recipe_of(recipe: Recipe, memory: int) -> Recipe:
    """What a recipe asks of a block: without data, budget and goals, which are of the whole."""
    data = DataOptions(cache=recipe.data.cache, reuse=recipe.data.reuse)
    return recipe.model_copy(
        update={
            "model": ModelOptions(),
            "data": data,
            "budget": BudgetOptions(),
            "prune": PruneOptions(macs="none"),
            "quantize": recipe.quantize.model_copy(update={"memory": memory}),
            "measure": recipe.measure.model_copy(
                update={"metric": None, "output": None, "features": None, "memory": False}
            ),
            "output": None,
        }
    )


def worked_on(task: BlockTask) -> BlockDone:
    """Decide what becomes of a block, and write it.

    Raises:
        CompressorError: As a run of it by itself.
    """
    target, model = available_target(task.recipe), task.part.opened()
    data = _samples(task, 0, task.used)
    judging = _samples(task, task.used, task.used + task.judged)
    known = judging if data is None else data
    first = {} if known is None else dict(known.head(PROBE).inputs)
    prepared = Prepared(
        name=task.name, path=None, model=model, is_onnx=True, parity=(), records=(),
        calibration=data, evaluation=judging, captured_at=sized(task.specs, first),
    )  # fmt: skip
    split = DataSplit(data, judging, "samples that judge the whole", None)
    with own_threads():
        outcome = _decided(task, prepared, split, target)
    save_model(outcome.shipped, task.folder / MODEL, apart=True)
    return _done(outcome, prepared, target, task)


def _samples(task: BlockTask, first: int, stop: int) -> CalibrationSet | None:
    """Some of its samples; None where there are none of the user's."""
    if task.used + task.judged == 0 or first == stop:
        return None
    source = SpooledSource({spec.name: task.arrays[spec.name] for spec in task.specs}, first, stop)
    made = CalibrationSet(source, Preprocess(), "calibration", seed=task.recipe.seed)
    return made.bind(task.specs)


def _decided(task: BlockTask, prepared: Prepared, split: DataSplit, target: Target) -> Outcome:
    recipe = task.recipe
    if task.plan is not None:
        beside = task.arrays_of_plan
        plan = task.plan if beside is None else with_arrays(task.name, task.plan, beside)
        return replay(Session(prepared, recipe, target, SILENT), plan)
    prepared = looked_at(prepared, split, recipe, target, SILENT)
    session = Session(prepared, recipe, target, SILENT)
    return decide(session, split, NoBudget(session, split.quality, split.words))


def _done(outcome: Outcome, prepared: Prepared, target: Target, task: BlockTask) -> BlockDone:
    arrays = Plan(target=target.name, seed=0, graphs={task.name: outcome.plan}).weights
    if arrays:
        safetensors.numpy.save_file(arrays, task.folder / WEIGHTS)
    feeds = prepared.feeds(prepared.fixed_batch or 1, task.recipe.seed)
    before, after = (macs(one, feeds) for one in (prepared.model, outcome.shipped))
    raced = outcome.raced
    return BlockDone(
        plan=without_arrays(outcome.plan),
        reason=outcome.reason,
        records=outcome.records,
        float_reasons=dict(outcome.float_reasons),
        placement=spared(lambda: _placement(target, task.folder / MODEL), lambda _: ()),
        race=None if raced is None or raced.result is not outcome.shipped else raced.latency,
        macs=(before.macs, after.macs),
        macs_reason=before.reason,
        parameters=(parameters(prepared.model), parameters(outcome.shipped)),
    )


def without_arrays(plan: GraphPlan) -> GraphPlan:
    """The decisions as JSON has them: arrays lie in a file."""
    sealed = plan.model_copy(update={"rounded_for": plan.rounded_digest})
    return GraphPlan.model_validate_json(sealed.model_dump_json())


def _placement(target: Target, path: Path) -> tuple[NodePlacement, ...]:
    integer, floating = target.integer_nodes(path)
    return tuple(
        NodePlacement(operator=op, integer=integer.get(op, 0), floating=floating.get(op, 0))
        for op in sorted(integer.keys() | floating.keys())
    )
