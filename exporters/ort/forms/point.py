"""ConvTranspose of an image of one position, as generators begin: a product.

Each output position reads the one input position by one tap an axis, or by none, so that
y[c, v] = Σ_i W[c, i, t(v)] · x[i]: a 1 x 1 convolution to C · positions channels, and a Reshape.
"""

import math

import numpy as np
import onnx_ir as ir

from compressor.graph.emitting import Emitter, reshaped
from exporters.ort.forms.rewriting import UpsamplingForm
from exporters.ort.forms.upsampling import Axis, Upsampling, Weights

MOST = 256
"""Positions that one may become."""


class Point(UpsamplingForm):
    """A convolution of one position."""

    name = "point"
    words = "a 1 x 1 convolution and a Reshape"

    def fits(self, place: Upsampling) -> bool:
        """Wherever the image that is enlarged is known to be one position."""
        if place.groups > 1 or any(axis.size != 1 for axis in place.axes):
            return False
        lengths = [axis.stride + axis.surplus for axis in place.axes]
        return min(lengths) > 0 and 1 < math.prod(lengths) <= MOST

    def emit(self, to: Emitter, place: Upsampling) -> ir.Value:
        """One convolution, whose channels become positions by a Reshape."""
        taps = place.weight
        for axis, one in enumerate(place.axes):
            chosen = _read(one, place.weight.shape[2 + axis])
            taps = np.moveaxis(np.tensordot(taps, chosen, ([2 + axis], [1])), -1, 2 + axis)
        lengths = list(taps.shape[2:])
        weight = np.moveaxis(taps, 1, -1).reshape(-1, taps.shape[1], *[1] * len(lengths))
        inputs = [place.x, to.weight("weight", np.ascontiguousarray(weight))]
        if place.bias is not None:
            inputs.append(to.weight("bias", np.repeat(place.bias, math.prod(lengths))))
        ones = [1] * len(lengths)
        made = to.emit("Conv", inputs, [len(weight), *ones], "conv")
        made = to.activated(made, place.activation)
        return reshaped(to, made, [place.outputs, *lengths], "positions")


def _read(axis: Axis, taps: int) -> Weights:
    """[positions, taps]: 1 where a position reads the input by that tap."""
    length = axis.stride + axis.surplus
    found = np.zeros((length, taps), np.float32)
    for v in range(length):
        a, b = divmod(v, axis.stride)
        found[v, list(axis.phases[b].get(-a, ()))] = 1
    return found
