"""What all forms have in common: places are found, and replaced."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.emitting import Emitter, Found
from exporters.base.form import Form, Place
from exporters.ort.forms.upsampling import Upsampling, upsamplings

T = TypeVar("T", bound=Found)


class FoundForm(Form, Generic[T]):
    """A form of places that are found by looking at the graph."""

    @abstractmethod
    def found(self, model: ir.Model) -> Iterator[T]:
        """The places that it computes the same at, in graph order."""

    @abstractmethod
    def put(self, to: Emitter, place: T) -> None:
        """Put its nodes in, and let what they write take the place of what was written."""

    def cut(self, place: T) -> Place:
        """What is timed: the place alone."""
        return Place(place.name, place.operator, (place.x.name or "",), place.y.name or "")

    def places(self, model: ir.Model) -> list[Place]:
        """Wherever it fits."""
        return [self.cut(one) for one in self.found(model)]

    def rewrite(self, model: ir.Model, node: str) -> None:
        """One place.

        Raises:
            RecipeError: The form does not fit there.
        """
        place = next((one for one in self.found(model) if one.name == node), None)
        if place is None:
            raise RecipeError(f"the plan makes {node!r} {self.words}, and it cannot be one")
        self.put(Emitter(model, place), place)


class UpsamplingForm(FoundForm[Upsampling]):
    """A form of a convolution that enlarges."""

    @abstractmethod
    def fits(self, place: Upsampling) -> bool:
        """Whether it computes the same there."""

    @abstractmethod
    def emit(self, to: Emitter, place: Upsampling) -> ir.Value:
        """Put its nodes in; what they write takes the place of `place.y`."""

    def found(self, model: ir.Model) -> Iterator[Upsampling]:
        """Wherever it fits."""
        return filter(self.fits, upsamplings(model))

    def put(self, to: Emitter, place: Upsampling) -> None:
        """Its nodes."""
        to.replace(self.emit(to, place))
