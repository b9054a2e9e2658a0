"""Pictures as inputs: upright, of one mode, resized and cropped as the model's folder says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.encoders.base import Fields
from compressor.errors import DataError
from compressor.graph.tensors import Array

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class PictureEncoder:
    """value = (stored · scale − mean) / std, of a picture that was resized and cropped; NCHW.

    Attributes:
        known: Fields of the preprocessing, as a model's folder has them: scale, mean, std, size,
            crop, fit, interpolation.
        name: The input.
    """

    known: Mapping[str, Any]
    name: str = "pixel_values"

    def encode(self, picture: object) -> Fields:
        """The input of one picture: a file, an image of Pillow, or an array of bytes (HWC).

        Raises:
            DataError: It cannot be read.
        """
        from PIL import Image  # noqa: PLC0415 - only pictures need it

        if isinstance(picture, str | Path):
            try:
                picture = Image.open(picture)
            except (OSError, ValueError, SyntaxError) as error:
                raise DataError(f"{picture} is no readable image: {error}") from error
        image = (
            picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
        )
        pixels = np.asarray(self._resized(upright(image, "RGB")), np.float32)
        value: Array = pixels * np.float32(self.known.get("scale", 1 / 255))
        value = value - np.array(self.known.get("mean", (0.0,)), np.float32)
        value = value / np.array(self.known.get("std", (1.0,)), np.float32)
        return {self.name: np.ascontiguousarray(value.transpose(2, 0, 1)[np.newaxis])}

    def _resized(self, image: "Image") -> "Image":
        size = self.known.get("size")
        if size is None:
            return image
        return resized(
            image,
            (int(size[0]), int(size[1])),
            crop=float(self.known.get("crop", 1.0)),
            stretch=self.known.get("fit") == "stretch",
            interpolation=str(self.known.get("interpolation", "bilinear")),
        )


def upright(image: "Image", mode: str) -> "Image":
    """A picture turned as its EXIF orientation says, in another mode."""
    from PIL import ImageOps  # noqa: PLC0415 - only pictures need it

    turned = ImageOps.exif_transpose(image)
    if turned.mode == "P" and "transparency" in turned.info:
        turned = turned.convert("RGBA")
    return turned.convert(mode)


def resized(
    image: "Image", size: tuple[int, int], *, crop: float, stretch: bool, interpolation: str
) -> "Image":
    """A picture of a size: stretched to it, or made to cover size / crop and cut out of the middle.

    Args:
        image: The picture.
        size: Height and width.
        crop: Share of the side of the resized picture that is kept.
        stretch: Whether the aspect may change; then nothing is cut.
        interpolation: Pillow's name of the filter, in small letters.
    """
    from PIL.Image import Resampling  # noqa: PLC0415 - only pictures need it

    height, width = size
    kind = Resampling[interpolation.upper()]
    if stretch:
        return image.resize((width, height), kind)
    full = resized_size((image.height, image.width), size, crop)
    if full != (image.height, image.width):
        image = image.resize((full[1], full[0]), kind)
    top, left = round((full[0] - height) / 2), round((full[1] - width) / 2)
    return image.crop((left, top, left + width, top + height))


def resized_size(stored: tuple[int, int], size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Height and width that keep the aspect of `stored` and just cover `size` / `crop`."""
    height, width = stored
    need_height, need_width = (max(n, round(n / crop)) for n in size)
    if need_height * width >= need_width * height:
        return need_height, need_height * width // height
    return need_width * height // width, need_width


def as_array(image: "Image") -> Array:
    """The pixels, with an axis of channels."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
