"""What a target can do with a decoder's cache that its runtime appends to in place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import onnx_ir as ir


@dataclass(frozen=True)
class SharedTensor:
    """A tensor of a cache that can be a buffer.

    Attributes:
        output: What a call gives for the next call's input.
        mask: The value that hides scores of its attention; None where nothing is hidden.
    """

    output: str
    mask: str | None


class SharedCaches(Protocol):
    """Rewrites graphs for a runtime with such an operator, which changes their inputs."""

    def why_not_here(self) -> str | None:
        """Why the installed runtime cannot run it; None where it can."""

    def cores_over_caches(self, model: ir.Model) -> dict[str, str]:
        """Softmax → the input whose keys it weighs, of attention over a cache."""

    def find_shared(self, model: ir.Model) -> dict[str, SharedTensor] | str:
        """The tensors of a cache that could be buffers: all of the graph; or why there are none."""

    def with_shared_caches(
        self, model: ir.Model, scales: Mapping[str, float | None], causal: Mapping[str, bool]
    ) -> ir.Model:
        """The graph with its caches as buffers; `model` stays as it is.

        Args:
            model: What ships, but for its caches.
            scales: Input → the scale of its integers; None of one in float.
            causal: Input of keys → whether its mask hides what comes later, and nothing else.

        Raises:
            RecipeError: The caches are others, or cannot be buffers.
        """
