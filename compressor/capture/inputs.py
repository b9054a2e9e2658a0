"""What a model is fed while it is captured: names, types, shapes, and arrays of those.

Real samples decide where there are any. Otherwise seeded numbers stand in, for tracing and for
comparing the graph with its source only; nothing is ever calibrated on them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np

from compressor.graph.batch import BatchAxis, batch_axes, batch_symbol, fixed_batch
from compressor.graph.draws import Draw
from compressor.graph.sizes import names_in, parse_size, shape_at, solve
from compressor.graph.tensors import Array, Dimension, TensorSpec

BATCH = "batch"
"""The name of the leading dimension."""

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

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
        asked: Names whose size the user gave.
        noise: Inputs that stand for what the graph draws → which numbers those are.
    """

    specs: tuple[TensorSpec, ...]
    samples: Mapping[str, Array] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    offset: int = 0
    asked: frozenset[str] = frozenset()
    noise: Mapping[str, Draw] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of open sizes, in order of appearance."""
        return names_in(self.specs)

    @property
    def batch_symbol(self) -> str | None:
        """The name of the size that counts samples; None where no input leaves it open."""
        found = batch_symbol(self.specs)
        return found if found in self.symbols else None

    @property
    def others(self) -> tuple[str, ...]:
        """The open sizes but for the batch."""
        return tuple(symbol for symbol in self.symbols if symbol != self.batch_symbol)

    @property
    def batch(self) -> int:
        """How many samples `sizes` stands for; 1 for a model without a leading dimension."""
        if self.batch_symbol is not None:
            return self.sizes[self.batch_symbol]
        return fixed_batch(self.specs) or 1

    @property
    def real(self) -> bool:
        """Whether there are real samples."""
        return bool(self.samples)

    def resized(self, sizes: Mapping[str, int]) -> "Inputs":
        """Inputs with other sizes for some dynamic dimensions."""
        return replace(self, sizes={**self.sizes, **sizes})

    def of(self, batch: int) -> "Inputs":
        """Inputs for so many samples, where that is open."""
        return self if self.batch_symbol is None else self.resized({self.batch_symbol: batch})

    def shifted(self, samples: int) -> "Inputs":
        """Inputs of the same sizes with other samples.

        A branch on data, or a value that left the graph, is baked in by tracing, and shows only
        on data that was not traced.
        """
        return replace(self, offset=self.offset + samples)

    def fixed(self) -> "Inputs":
        """Inputs with every dynamic size baked in at its current value."""
        return self.baked(self.symbols)

    def baked(self, symbols: Iterable[str]) -> "Inputs":
        """Inputs with some dynamic sizes baked in at their current values."""
        values = {symbol: self.sizes[symbol] for symbol in symbols}
        return replace(self, specs=tuple(_substituted(spec, values) for spec in self.specs))

    def related(self, symbol: str, expression: str) -> "Inputs":
        """Inputs with an expression over other sizes in the place of one."""
        specs = tuple(
            replace(s, shape=tuple(expression if d == symbol else d for d in s.shape))
            for s in self.specs
        )
        return replace(self, specs=specs)

    def without_bfloat16(self) -> "Inputs":
        """Inputs as float32 where they are bfloat16, which no runtime is fed."""
        specs = tuple(
            replace(spec, dtype=np.dtype(np.float32)) if spec.dtype == BFLOAT16 else spec
            for spec in self.specs
        )
        samples = {
            name: array.astype(np.float32) if array.dtype == BFLOAT16 else array
            for name, array in self.samples.items()
        }
        return replace(self, specs=specs, samples=samples)

    def shape(self, spec: TensorSpec) -> tuple[int, ...]:
        """The shape that an input has with the current sizes."""
        return shape_at(spec, self.sizes)

    def arrays(self) -> dict[str, Array]:
        """One array an input, of the current sizes: cut from the samples, or seeded.

        Where there are fewer samples than asked for, they repeat.
        """
        rng = np.random.default_rng(self.offset)
        axes = batch_axes(self.specs)
        arrays = {
            spec.name: (
                _cut(self.samples[spec.name], self.shape(spec), self.offset, axes[spec.name])
                if self._has(spec)
                else _seeded(spec, self.shape(spec), rng)
            )
            for spec in self.specs
            if spec.name not in self.noise
        }
        drawn = {
            spec.name: self.noise[spec.name].array(self.shape(spec), spec.dtype, [self.offset])
            for spec in self.specs
            if spec.name in self.noise
        }
        return arrays | drawn

    def _has(self, spec: TensorSpec) -> bool:
        """Whether there are samples to cut or repeat: an empty cache cannot be made longer."""
        array = self.samples.get(spec.name)
        return array is not None and (array.size > 0 or array.shape[1:] == self.shape(spec)[1:])

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


def _substituted(spec: TensorSpec, values: Mapping[str, int]) -> TensorSpec:
    def substituted(dim: Dimension) -> Dimension:
        if not isinstance(dim, str):
            return dim
        size = parse_size(dim)
        if not values.keys() & set(size.names):
            return dim
        rest = size.substitute(values)
        return str(rest) if rest.constant is None else rest.constant

    return replace(spec, shape=tuple(map(substituted, spec.shape)))


def _cut(array: Array, shape: tuple[int, ...], offset: int, lies: BatchAxis | None) -> Array:
    """An array of another shape: parts of it, repeated where it is too small."""
    for axis, size in enumerate(shape):
        first = offset * lies.multiple if lies is not None and lies.axis == axis else 0
        if array.shape[axis] != size or first:
            array = np.take(array, np.arange(first, first + size) % array.shape[axis], axis=axis)
    return np.asarray(array, order="C")


def _seeded(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    # 0 and 1 are indices of every vocabulary and values of every mask.
    if spec.dtype.kind in "iub":
        found = rng.integers(0, 2, shape).astype(spec.dtype)
        return np.ones_like(found) if _covers_cache(spec) else found
    return rng.standard_normal(shape).astype(spec.dtype)


def _covers_cache(spec: TensorSpec) -> bool:
    """Whether it is a mask over a cache: kernels count its ones, and want as many as tokens."""
    last = str(spec.shape[-1]) if spec.shape else ""
    return "mask" in spec.name.casefold() and ("+" in last or "total" in last.casefold())


def named(spec: TensorSpec) -> TensorSpec:
    """A description with names for the dynamic sizes that have none."""
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
    found = solve([_by_sample(spec) for spec in specs], samples, "the calibration data")
    sizes = dict.fromkeys(inputs.symbols, SYMBOL_SIZES[0]) | found
    if inputs.batch_symbol is not None:
        count = found.get(inputs.batch_symbol)
        leading = {spec.shape[0] for spec in specs if spec.shape}
        counted = [s for s in inputs.symbols if s in leading and found.get(s, -1) == count]
        sizes |= dict.fromkeys([*counted, inputs.batch_symbol], batch)
    return replace(inputs, sizes=sizes)


def _by_sample(spec: TensorSpec) -> TensorSpec:
    """The specification of any number of samples, where the source has a number baked in."""
    open_or_none = [
        d if axis or not isinstance(d, int) else None for axis, d in enumerate(spec.shape)
    ]
    return replace(spec, shape=tuple(open_or_none))
