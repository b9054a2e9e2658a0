"""What forms of convolutions that enlarge have in common: places are found, and replaced."""

from abc import abstractmethod

import onnx_ir as ir

from compressor.errors import RecipeError
from exporters.base.form import Form, Place
from exporters.ort.forms.emitting import Emitter
from exporters.ort.forms.upsampling import Upsampling, upsamplings


class UpsamplingForm(Form):
    """A form of a convolution that enlarges."""

    @abstractmethod
    def fits(self, place: Upsampling) -> bool:
        """Whether it computes the same there."""

    @abstractmethod
    def emit(self, to: Emitter, place: Upsampling) -> ir.Value:
        """Put its nodes in; what they write takes the place of `place.y`."""

    def places(self, model: ir.Model) -> list[Place]:
        """Wherever it fits."""
        return [
            Place(one.name, one.operator, one.x.name or "", one.y.name or "")
            for one in upsamplings(model)
            if self.fits(one)
        ]

    def rewrite(self, model: ir.Model, node: str) -> None:
        """One place.

        Raises:
            RecipeError: The form does not fit there.
        """
        found = (one for one in upsamplings(model) if one.name == node and self.fits(one))
        place = next(found, None)
        if place is None:
            raise RecipeError(f"the plan makes {node!r} {self.words}, and it cannot be one")
        to = Emitter(model, place)
        to.replace(self.emit(to, place))
