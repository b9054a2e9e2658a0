"""What the pruner begins from for later targets; whole runs are in test_pipeline_pruning.py."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from compressor.search.pruning.pruner import Pruner
from compressor.search.pruning.steps import Base


def base(blocks: int, left: float) -> Base:
    """A base of which nothing but the cost without channels removed is looked at."""
    return cast(Base, SimpleNamespace(blocks=blocks, sizes=left))


def cost_of(sizes: Any) -> Callable[[object], float]:
    return lambda kept: float(sizes)


@pytest.mark.parametrize(
    ("target", "blocks"), [(50.0, 1), (30.0, 1), (60.0, 0)], ids=["first", "further", "back"]
)
def test_a_smaller_share_is_not_held_to_the_blocks_of_the_first(target: float, blocks: int):
    pruner = cast(Any, object.__new__(Pruner))
    pruner.whole, pruner._chosen, pruner._first = base(0, 100.0), base(1, 40.0), 50.0
    assert pruner._base_for(cost_of, target).blocks == blocks
