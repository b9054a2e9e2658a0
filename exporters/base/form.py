"""Forms: other operators that compute exactly what an operator computes, with faster kernels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir


@dataclass(frozen=True)
class Place:
    """Where a form fits.

    Attributes:
        node: Name of the node that is rewritten; a plan calls the place so.
        operator: What is rewritten, for people: `ConvTranspose`, `Resize + Conv`.
        reads: The values that what is timed computes from: the place, or more where it depends on
            its neighbours how fast that is.
        writes: The value that it computes, which keeps its name.
    """

    node: str
    operator: str
    reads: tuple[str, ...]
    writes: str


class Form(ABC):
    """A rewrite of a target, one a file; equal in float up to rounding.

    Attributes:
        name: As plans call it.
        words: What it is, for people: "a sub-pixel convolution".
        computes: Whether its kernels gain in integers, or it is float in a quantized graph, too.
    """

    name: str
    words: str
    computes: Literal["integers", "floats"] = "integers"

    @abstractmethod
    def places(self, model: ir.Model) -> list[Place]:
        """Where it fits, in graph order."""

    @abstractmethod
    def rewrite(self, model: ir.Model, node: str) -> None:
        """Rewrite one place, in place. Its new nodes are named after `node`.

        Raises:
            RecipeError: The form does not fit there.
        """


def advice(forms: Iterable[Form], model: ir.Model) -> tuple[str, ...]:
    """What operators of a graph can be instead, exactly: a sentence for each kind of place."""
    places: dict[str, dict[str, None]] = {}
    words: dict[str, dict[str, None]] = {}
    for form in forms:
        for place in form.places(model):
            places.setdefault(place.operator, {})[place.node] = None
            words.setdefault(place.operator, {})[form.words] = None
    return tuple(
        f"{operator} ({', '.join(nodes)}) can be {' or '.join(words[operator])}, exactly: "
        "compress takes what it measures faster"
        for operator, nodes in places.items()
    )
