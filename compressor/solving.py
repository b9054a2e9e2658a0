"""What it takes to settle the weights of a layer one after the other by second moments.

    H⁻¹ = UᵀU,   U upper triangular

Row j of U tells how the columns behind j make up for an error at j (Frantar et al. 2022, arXiv
2210.17323, section 3.3).
"""

import numpy as np
import numpy.typing as npt
import scipy.linalg

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
        LinAlgError: It is not.
    """
    flipped = scipy.linalg.cholesky(moments[::-1, ::-1], lower=True, check_finite=False)
    inverse, _ = scipy.linalg.lapack.dtrtri(flipped, lower=1)
    upper: Doubles = np.ascontiguousarray(inverse[::-1, ::-1])
    return upper
