"""What a user's loop makes of its graphs together."""

from pydantic import Field

from compressor.results.graph_report import BudgetResult
from compressor.results.measured import Measured
from compressor.results.measurements import LatencyResult
from compressor.results.pruning import GoalResult
from compressor.results.records import Record


class LoopGraph(Record):
    """What a graph is to its pipeline.

    Attributes:
        calls: How often one unit calls it, on average.
        share: Of the time of its graphs that one unit takes in it, 0 to 1, as captured.
        errors: Signal to noise of its outputs in dB by the part of the run that its calls lie in,
            from first to last, on what the original feeds it; empty where it ships as it was.
        noun: What a call makes, as "token" or "step"; "call" where the loop does not say.
        first: From the beginning of a unit until the first call has its result; None where a unit
            calls the graph once, or where it was not measured.
        each: The time from the end of the first call to that of the last, divided by the calls in
            between; likewise.
    """

    calls: float
    share: float
    errors: tuple[float, ...] = ()
    noun: str = "call"
    first: LatencyResult | None = None
    each: LatencyResult | None = None


class GeneratedUnit(Record):
    """A unit that the loop generated before and after, with the same seed.

    Attributes:
        seed: Its seed.
        error: Norm of the difference over the norm of the original's; of whole numbers, the share
            that differs.
        image: A PNG of both side by side, the original on the left, in a data URI.
        sound: Whether that is of spectrograms.
        before: The original's row of whole numbers, such as tokens, or its text: what is around the
            first difference, where it is long.
        after: The result's.
        parts_at: The first place where the rows differ, in numbers or words from 0.
        marked: The same place in `before` and `after`, in words from 0.
    """

    seed: int
    error: float
    image: str | None = Field(None, pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$")
    sound: bool = False
    before: str | None = None
    after: str | None = None
    parts_at: int | None = None
    marked: int | None = None


class UnitCluster(Record):
    """Units, of those that differ most, whose error lies in the same places.

    Attributes:
        units: How many there are.
        share: Of the units that differ most, 0 to 1.
        error: Their mean error.
        example: The one that is nearest to all of them.
        common: What they have in common, in sentences; empty where nothing was found.
    """

    units: int
    share: float
    error: float
    example: GeneratedUnit
    common: tuple[str, ...] = ()


class PipelineResult(Measured):
    """The user's loop on what ships against the loop on what was captured, with the same seeds.

    Latency is of one unit, on the graphs that speed is compared with and on what ships; sizes are
    those of all graphs together, MACs those of one unit.

    Attributes:
        name: The function.
        units: How many were generated to judge.
        traced: How many were generated to calibrate.
        graphs: In the order in which they were decided, the costliest first.
        budget: What became of the budget; None without one.
        goal: What became of how far to prune, by the figures of the whole; None where nobody said
            so.
        shared_bytes: What is saved by storing once what graphs have in common. The result's size is
            without it; each graph's own size counts all that it reads.
        stepped_back: Graphs that went back to float, as all together broke the budget.
        worst: The units that differ most.
        worst_reason: Why there are none.
        clusters: Kinds of units among the quarter that differs most, the largest first; empty where
            there are too few of them, or nothing sets some apart.
    """

    name: str
    units: int
    traced: int
    graphs: dict[str, LoopGraph]
    budget: BudgetResult | None = None
    goal: GoalResult | None = None
    shared_bytes: int = 0
    stepped_back: tuple[str, ...] = ()
    worst: tuple[GeneratedUnit, ...] = ()
    worst_reason: str | None = None
    clusters: tuple[UnitCluster, ...] = ()
