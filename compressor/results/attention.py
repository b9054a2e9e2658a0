"""What efficient attention came to, and `report.json` holds of it."""

from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.records import Record


class AttentionLayer(Record):
    """One layer of attention.

    Attributes:
        name: Of its softmax.
        form: What it computes now, as plans write it; None where it is as it was.
        reason: Why, in a sentence.
        tokens: Length that it was timed at; None where it was not.
        latency: The layer in that form against as it was, each by itself; None where it was not
            timed.
        damage: What the whole graph loses with this layer alone in that form, before it is
            trained, in units of the metric that decides; None where that was not measured.
    """

    name: str
    form: str | None = None
    reason: str = ""
    tokens: int | None = None
    latency: LatencyResult | None = None
    damage: float | None = None


class AttentionResult(Record):
    """What became of `--attention`.

    Attributes:
        asked: The form, as it was asked for.
        kept: Whether layers have it.
        reason: Why, in a sentence.
        layers: Every layer of attention, in the order of the graph.
        latency: The whole graph with it against the same without, as both would ship, in turn; None
            where they were not raced.
        untrained: Quality with the layers in that form before training, on `samples` samples.
        trained: The same of what was trained, at the precision that would ship.
        samples: What the two and the damages are of; 0 where nothing was measured.
    """

    asked: str
    kept: bool
    reason: str
    layers: tuple[AttentionLayer, ...] = ()
    latency: LatencyResult | None = None
    untrained: QualityResult | None = None
    trained: QualityResult | None = None
    samples: int = 0
