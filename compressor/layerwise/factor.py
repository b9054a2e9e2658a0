"""What solves have in common: the threads of their products, and factors of second moments.

    H⁻¹ = UᵀU,   U upper triangular

Row j of U tells how the columns behind j make up for an error at j (Frantar et al. 2022, arXiv
2210.17323, section 3.3).
"""

import os
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt
import scipy.linalg

from compressor.system.processors import available_processors

Doubles = npt.NDArray[np.float64]

WIDEST = 4608
"""Inputs of a row above which a layer is left as it is: the time grows with their cube."""
LAZY = 128
"""Columns that are settled before those behind them are updated."""


def inverse_factor(moments: Doubles) -> Doubles:
    """U of H (k, k), which is positive definite.

    H = RRᵀ with R upper triangular, the Cholesky factor of H from its last column to its first, has
    U = R⁻¹.

    Raises:
        LinAlgError: It is not, or not finite.
    """
    if not np.isfinite(moments).all():
        raise np.linalg.LinAlgError("the second moments are not finite")
    flipped = scipy.linalg.cholesky(moments[::-1, ::-1], lower=True, check_finite=False)
    del moments  # where nobody else holds them: k may be thousands, and each matrix counts
    inverse, _ = scipy.linalg.lapack.dtrtri(flipped, lower=1, overwrite_c=1)
    if not np.isfinite(inverse).all():
        raise np.linalg.LinAlgError("the second moments are too far apart in size to be inverted")
    upper: Doubles = np.ascontiguousarray(inverse[::-1, ::-1])
    return upper


def own_threads() -> AbstractContextManager[object]:
    """Give products and solves of our own as many threads as cores are idle, one at least.

    A product waits for the slowest of its threads, and the others spin meanwhile. On a core that
    another program works on, that is for its time slices: a solve of 1.5 s took 57.
    """
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - heavy: only jobs that solve

    limits: AbstractContextManager[object] = threadpool_limits(threads(), user_api="blas")
    return limits


def threads() -> int:
    """Half of the cores that this process may use, less what others keep busy; 1 at least.

    The runtime's threads and these work in turn, and each would wait for its next turn by spinning
    on the other's cores.
    """
    usable = cores()
    try:
        busy = os.getloadavg()[0]
    except (AttributeError, OSError):  # a system that does not tell
        busy = 0.0
    idle = usable - max(0.0, busy - 1)  # one of those at work is this process
    return max(1, min(usable // 2, int(idle)))


def cores() -> int:
    """Those that this process may use; threads that do not wait for each other may be as many."""
    return available_processors()
