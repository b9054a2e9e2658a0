"""How much noise there is at each timestep: x_t = √ᾱ_t · x_0 + √(1 - ᾱ_t) · ε."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Schedule = Literal["linear", "cosine", "scaled-linear"]
Spacing = Literal["leading", "trailing", "linspace"]

BETAS: dict[Schedule, tuple[float, float]] = {
    "linear": (1e-4, 0.02),
    "scaled-linear": (0.00085, 0.012),
}
"""First and last β, as those who proposed the schedule have them."""
_OFFSET, _MOST = 0.008, 0.999


def alphas_cumprod(
    schedule: Schedule, timesteps: int, first: float | None = None, last: float | None = None
) -> Numbers:
    """ᾱ_t = Π (1 - β_s) over s ≤ t, for t = 0 … T - 1, of shape (T,).

    linear: β evenly from first to last (Ho et al. 2020, section 4). scaled-linear: √β evenly
    (Rombach et al. 2022, code). cosine: ᾱ(t) = f(t) / f(0), f(t) = cos²((t/T + s) / (1 + s) · π/2)
    with s = 0.008, and β at most 0.999 (Nichol and Dhariwal 2021, section 3.2); it has no first and
    no last β.

    Args:
        schedule: Which.
        timesteps: T, as in training.
        first: β of t = 0; default: the schedule's.
        last: β of t = T - 1; default: the schedule's.
    """
    if schedule == "cosine":
        t = np.arange(timesteps + 1) / timesteps
        curve = np.cos((t + _OFFSET) / (1 + _OFFSET) * np.pi / 2) ** 2
        betas = np.minimum(1 - curve[1:] / curve[:-1], _MOST)
        return np.asarray(np.cumprod(1 - betas))
    low, high = BETAS[schedule]
    low, high = low if first is None else first, high if last is None else last
    if schedule == "scaled-linear":
        betas = np.linspace(low**0.5, high**0.5, timesteps) ** 2
    else:
        betas = np.linspace(low, high, timesteps)
    return np.asarray(np.cumprod(1 - betas))


def timesteps_of(steps: int, timesteps: int, spacing: Spacing) -> npt.NDArray[np.int64]:
    """The timesteps that are gone through, from noisy to clean, of shape (steps,).

    leading: 0, c, 2c, … with c = T // steps (Song et al. 2021, appendix D.3); trailing: the last
    one first, T - 1; linspace: evenly from 0 to T - 1 (Lin et al. 2024, table 2).

    Args:
        steps: How many, at most T.
        timesteps: T.
        spacing: Which.
    """
    if spacing == "leading":
        found = np.arange(steps) * float(timesteps // steps)
    elif spacing == "trailing":
        found = np.arange(1, steps + 1) * timesteps / steps - 1
    else:
        found = np.linspace(0, timesteps - 1, steps)
    return np.round(found).astype(np.int64)[::-1].copy()
