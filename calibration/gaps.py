"""Values that are no numbers in places: what a mask hides.

Rows of attention that are masked entirely come out as NaN, masks themselves hold infinities. Ranges
and moments are of the rest. Values are looked at as they are first, and once more without what is
no number only where that shows, so that graphs without gaps pay nothing.
"""

import numpy as np
import onnx_ir as ir

from calibration.taps import Taps


def without_gaps(taps: Taps, value: ir.Value, filler: float = 0.0) -> ir.Value:
    """A float value with NaN and infinities replaced by a number."""
    odd = taps.node("Or", [taps.node("IsNaN", [value]), taps.node("IsInf", [value])])
    return taps.node("Where", [odd, taps.constant(np.array(filler, np.float32)), value])
