"""Min/max: the range is what was seen. Nothing is clipped; one outlier widens every step."""

from calibration.observers import Observed
from calibration.scheme import Scheme


def propose(observed: Observed, scheme: Scheme) -> tuple[float, float]:
    """[min, max], the same for every scheme."""
    del scheme
    return observed.low, observed.high
