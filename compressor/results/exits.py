"""What early exits came to, and `report.json` holds of it."""

from compressor.results.measurements import LatencyResult
from compressor.results.records import Record


class ExitFigure(Record):
    """One place where samples leave; the last is the end of the graph.

    Attributes:
        value: What is read there; the graph's output at the end.
        depth: Share of the multiply-accumulates that are done there.
        threshold: How sure a sample has to be to leave; None at the end.
        left: Share of the samples that are answered there; None where no samples told.
        agreement: Share of these that the whole graph answers alike; None where there are none.
        accuracy: Share of these that are right, by their labels; None without labels.
    """

    value: str
    depth: float
    threshold: float | None = None
    left: float | None = None
    agreement: float | None = None
    accuracy: float | None = None


class ExitsResult(Record):
    """What became of `--exits`.

    Attributes:
        asked: How many exits at most.
        kept: Whether the graph has exits.
        reason: Why, in a sentence.
        places: Where samples leave, in order; empty where nothing was chosen.
        latency: The graph with exits against the same without, in turn over `timed` different
            inferences; its times are means of one. None where they were not raced.
        timed: How many inferences that is.
        samples: What the shares are of, which no decision has seen.
        trained: Samples that the heads were trained on.
        parameters: Numbers of the heads.
    """

    asked: int
    kept: bool
    reason: str
    places: tuple[ExitFigure, ...] = ()
    latency: LatencyResult | None = None
    timed: int = 0
    samples: int = 0
    trained: int = 0
    parameters: int = 0
