"""A runner that others look over the shoulder of: it runs as it did, and its calls are seen."""

from collections.abc import Callable, Mapping
from typing import Self

from compressor.graph.cache_notes import CacheNote
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import Runner


class Watched:
    """A runner, passed through; who watches does so in `run`. What `bind` times is not seen."""

    def __init__(self, runner: Runner) -> None:
        """Watch a runner."""
        self._runner = runner

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._runner.__exit__(*raised)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those of the runner."""
        return self._runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the runner."""
        return self._runner.outputs

    @property
    def signature(self) -> object:
        """What the runner of a module knows of it; None for that of a graph."""
        return getattr(self._runner, "signature", None)

    @property
    def caches(self) -> Mapping[str, CacheNote]:
        """Those of integers that the runner shows as they are."""
        found: Mapping[str, CacheNote] = getattr(self._runner, "caches", {})
        return found

    @property
    def on_caller(self) -> bool:
        """As the runner."""
        return self._runner.on_caller

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """As the runner."""
        return self._runner.run(feeds)

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """As the runner."""
        return self._runner.bind(feeds)
