"""Arrays that the caller already holds: one array, a dict, or a tuple of inputs and labels."""

from collections.abc import Iterator

from calibration.sources.base import Fields, as_fields, rows_per_chunk, specs_of
from compressor.graph.tensors import Array, TensorSpec


class MemorySource:
    """Slices of arrays in memory."""

    def __init__(self, arrays: object, where: str, description: str) -> None:
        self.description = description
        self._fields = as_fields(arrays, where)
        self.specs: tuple[TensorSpec, ...] = specs_of(self._fields)
        self.count: int | None = len(next(iter(self._fields.values())))
        self.labels: Array | None = None

    def chunks(self) -> Iterator[Fields]:
        """Yield copies, so that no consumer can write into the caller's arrays."""
        rows = rows_per_chunk(self.specs)
        for start in range(0, self.count or 0, rows):
            yield {name: array[start : start + rows].copy() for name, array in self._fields.items()}
