"""Arrays that the caller already holds: one array, a dict, or a tuple of inputs and labels."""

from collections.abc import Iterator, Mapping

from calibration.sources.base import (
    Axes,
    Fields,
    as_fields,
    first_axes,
    length_along,
    rows_per_chunk,
    shapes_of,
    sliced,
    specs_of,
)
from compressor.graph.tensors import Array, TensorSpec


class MemorySource:
    """Slices of arrays in memory."""

    calls = False
    endless = False

    def __init__(self, arrays: object, where: str, description: str) -> None:
        self.description = description
        self._fields = as_fields(arrays, where)
        self.specs: tuple[TensorSpec, ...] = specs_of(self._fields)
        self.labels: Array | None = None

    def count(self, axes: Axes) -> int | None:
        """The length of the arrays."""
        return length_along(self.specs, axes)

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Yield copies, so that no consumer can write into the caller's arrays."""
        axes = first_axes(self.specs) if axes is None else axes
        rows = rows_per_chunk(self.specs, axes)
        for start in range(0, self.count(axes) or 0, rows):
            yield {
                name: sliced(self._fields[name], axis, start, rows).copy()
                for name, axis in axes.items()
            }

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of the arrays."""
        yield shapes_of(self.specs)
