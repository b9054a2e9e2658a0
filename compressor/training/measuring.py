"""What a step of training takes, in time and in memory, before so many are decided on."""

from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from compressor.recipe.training import Length

PROBED = 8
"""Steps whose speed fixes how many there are."""
SETTLING = 2
"""Of those, the first, which are slower."""
APART = 8
"""Steps between two looks within a time, at least: each takes as long as some steps."""


def looks_of(asked: int, steps: int, *, timed: bool) -> int:
    """How often the held-out samples are looked at in so many steps.

    Args:
        asked: How often at most.
        steps: Of the training.
        timed: Whether steps have to fit into a time, of which looks take a part.
    """
    return max(1, min(asked, steps // APART if timed else steps))


def steps_of(
    length: Length,
    epoch: int,
    step: Callable[[int], object],
    *,
    spent: float,
    each_look: float,
    looks: int,
    clock: Callable[[], float],
) -> int:
    """How many steps there are; for a time, by the speed of the first.

    Args:
        length: What was asked for.
        epoch: Steps of one pass over the data.
        step: Makes one; what it changes is undone by the caller.
        spent: Seconds since the training began.
        each_look: Seconds of one look at the held-out samples.
        looks: How often those are looked at, at most.
        clock: What passes.
    """
    if length.steps is not None:
        return length.steps
    if length.epochs is not None:
        return length.epochs * epoch
    assert length.seconds is not None, "a length has one of the three"
    times, began = list[float](), clock()
    for number in range(PROBED):
        start = clock()
        step(number)
        times.append(clock() - start)
        if number >= SETTLING and clock() - began > length.seconds / 4:
            break
    left, one = length.seconds - spent - (clock() - began), max(median(times[SETTLING:]), 1e-9)
    steps = int((left - looks * each_look) / one)
    if steps < looks * APART:
        steps = int(left / (one + each_look / APART))
    return max(1, steps)


def saved_bytes(run: Callable[[], tuple[Tensor, int]]) -> float:
    """Bytes a sample that a forward pass keeps for the backward one, each tensor once.

    Args:
        run: Makes such a pass; its loss, and the samples of the call.
    """
    seen: dict[tuple[int, int], int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr(), storage.nbytes()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        _, count = run()
    return sum(seen.values()) / count
