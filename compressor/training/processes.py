"""Several processes that train together, as `torchrun` starts them.

Each computes its part of every batch; torch's distributed data parallel averages the gradients, so
that all have the same weights throughout. The first decides how many steps there are, and writes.
"""

import os
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class World:
    """The processes.

    Attributes:
        rank: This one's number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def agreed(self, number: int) -> int:
        """The first one's number."""
        if self.size == 1:
            return number
        told = torch.tensor([number])
        distributed.broadcast(told, 0)
        return int(told)


def joined(device: str) -> World:
    """This process among those that `torchrun` has started; alone without it.

    Args:
        device: Where it trains: gradients meet through gloo, of GPUs through NCCL.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size <= 1 or not distributed.is_available():
        return World()
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return World(distributed.get_rank(), distributed.get_world_size())
