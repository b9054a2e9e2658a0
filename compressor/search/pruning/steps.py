"""What is done to a float graph to make it smaller: units chosen, cut, checked, repaired."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.graph.patterns import unmatched
from compressor.graph.tensors import Array
from compressor.pruning import Grouping, Keep, check, cut, find_groups
from compressor.pruning.blocks import Shortened, find_blocks
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.pruning.reconstruction.sparsity import GROUP
from compressor.pruning.selection.allocation import Limits, can_shrink
from compressor.pruning.selection.costs import Cost, Sizes
from compressor.pruning.selection.importance import Scores, Scoring
from compressor.pruning.selection.select import Selecting, Selection, Weighing, select
from compressor.recipe.goal import NEAR
from compressor.results.pruning import RepairRecord
from compressor.search.session import Session

CHECKED = 2
"""Samples on which a cut graph is compared with the masked original."""
COMPARED = 256
"""Samples on which blocks, and ways to weigh scores, are compared, at most."""
JUDGED = 128
"""Samples on which numbers of blocks are compared, each with channels to the target, at most."""
ROWS = 64
"""Rows per column that a layer is repaired with: twice the samples with so many tell more than all
rows of half as many, in half the time (docs/pruning.md)."""

CostOf = Callable[[Sizes], Cost]
"""From the sizes of a graph to what keeping its groups costs."""


@dataclass(frozen=True)
class Grouped:
    """A float graph and what of it can be removed; nothing is known yet of what matters.

    Attributes:
        model: The graph; it stays as it is.
        grouping: Its groups.
        sizes: Their sizes.
        has_blocks: Whether whole residual blocks may go.
        notices: Of --prune-leave, what matches nothing.
    """

    model: ir.Model
    grouping: Grouping
    sizes: Sizes
    has_blocks: bool
    notices: tuple[str, ...] = ()

    def can_shrink(self, session: Session, multiple: int) -> bool:
        """Whether anything may go.

        Args:
            session: What has to stay.
            multiple: What stays of a group is a multiple of this.
        """
        return self.has_blocks or can_shrink(self.grouping, limits(session, multiple))


@dataclass(frozen=True)
class Base:
    """What channels are removed from: the float graph, whole or without some blocks.

    Attributes:
        short: The graph.
        grouping: Its groups.
        sizes: Their sizes.
        scores: Damage of each unit.
    """

    short: Shortened
    grouping: Grouping
    sizes: Sizes
    scores: Scores

    @property
    def blocks(self) -> int:
        """How many were removed."""
        return len(self.short.removed)


def grouped(session: Session, model: ir.Model, samples: int) -> Grouped:
    """Find the groups of the float graph.

    Args:
        session: The captured graph and what is asked for.
        model: The float graph.
        samples: How many there are to calibrate on: blocks are compared on some of them.
    """
    options, feeds = session.recipe.prune, checked_feeds(session)
    with session.progress.stage("find groups"):
        grouping = find_groups(model, feeds)
    wanted = options.blocks and options.repair and samples >= 2 and options.threshold is None
    has_blocks = wanted and any(not b.is_left(options.leave) for b in find_blocks(model, feeds))
    notices = unmatched(model, options.leave, "--prune-leave", "nothing alone")
    for notice in notices:
        session.progress.notice(notice)
    return Grouped(model, grouping, Sizes(model, grouping, feeds), has_blocks, notices)


def limits(session: Session, multiple: int) -> Limits:
    """What has to stay."""
    options, goal = session.recipe.prune, session.recipe.prune.goal
    threshold = None
    if goal is not None and goal.kind == "threshold":
        threshold = goal.amount ** (1 if options.method == "l1" else 2)  # of sums of squares
    return Limits(
        least=options.least,
        multiple=multiple,
        leave=options.leave,
        finer=() if options.round else session.target.finer_multiples(multiple),
        threshold=threshold,
        most=NEAR if goal is not None and goal.counted else None,
        finest=GROUP if options.sparsity else 1,
    )


def checked_feeds(session: Session) -> dict[str, Array]:
    """The inputs of one run, which tell shapes and on which a cut is checked."""
    batch = session.prepared.fixed_batch or CHECKED
    return session.prepared.feeds(batch, session.recipe.seed)


@dataclass(frozen=True)
class Shrinking:
    """Each step from a base to a smaller graph.

    Attributes:
        session: The captured graph, and what is asked for.
        graph: The float graph that a repair aims at.
        data: Calibration samples.
        multiple: What stays of a group is a multiple of this.
    """

    session: Session
    graph: ir.Model
    data: CalibrationSet
    multiple: int

    @property
    def batch(self) -> int:
        """Samples per run."""
        return self.session.prepared.fixed_batch or max(1, min(16, len(self.data) // 4))

    def scoring(self) -> Scoring:
        """How units are scored."""
        options, seed = self.session.recipe.prune, self.session.recipe.seed
        return Scoring(
            options.method,
            batch=self.batch,
            memory=self.session.recipe.quantize.memory,
            least=options.least,
            seed=seed,
        )

    def repair(self, aims: Mapping[str, str]) -> Repair:
        """How what stays is repaired."""
        memory = self.session.recipe.quantize.memory
        return Repair(batch=self.batch, memory=memory, aims=aims, rows=ROWS)

    def quick(self) -> Repair:
        """How layers are refitted where that is only compared; its own default of rows."""
        return replace(self.repair({}), rounds=0, rows=None)

    def select(
        self,
        base: Base,
        cost: Cost,
        target: float,
        weighings: tuple[Weighing, ...],
        *,
        whole: float,
        alone: bool = False,
    ) -> Selection:
        """Which units go, so that the cost comes down to a target from that of the whole graph.

        Args:
            base: What they are units of.
            cost: What is counted.
            target: What may be left.
            weighings: Those that are compared.
            whole: The cost of the whole graph.
            alone: Whether the error of a single weighing is asked for, too.
        """
        options = self.session.recipe.prune
        how = Selecting(
            self.scoring(),
            self.repair(base.short.aims),
            replace(limits(self.session, self.multiple), whole=whole),
            seed=self.session.recipe.seed,
            known=base.scores,
            weighings=weighings,
            compared=options.repair,
            alone=alone,
        )
        return select(
            self.graph,
            base.grouping,
            self.data.take(JUDGED if alone else COMPARED),
            cost,
            target,
            how,
            self.session.progress,
            start=base.short.model,
        )

    def cut(self, base: Base, keep: Keep) -> ir.Model:
        """Cut, and check that by the oracle.

        Raises:
            PruningError: The cut graph does not compute what the original does without what was
                removed.
        """
        with self.session.progress.stage("cut"):
            check(base.short.model, base.grouping, keep, checked_feeds(self.session))
            return cut(base.short.model, base.grouping, keep)

    def repaired(
        self, base: Base, smaller: ir.Model, keep: Keep, data: CalibrationSet, how: Repair
    ) -> tuple[ir.Model, RepairRecord]:
        """Fit what stays to the original's outputs."""
        progress = self.session.progress
        return repair(self.graph, smaller, base.grouping, keep, data, how, progress)
