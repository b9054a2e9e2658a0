"""ConvTranspose, and nearest Resize + Conv, as one convolution whose channels hold the phases.

Sub-pixel convolution (Shi et al. 2016, arXiv 1609.05158, section 3.2): a Conv of stride 1 computes
the s^d phases of each channel side by side, [batch, s^d · C, n...], and they are interleaved. The
kernel has ⌈k/s⌉ taps an axis where the phases are shifted so that all read the same positions;
those that a phase does not read are zero. It has integer kernels, which ConvTranspose lacks.
"""

import numpy as np
import onnx_ir as ir

from compressor.graph.emitting import Emitter
from exporters.ort.forms.interleaving import interleaved, why_not_interleaved
from exporters.ort.forms.rewriting import UpsamplingForm
from exporters.ort.forms.upsampling import Axis, Upsampling, Weights, all_phases


class SubPixel(UpsamplingForm):
    """One convolution, then its phases side by side."""

    name = "sub-pixel"
    words = "a sub-pixel convolution"

    def fits(self, place: Upsampling) -> bool:
        """Wherever sizes let phases be interleaved and padding is none below zero."""
        axes = tuple(axis.compact()[0] for axis in place.axes)
        return min(_pads(axes)) >= 0 and why_not_interleaved(place.axes, place.groups) is None

    def emit(self, to: Emitter, place: Upsampling) -> ir.Value:
        """One convolution that writes all phases, then those side by side."""
        compact = [axis.compact() for axis in place.axes]
        axes, begin = tuple(axis for axis, _ in compact), [by for _, by in compact]
        weight, bias = _weights(place, axes)
        inputs = [place.x, to.weight("weight", weight)]
        if bias is not None:
            inputs.append(to.weight("bias", bias))
        sizes = [None if axis.size is None else axis.size + axis.extra for axis in axes]
        made = to.emit(
            "Conv", inputs, [len(weight), *sizes], "conv", pads=_pads(axes), group=place.groups
        )
        made = to.activated(made, place.activation)
        return interleaved(to, made, place.axes, place.outputs, place.groups, begin)


def _pads(axes: tuple[Axis, ...]) -> list[int]:
    """At all beginnings, then at all ends: each phase has n + extra positions."""
    return [-axis.span[0] for axis in axes] + [axis.extra + axis.span[1] for axis in axes]


def _weights(place: Upsampling, axes: tuple[Axis, ...]) -> tuple[Weights, Weights | None]:
    """[groups · phases · outputs of a group, inputs of a group, taps...], and the bias alike."""
    spans = tuple(axis.span for axis in axes)
    phases = np.stack([place.kernel(taps, spans) for taps in all_phases(axes)])
    groups, own = place.groups, place.outputs // place.groups
    split = phases.reshape(len(phases), groups, own, *phases.shape[2:])
    weight = np.moveaxis(split, 0, 1).reshape(-1, *phases.shape[2:])
    if place.bias is None:
        return weight, None
    bias = np.repeat(place.bias.reshape(groups, 1, own), len(phases), axis=1)
    return weight, bias.reshape(-1)
