"""A run over the graphs of a loop: which seeds serve which purpose, and how far it has come."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet, open_dataset
from calibration.encoders.model_folder import ModelFolder
from compressor.errors import CompressorError
from compressor.evaluation.yardstick import Yardstick
from compressor.pipelines.loop import SEED, Loop, Memory, Opener, Remembered, UserLoop
from compressor.recipe.recipe import Recipe
from compressor.results.graph_report import BudgetResult
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.session import Session
from compressor.system.progress import Progress
from exporters.base import CallShapes, Runner, Target

BATCH = 8
"""Units that are held at a time where they are compared."""
_BLOCK = 10**6
"""Seeds of one purpose."""
SEEDS = 2**32
"""How many seeds there are: more than that NumPy's older generators do not take."""
CONFIRMATIONS = 100
"""The first block of seeds that confirm."""
RESEEDED = 500
"""How many blocks further on the seeds lie that distributions are compared with."""
WORDS = "generated units"


@dataclass(frozen=True)
class Units:
    """Which seeds serve which purpose; no two share one.

    Attributes:
        base: The seed of the run.
        count: Units that judge, in each half.
        traced: Units that calibrate.
    """

    base: int
    count: int
    traced: int

    def seeds(self, block: int) -> range:
        """All seeds of a purpose."""
        first = (self.base * 1000 + block) * _BLOCK % SEEDS
        return range(first, first + _BLOCK)

    def of(self, block: int, count: int) -> CalibrationSet:
        """Seeds of a purpose."""
        first = self.seeds(block).start
        seeds = np.arange(first, first + count, dtype=np.int64) % SEEDS
        return open_dataset({SEED: seeds}, role="evaluation", seed=self.base)

    def reseeded(self, data: CalibrationSet) -> CalibrationSet:
        """As many seeds that serve nothing else, for the original's own units beside others."""
        seeds = np.concatenate([step.inputs[SEED] for step in data.batches(1024)])
        others = (seeds + RESEEDED * _BLOCK) % SEEDS
        return open_dataset({SEED: others}, role="evaluation", seed=self.base)


@dataclass
class Pipeline:
    """The graphs of a run and their loop.

    Attributes:
        loop: The user's function.
        target: Runs the graphs.
        originals: Name → the graph as captured.
        current: Name → what ships of it so far.
        calls: Name → shapes of the inputs of a call → how many calls had them.
        yardstick: What the final outputs are judged in.
    """

    loop: UserLoop
    target: Target
    originals: Mapping[str, ir.Model]
    current: dict[str, ir.Model]
    calls: Mapping[str, Mapping[CallShapes, int]] = field(default_factory=dict)
    yardstick: Yardstick | None = None
    memory: Memory = field(default_factory=Memory)

    def opened(
        self, models: Mapping[str, ir.Model], threads: int = 0, *, timed: bool = False
    ) -> Loop:
        """The loop on some graphs."""
        return Loop(self.loop, self.openers(models, threads, timed=timed))

    def original(self) -> Runner:
        """The loop on the graphs as captured, which makes each unit once."""
        return Remembered(self.loop, self.openers(self.originals), self.memory)

    def openers(
        self, models: Mapping[str, ir.Model], threads: int = 0, *, timed: bool = False
    ) -> dict[str, Opener]:
        """What opens some graphs on the target."""

        def opener(name: str, model: ir.Model) -> Opener:
            calls = self.calls.get(name, {})
            return lambda: self.target.open_in_loop(model, calls, threads=threads, timed=timed)

        return {name: opener(name, model) for name, model in models.items()}


@dataclass(frozen=True)
class PipelineJudge:
    """Judges a form of one graph by what the loop makes with the others as they are."""

    pipeline: Pipeline
    name: str
    batch: int = BATCH

    @property
    def yardstick(self) -> Yardstick | None:
        """What the final outputs are judged in."""
        return self.pipeline.yardstick

    def original(self) -> Runner:
        """The loop on the graphs as captured."""
        return self.pipeline.original()

    def opened(self, model: ir.Model) -> Runner:
        """The loop with a form of this graph."""
        return self.pipeline.opened({**self.pipeline.current, self.name: model})


@dataclass
class Graph:
    """One graph of the run.

    Attributes:
        session: Its own calibration, its own progress.
        data: Recorded calls.
        calls: How often one unit calls it.
        seconds: What that takes, as captured.
        outcome: What ships of it; None before that is decided.
    """

    session: Session
    data: DataSplit
    calls: float = 0.0
    seconds: float = 0.0
    outcome: Outcome | None = None

    @property
    def decided(self) -> Outcome:
        """What ships of it, once that is known."""
        assert self.outcome is not None, "it has been decided"
        return self.outcome


@dataclass
class Given:
    """What a run starts from.

    Attributes:
        loop: The user's function.
        target: What the graphs are for.
        recipe: What is asked for, of all graphs alike.
        progress: Where progress is shown.
        scratch: A folder for what is not kept.
        calibration: Graph → calibration data of its own; the loop gives the others theirs.
        folder: The model's folder that all graphs come from; None where they come from several.
    """

    loop: UserLoop
    target: Target
    recipe: Recipe
    progress: Progress
    scratch: Path
    calibration: Mapping[str, object]
    folder: ModelFolder | None

    @property
    def seed(self) -> int:
        """The seed of the single unit that is timed."""
        return self.recipe.seed % SEEDS


@dataclass
class Job(Given):
    """One run, and how far it has come.

    Attributes:
        units: Which seeds serve which purpose.
        looked_into: Seeds of units that call all graphs between them, as few as were found.
        pipeline: The graphs as they are, and the loop.
        graphs: Name → graph.
        budget: What became of the budget of all graphs together; None before, or without one.
        stepped_back: Graphs that went back to float.
        notices: What the user should know of all of them.
        shared_bytes: Bytes that graphs have in common and that are stored once.
        interrupted: Whether the user has ended the run: what there is by then is written.
    """

    units: Units
    looked_into: tuple[int, ...]
    pipeline: Pipeline
    graphs: dict[str, Graph]
    budget: BudgetResult | None = None
    stepped_back: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    shared_bytes: int = 0
    interrupted: bool = False

    @cached_property
    def order(self) -> list[str]:
        """The graphs, the costliest first."""
        return sorted(self.graphs, key=lambda name: -self.graphs[name].seconds)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Let an error say which graph it is of."""
    try:
        yield
    except CompressorError as error:
        raise type(error)(f"graph {name}: {error.message}", hint=error.hint) from error
