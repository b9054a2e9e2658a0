"""A model whose time depends on the sample, timed over many different ones.

A call of such a runner is one inference of each of them in turn, so that all that is known of
timing two models side by side holds for the sums, and for means of one inference.
"""

from collections.abc import Callable, Sequence

from compressor.evaluation.feeding import feeds_for
from compressor.graph.tensors import Arrays
from compressor.results.measurements import LatencyResult, Timing
from exporters.base import PassingRunner, Runner


class Cycling(PassingRunner):
    """A runner whose bound call runs all of some inferences once."""

    def __init__(self, runner: Runner, calls: Sequence[Arrays]) -> None:
        """Over an open runner.

        Args:
            runner: What runs.
            calls: The feeds of each inference.
        """
        super().__init__(runner)
        self._calls = calls

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """All of the inferences, whatever else is given."""
        del feeds
        bound = [self.runner.bind(feeds_for(self.runner, call)) for call in self._calls]

        def all_of_them() -> None:
            for run in bound:
                run()

        return all_of_them


def over(runner: Runner, calls: Sequence[Arrays]) -> Runner:
    """The runner over some inferences; as it is where there are none."""
    return Cycling(runner, calls) if calls else runner


def mean_of(found: LatencyResult, count: int) -> LatencyResult:
    """Times of one inference, of the times of so many; as they are for none."""
    if not count:
        return found
    return found.model_copy(
        update={"baseline": _part(found.baseline, count), "result": _part(found.result, count)}
    )


def _part(timing: Timing | None, count: int) -> Timing | None:
    if timing is None:
        return None
    return timing.model_copy(
        update={
            "median_ms": timing.median_ms / count,
            "p95_ms": timing.p95_ms / count,
            "trace": tuple(one / count for one in timing.trace),
        }
    )
