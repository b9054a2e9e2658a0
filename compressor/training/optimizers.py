"""torch's own optimizers and schedules, by the names of the recipe."""

import math
from collections.abc import Iterable

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from compressor.recipe.training import TrainOptions

RATES = {
    "sgd": 0.05,
    "momentum": 0.05,
    "nesterov": 0.05,
    "adagrad": 1e-2,
    "rmsprop": 1e-4,
    "adam": 1e-3,
    "adamw": 1e-3,
    "lbfgs": 0.5,
}
"""Learning rates that suit convolutions."""
GENTLE = 0.3
"""Times those: of attention, and of weights that are rounded."""


def rate_of(options: TrainOptions, *, gentle: bool) -> float:
    """The learning rate at its highest."""
    usual = RATES[options.optimizer] * (GENTLE if gentle else 1.0)
    return usual if options.rate is None else options.rate


def optimizer_of(
    options: TrainOptions, parameters: Iterable[torch.nn.Parameter], rate: float
) -> torch.optim.Optimizer:
    """The optimizer, over some parameters."""
    given, decay, momentum = list(parameters), options.weight_decay, options.momentum
    match options.optimizer:
        case "sgd":
            return torch.optim.SGD(given, rate, weight_decay=decay)
        case "momentum":
            return torch.optim.SGD(given, rate, momentum=momentum, weight_decay=decay)
        case "nesterov":
            return torch.optim.SGD(
                given, rate, momentum=momentum, weight_decay=decay, nesterov=True
            )
        case "adagrad":
            return torch.optim.Adagrad(given, rate, weight_decay=decay)
        case "rmsprop":
            return torch.optim.RMSprop(given, rate, momentum=momentum, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(given, rate, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(given, rate, weight_decay=decay)
        case "lbfgs":
            return torch.optim.LBFGS(given, rate, max_iter=4, history_size=10)


def schedule_of(
    options: TrainOptions, optimizer: torch.optim.Optimizer, rate: float, steps: int
) -> LRScheduler:
    """How the rate goes over so many steps."""
    warm = min(round(options.warmup * steps), steps - 1)
    if options.schedule == "one-cycle":
        share = min(0.9, max(options.warmup, 2 / (steps + 1)))
        has_momentum = any(key in optimizer.param_groups[0] for key in ("momentum", "betas"))
        return OneCycleLR(
            optimizer, rate, total_steps=steps + 1, pct_start=share, cycle_momentum=has_momentum
        )

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        done = min((step - warm) / max(steps - warm, 1), 1.0)
        match options.schedule:
            case "cosine":
                return 0.5 * (1 + math.cos(math.pi * done))
            case "step":
                return float(options.decay ** math.floor(3 * done))
            case "exponential":
                return float(options.decay**done)
            case _:
                return 1.0

    return LambdaLR(optimizer, factor)
