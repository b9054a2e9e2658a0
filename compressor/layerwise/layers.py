"""Linear operators with constant weights as least-squares problems: rows of inputs, a matrix.

    y = X·Wᵀ + b,   X (groups, rows, k),   W (groups, m, k),   y (groups, rows, m)

For a convolution a row is what one output position reads (im2col); for a transposed one the same
of the input with zeros between its elements and the kernel turned round.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import is_stored, stored_array
from compressor.layerwise.im2col import Doubles, Floats, Ints, Sliding


class Part(NamedTuple):
    """Rows of one piece.

    Attributes:
        samples: Which samples; of a matrix product, which rows.
        positions: Output positions of each sample, (samples, positions), of a product rows among
            those; None for all.
    """

    samples: slice
    positions: Ints | None = None


@dataclass(frozen=True)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul whose weight is constant.

    Attributes:
        node: The operator.
        add: The Add behind a MatMul that brings its bias, where there is one.
    """

    node: ir.Node
    add: ir.Node | None = None

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.node.name or ""

    @property
    def kind(self) -> str:
        """The operator."""
        return self.node.op_type

    @property
    def input(self) -> ir.Value:
        """What is read."""
        return _present(self.node.inputs[0])

    @property
    def output(self) -> ir.Value:
        """What is written, bias included."""
        return (self.add or self.node).outputs[0]

    @property
    def weight_value(self) -> ir.Value:
        """The weight's initializer."""
        return _present(self.node.inputs[1])

    @property
    def bias_value(self) -> ir.Value | None:
        """The bias's initializer."""
        if self.add is not None:
            return next(v for v in self.add.inputs if v is not None and is_stored(v))
        return self.node.inputs[2] if len(self.node.inputs) > 2 else None

    @property
    def weight(self) -> Floats:
        """The weight as the node stores it."""
        return stored_array(self.weight_value)

    @property
    def groups(self) -> int:
        """Independent parts: input and output channels of one do not meet those of another."""
        return self.node.attributes.get_int("group", 1)

    @property
    def output_axis(self) -> int:
        """The axis of the output that a weight row makes."""
        return 1 if self.kind.startswith("Conv") else -1

    @property
    def channels(self) -> int:
        """How many entries the output has along that axis."""
        shape = self.weight.shape
        if self.kind == "Conv":
            return int(shape[0])
        if self.kind == "ConvTranspose":
            return int(shape[1] * self.groups)
        return int(shape[0 if self._flag("transB") else 1])

    @property
    def contracted_axis(self) -> int:
        """The axis of the weight that meets the input's channels, those of one group for Conv."""
        if self.kind == "Conv":
            return 1
        return 1 if self._flag("transB") else 0

    @property
    def depthwise(self) -> bool:
        """Whether every input channel is a group of its own, so that nothing is contracted."""
        return self.groups > 1 and self.width == self.columns_per_channel

    @property
    def kernel(self) -> tuple[int, ...]:
        """Sizes of the kernel; empty for matrix products."""
        return self.weight.shape[2:] if self.kind.startswith("Conv") else ()

    @property
    def width(self) -> int:
        """k, columns of one group."""
        shape = self.weight.shape
        if self.kind == "Conv":
            return prod(shape[1:])
        if self.kind == "ConvTranspose":
            return int(shape[0] // self.groups * prod(shape[2:]))
        return int(shape[1 if self._flag("transB") else 0])

    @property
    def columns_per_channel(self) -> int:
        """Columns that one input channel has: neighbours, channel by channel."""
        return prod(self.kernel)

    @property
    def places(self) -> int | None:
        """Output positions of a sample, where its shape tells; None for matrix products."""
        shape = self.output.shape
        if not self.kernel or shape is None:
            return None
        sizes = [size for size in shape[2:] if isinstance(size, int)]
        return prod(sizes) if len(sizes) == len(self.kernel) else None

    def matrix(self) -> Doubles:
        """W, (groups, m, k) float64, Gemm's alpha included."""
        weight = self.weight.astype(np.float64)
        if self.kind == "Conv":
            return weight.reshape(self.groups, -1, self.width)
        if self.kind == "ConvTranspose":
            return self._turned(weight)
        weight = weight if self._flag("transB") else weight.T
        return weight[None] * self.node.attributes.get_float("alpha", 1.0)

    def bias(self) -> Doubles:
        """b, (groups, m) float64, Gemm's beta included; zeros where there is none."""
        outputs = self.matrix().shape[:2]
        array = self.bias_array().astype(np.float64).reshape(-1)
        flat = np.broadcast_to(array, prod(outputs)) * self.node.attributes.get_float("beta", 1.0)
        return flat.reshape(outputs)

    def bias_array(self) -> Floats:
        """The bias as it is stored; one zero where there is none."""
        value = self.bias_value
        return np.zeros(1) if value is None else stored_array(value)

    def stored(self, matrix: Doubles) -> Floats:
        """A matrix as the node stores it (alpha aside), in the weight's type."""
        if self.kind == "ConvTranspose":
            groups, m, _ = matrix.shape
            parts = matrix.reshape(groups, m, -1, *self.kernel)
            flipped = np.flip(parts, tuple(range(3, parts.ndim))).swapaxes(1, 2)
            array = flipped.reshape(self.weight.shape)
        elif self.kind == "Conv":
            array = matrix.reshape(self.weight.shape)
        else:
            array = matrix[0] if self._flag("transB") else matrix[0].T
        return np.ascontiguousarray(array, dtype=self.weight.dtype)

    def rows(
        self, x: Floats, limit: int, most: int | None = None, seed: int = 0
    ) -> Iterator[tuple[Part, Floats]]:
        """X in pieces of about `limit` bytes.

        Args:
            x: The input as the runtime has it.
            limit: Bytes of one piece; a piece is one sample at least.
            most: Rows that are wanted of `x`, about; None for all. They are drawn from every
                sample alike, at positions of its own.
            seed: Of the draw.

        Yields:
            What the rows are of, for `targets`, and X (groups, rows, k).
        """
        x = _single(x)
        draw = np.random.default_rng(seed)
        if not self.kind.startswith("Conv"):
            yield from self._vectors(x, limit, most, draw)
            return
        sliding = Sliding(self.node, self.kernel)
        places = prod(sliding.sizes(x.shape[2:]))
        wanted = places if most is None else min(places, ceil(most / max(len(x), 1)))
        step = max(1, limit // max(4 * wanted * self.width * self.groups, 1))
        for start in range(0, len(x), step):
            samples = slice(start, min(start + step, len(x)))
            positions = None
            if wanted < places:
                count = samples.stop - samples.start
                positions = draw.random((count, places)).argpartition(wanted, 1)[:, :wanted]
            yield Part(samples, positions), sliding.patches(x[samples], self.groups, positions)

    def targets(self, y: Floats, part: Part) -> Floats:
        """An output, or anything of its shape, beside the rows of `part`: (groups, rows, m)."""
        y = _single(y)
        if not self.kind.startswith("Conv"):
            rows = y.reshape(-1, y.shape[-1])[part.samples]
            return (rows if part.positions is None else rows[part.positions])[None]
        y = y[part.samples]
        split = y.reshape(len(y), self.groups, -1, prod(y.shape[2:]))
        if part.positions is not None:
            split = np.take_along_axis(split, part.positions[:, None, None], 3)
        return split.transpose(1, 0, 3, 2).reshape(self.groups, -1, split.shape[2])

    def _vectors(
        self, x: Floats, limit: int, most: int | None, draw: np.random.Generator
    ) -> Iterator[tuple[Part, Floats]]:
        flat = x.T if self._flag("transA") else x.reshape(-1, x.shape[-1])
        if most is not None and most < len(flat):
            chosen = np.sort(draw.choice(len(flat), most, replace=False))
            yield Part(slice(0, len(flat)), chosen), flat[chosen][None]
            return
        step = max(1, limit // (4 * flat.shape[1]))
        for start in range(0, len(flat), step):
            part = slice(start, min(start + step, len(flat)))
            yield Part(part), flat[part][None]

    def _turned(self, weight: Doubles) -> Doubles:
        """(C, m, *kernel) → (groups, m, k) with the kernel turned round."""
        flipped = np.flip(weight, tuple(range(2, weight.ndim)))
        parts = flipped.reshape(self.groups, -1, *flipped.shape[1:]).swapaxes(1, 2)
        return parts.reshape(self.groups, weight.shape[1], -1)

    def _flag(self, name: str) -> bool:
        return self.kind == "Gemm" and self.node.attributes.get_int(name, 0) == 1


def layers_of(model: ir.Model) -> Mapping[str, Layer]:
    """Node name → layer, in the order of the main graph."""
    found = (_layer(node) for node in model.graph)
    return {layer.name: layer for layer in found if layer is not None}


def _layer(node: ir.Node) -> Layer | None:
    if node.domain != "" or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    weight = node.inputs[1]
    if weight is None or not is_stored(weight) or node.inputs[0] is None:
        return None
    tensor = weight.const_value
    if tensor is None or not tensor.dtype.is_floating_point() or len(tensor.shape) < 2:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not is_stored(bias):
        return None
    if node.op_type != "MatMul":
        return Layer(node)
    return Layer(node, _bias_of(node)) if len(tensor.shape) == 2 else None


def _bias_of(node: ir.Node) -> ir.Node | None:
    """The Add of a constant vector that alone reads a MatMul."""
    made = node.outputs[0]
    readers = [] if made.is_graph_output() else [reader for reader, _ in made.uses()]
    if len(readers) != 1 or readers[0].op_type != "Add":
        return None
    other = next((v for v in readers[0].inputs if v is not made), None)
    if other is None or not is_stored(other):
        return None
    shape = stored_array(other).shape
    width = stored_array(_present(node.inputs[1])).shape[1]
    return readers[0] if prod(shape) == width == shape[-1] else None


def _present(value: ir.Value | None) -> ir.Value:
    assert value is not None
    return value


def _single(array: Floats) -> Floats:
    # Sums of products in half precision would neither be fast nor say much.
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
