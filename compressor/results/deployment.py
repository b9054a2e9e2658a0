"""Which of several targets to deploy."""

from compressor.results.measurements import LatencyResult
from compressor.results.records import Record


class TargetRace(Record):
    """Two targets' artifacts of one model, timed in turn.

    Attributes:
        baseline: The target that was the best before.
        result: The target that it was raced with.
        latency: The race, `result` against `baseline`.
    """

    baseline: str
    result: str
    latency: LatencyResult


class Deployment(Record):
    """Which target's artifact to deploy, of those that one command made.

    Attributes:
        target: Its name; None where that is not known.
        reason: Why.
        races: The races, in order; each is with the best of those before.
    """

    target: str | None
    reason: str
    races: tuple[TargetRace, ...] = ()

    @property
    def words(self) -> str:
        """In a sentence."""
        if self.target is None:
            return f"Which target to deploy is not known: {self.reason}."
        return f"Deploy {self.target}: {self.reason}."
