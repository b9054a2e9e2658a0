"""Forms: other operators that compute exactly what an operator computes, with faster kernels."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    """Where a form fits.

    Attributes:
        node: Name of the node that is rewritten; a plan calls the place so.
        operator: What is rewritten, for people: `ConvTranspose`, `Resize + Conv`.
        reads: The value that the place computes from.
        writes: The value that it computes, which keeps its name.
    """

    node: str
    operator: str
    reads: str
    writes: str


class Form(ABC):
    """A rewrite of a target, one a file; equal in float up to rounding.

    Attributes:
        name: As plans call it.
        words: What it is, for people: "a sub-pixel convolution".
    """

    name: str
    words: str

    @abstractmethod
    def places(self, model: ir.Model) -> list[Place]:
        """Where it fits, in graph order."""

    @abstractmethod
    def rewrite(self, model: ir.Model, node: str) -> None:
        """Rewrite one place, in place. Its new nodes are named after `node`.

        Raises:
            RecipeError: The form does not fit there.
        """
