"""What a model is fed while it is captured: names, types, shapes, and arrays of those.

Real samples decide where there are any. Otherwise seeded numbers stand in, for tracing and for
comparing the graph with its source only; nothing is ever calibrated on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from compressor.graph.tensors import Array, TensorSpec

BATCH = "batch"
"""The name of the leading dimension."""

TRACED_BATCH = 2
"""Samples while tracing. With 1, exporters take broadcasting over the batch for granted."""

OTHER_BATCHES = (1, 3)
"""Batch sizes at which a graph with a dynamic batch must agree as well; the first that works."""

SYMBOL_SIZES = (16, 64, 224)
"""Sizes tried for dynamic dimensions other than the batch when there are no samples."""


@dataclass(frozen=True)
class Inputs:
    """Described inputs, and arrays of any of the sizes that the descriptions leave open.

    Attributes:
        specs: What the graph's inputs look like; names in shapes are dynamic sizes.
        samples: Real arrays; empty when there are none.
        sizes: A size that works for each dynamic dimension.
        offset: Which samples: the first, or later ones. Numbers that stand in for samples are
            seeded by it.
    """

    specs: tuple[TensorSpec, ...]
    samples: Mapping[str, Array] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    offset: int = 0

    @property
    def symbols(self) -> tuple[str, ...]:
        """The dynamic dimensions, in order of appearance."""
        return tuple(dict.fromkeys(d for s in self.specs for d in s.shape if isinstance(d, str)))

    @property
    def batch_symbol(self) -> str | None:
        """The name of the leading dimension of the first input; None when it is fixed."""
        first = self.specs[0].shape[0] if self.specs and self.specs[0].shape else None
        return first if isinstance(first, str) else None

    @property
    def batch(self) -> int:
        """How many samples `sizes` stands for; 1 for a model without a leading dimension."""
        if self.batch_symbol is not None:
            return self.sizes[self.batch_symbol]
        return next((spec.fixed_batch for spec in self.specs if spec.fixed_batch), 1)

    @property
    def real(self) -> bool:
        """Whether there are real samples."""
        return bool(self.samples)

    def resized(self, sizes: Mapping[str, int]) -> "Inputs":
        """The same inputs with other sizes for some dynamic dimensions."""
        return replace(self, sizes={**self.sizes, **sizes})

    def shifted(self, samples: int) -> "Inputs":
        """The same inputs with other samples.

        A branch on data, or a value that left the graph, is baked in by tracing, and shows only
        on data that was not traced.
        """
        return replace(self, offset=self.offset + samples)

    def fixed(self) -> "Inputs":
        """The same inputs with every dynamic size baked in at its current value."""
        return replace(
            self, specs=tuple(replace(spec, shape=self.shape(spec)) for spec in self.specs)
        )

    def shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """The shape that an input has with the current sizes."""
        return tuple(self.sizes[d] if isinstance(d, str) else d or 1 for d in spec.shape)

    def arrays(self) -> dict[str, Array]:
        """One array an input, of the current sizes: cut from the samples, or seeded.

        Where there are fewer samples than asked for, they repeat.
        """
        rng = np.random.default_rng(self.offset)
        return {
            spec.name: (
                _cut(self.samples[spec.name], self.shape(spec), self.offset)
                if spec.name in self.samples
                else _seeded(spec.dtype, self.shape(spec), rng)
            )
            for spec in self.specs
        }

    def advice(self) -> str:
        """What to do where a source fails on the arrays."""
        if not self.real:
            return "Correct --input, or give calibration data with --calib."
        if any(spec.dtype == np.uint8 for spec in self.specs):
            return (
                "Stored bytes become floats by --scale 1/255 (with --mean and --std as in "
                "training); --layout nhwc-to-nchw moves the channels."
            )
        return (
            "Give the data as the model takes it; --scale, --mean, --std and --layout convert it."
        )

    def described(self) -> str:
        """The arrays in words, for messages: `image:float32[2,3,32,32], mask:bool[2,16]`."""
        return ", ".join(str(spec) for spec in self.fixed().specs)


def _cut(array: Array, shape: tuple[int, ...], offset: int) -> Array:
    for axis, size in enumerate(shape):
        first = 0 if axis else offset
        if array.shape[axis] != size or first:
            array = np.take(array, np.arange(first, first + size) % array.shape[axis], axis=axis)
    return np.ascontiguousarray(array)


def _seeded(dtype: np.dtype[np.generic], shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    # 0 and 1 are indices of every vocabulary and values of every mask.
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def named(spec: TensorSpec) -> TensorSpec:
    """The same description with names for the dynamic sizes that have none."""
    shape = tuple(
        (f"{spec.name}_dim{axis}" if axis else BATCH) if dim is None else dim
        for axis, dim in enumerate(spec.shape)
    )
    return replace(spec, shape=shape)


def sized(
    specs: tuple[TensorSpec, ...], samples: Mapping[str, Array], batch: int = TRACED_BATCH
) -> Inputs:
    """Inputs whose dynamic sizes are those of the samples, or the first that is tried."""
    inputs = Inputs(specs, samples)
    sizes = {
        dim: samples[spec.name].shape[axis] if spec.name in samples else SYMBOL_SIZES[0]
        for spec in reversed(specs)  # of equal names the first input's counts
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, str)
    }
    if inputs.batch_symbol is not None:
        sizes[inputs.batch_symbol] = batch
    return replace(inputs, sizes=sizes)
