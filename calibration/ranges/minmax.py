"""Min/max: the range is what was seen. Nothing is clipped; one outlier widens every step."""

from calibration.observers import MinMax
from calibration.scheme import Scheme


def propose(observed: MinMax, scheme: Scheme) -> tuple[float, float]:
    """[min, max], the same for every scheme."""
    del scheme
    return observed.low, observed.high
