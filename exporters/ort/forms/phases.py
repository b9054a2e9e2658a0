"""ConvTranspose, and nearest Resize + Conv, as a convolution for each phase.

Each of the s^d phases is a Conv of stride 1 with its own padding; their results are concatenated
and interleaved. Against one sub-pixel convolution no tap is computed that is zero and nothing is
cut off; there are more and smaller convolutions.
"""

import onnx_ir as ir

from compressor.graph.emitting import Emitter
from exporters.ort.forms.interleaving import interleaved, why_not_interleaved
from exporters.ort.forms.rewriting import UpsamplingForm
from exporters.ort.forms.upsampling import Axis, Taps, Upsampling, all_phases

MOST = 16
"""Phases: of more, each convolution has too little to do."""


class Phases(UpsamplingForm):
    """A convolution a phase."""

    name = "phases"
    words = "a convolution for each phase"

    def fits(self, place: Upsampling) -> bool:
        """Where all phases are equally long and read something."""
        axes = place.axes
        phases = list(all_phases(axes))
        if not 2 <= len(phases) <= MOST or why_not_interleaved(axes, 1) is not None:
            return False
        if any(axis.surplus % axis.stride for axis in axes):
            return False
        return all(all(taps) and min(_pads(axes, taps)) >= 0 for taps in phases)

    def emit(self, to: Emitter, place: Upsampling) -> ir.Value:
        """A convolution a phase, side by side as channels, then as positions."""
        made = []
        bias = [] if place.bias is None else [to.weight("bias", place.bias)]
        sizes = [None if axis.size is None else axis.size + axis.extra for axis in place.axes]
        for number, taps in enumerate(all_phases(place.axes)):
            spans = tuple(_span(read) for read in taps)
            weight = to.weight(f"weight_{number}", place.kernel(taps, spans))
            conv = to.emit(
                "Conv", [place.x, weight, *bias], [place.outputs, *sizes], f"conv_{number}",
                pads=_pads(place.axes, taps), group=place.groups,
            )  # fmt: skip
            made.append(to.activated(conv, place.activation))
        whole = to.emit("Concat", made, [len(made) * place.outputs, *sizes], "phases", axis=1)
        begin = [0] * len(place.axes)
        return interleaved(to, whole, place.axes, place.outputs, 1, begin)


def _span(taps: Taps) -> tuple[int, int]:
    return min(taps), max(taps)


def _pads(axes: tuple[Axis, ...], taps: tuple[Taps, ...]) -> list[int]:
    """At all beginnings, then at all ends."""
    begin = [-_span(read)[0] for read in taps]
    ends = [axis.extra + _span(read)[1] for axis, read in zip(axes, taps, strict=True)]
    return [*begin, *ends]
