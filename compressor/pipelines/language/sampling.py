"""The next token from the logits of a step."""

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating]


def next_token(
    logits: Logits,
    rng: np.random.Generator,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> int:
    """The most likely token, or one that is drawn.

    It is drawn from softmax(z / T), of the `top_k` likeliest tokens (Fan et al. 2018, section 5.1)
    and of the fewest that together have a probability of `top_p` or more (Holtzman et al. 2020,
    section 3.1). Each draw takes one uniform number, so that two models that are compared with the
    same seed are given the same chance at every step.

    Args:
        logits: z, of shape (vocabulary,).
        rng: Where the uniform number comes from.
        temperature: T; 0 takes the most likely.
        top_k: 0 is all.
        top_p: 1 is all.
    """
    z = np.nan_to_num(logits.astype(np.float64), nan=-np.inf)
    if temperature == 0 or not np.isfinite(z.max()):
        return int(np.argmax(z))
    order = np.argsort(-z, kind="stable")
    kept = order[: top_k or len(order)]
    odds = np.exp((z[kept] - z[kept[0]]) / temperature)
    share = np.cumsum(odds) / odds.sum()
    if top_p < 1:
        share = share[: int(np.searchsorted(share, top_p)) + 1]
    place = np.searchsorted(share, rng.random() * share[-1], side="right")
    return int(kept[min(int(place), len(share) - 1)])
