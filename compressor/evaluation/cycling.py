"""A model whose time depends on the sample, timed over many different ones.

A call of such a runner is one inference of each of them in turn, so that all that is known of
timing two models side by side holds for the sums, and for means of one inference.
"""

from collections.abc import Callable, Sequence
from typing import Self

from compressor.evaluation.feeding import feeds_for
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.results.measurements import LatencyResult, Timing
from exporters.base import Runner


class Cycling:
    """A runner whose bound call runs all of some inferences once."""

    def __init__(self, inner: Runner, calls: Sequence[Arrays]) -> None:
        """Over an open runner.

        Args:
            inner: What runs.
            calls: The feeds of each inference.
        """
        self._inner, self._calls = inner, calls

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """As of the runner."""
        return self._inner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """As of the runner."""
        return self._inner.outputs

    @property
    def on_caller(self) -> bool:
        """As of the runner."""
        return self._inner.on_caller

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._inner.__exit__(*raised)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """One inference."""
        return self._inner.run(feeds)

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """All of the inferences, whatever else is given."""
        del feeds
        bound = [self._inner.bind(feeds_for(self._inner, call)) for call in self._calls]

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
