"""From stored arrays or images to model inputs: layout, scale, mean, standard deviation."""

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

Positive = Annotated[int, Field(gt=0)]

_AXES = {"nhwc-to-nchw": (0, 3, 1, 2), "nchw-to-nhwc": (0, 2, 3, 1)}


def fraction(value: object) -> object:
    """Take "1/255" for the number that it is."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value  # pydantic says that it is no number
    return value


_ORDERS = re.compile(r"(nhwc|nchw)(?:-to-|_to_|2|->|[-_:/])(nhwc|nchw)", re.IGNORECASE)


def layout_name(value: object) -> object:
    """A layout in the spelling that is used here; also of `nhwc->nchw` and `nhwc2nchw`.

    In a shell `>` would have to be quoted, or a file gets the other half of the name.
    """
    found = _ORDERS.fullmatch(value.strip()) if isinstance(value, str) else None
    return value if found is None else f"{found[1]}-to-{found[2]}".lower()


class Preprocess(BaseModel):
    """Turns stored arrays or images into model inputs.

    value = (stored · scale - mean) / std, per channel, then laid out as `layout`.

    With a single input it applies to that input; with several it applies to the images among
    them, which are the arrays of four dimensions and those of uint8, and the others pass as they
    are. Whatever `scale`, `mean` or `std` touch becomes float32; `layout` alone keeps the type.
    `mean` and `std` hold one number for all channels or one per channel. The channels are the
    axis that `layout` says, or else axis 1, or the last axis where only that has as many entries.

    Images of a folder become float32 NCHW unless `layout` is nchw-to-nhwc, and `scale` is 1/255
    unless given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: Annotated[
        Literal["keep", "nhwc-to-nchw", "nchw-to-nhwc"], BeforeValidator(layout_name)
    ] = Field(
        "keep",
        description="Axis order of the stored data and of the model's input: keep, nhwc-to-nchw or "
        "nchw-to-nhwc.",
    )
    scale: Annotated[float | None, BeforeValidator(fraction)] = Field(
        None, description="Factor on stored values: a number, or a fraction such as 1/255."
    )
    mean: tuple[float, ...] | None = Field(None, description="Subtracted per channel.")
    std: tuple[float, ...] | None = Field(None, description="Divided by, per channel.")
    size: tuple[Positive, Positive] | None = Field(
        None, description="Image folders: height and width after resizing and cropping."
    )
    crop: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Image folders: share of the resized image kept by the centre crop."
    )
    fit: Literal["cover", "stretch"] = Field(
        "cover",
        description="Image folders: cover keeps the aspect and cuts what is beyond the size; "
        "stretch does neither.",
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = Field(
        "bilinear", description="Image folders: how pixels of the resized image are made."
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.scale is not None and (not math.isfinite(self.scale) or self.scale == 0):
            raise ValueError(f"scale must be finite and not zero, found {self.scale}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and (not values or not all(map(math.isfinite, values))):
                raise ValueError(f"{name} must be one or more finite numbers, found {values}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be above zero, found {self.std}")
        if self.mean and self.std and 1 != len(self.mean) != len(self.std) != 1:
            raise ValueError(
                f"mean has {len(self.mean)} entries and std has {len(self.std)}: "
                "expected as many, or one for all channels"
            )
        return self

    @property
    def normalizes(self) -> bool:
        """Whether values change, so that the result is float32."""
        return self.scale is not None or self.mean is not None or self.std is not None

    @property
    def is_identity(self) -> bool:
        """Whether arrays pass as they are."""
        return self.layout == "keep" and not self.normalizes

    @property
    def channels(self) -> int:
        """The number of channels that `mean` and `std` speak of; 1 says nothing."""
        return max(len(self.mean or ()), len(self.std or ()), 1)

    def over(self, known: Mapping[str, object]) -> "Preprocess":
        """This preprocessing, with what it does not say itself as it is known of the model."""
        own = {name: getattr(self, name) for name in self.model_fields_set}
        return Preprocess.model_validate({**known, **own})

    def for_images(self) -> "Preprocess":
        """The preprocessing of decoded images, uint8 NHWC: float32 NCHW and 1/255 unless given."""
        return self.model_copy(
            update={
                "layout": "keep" if self.layout == "nchw-to-nhwc" else "nhwc-to-nchw",
                "scale": 1 / 255 if self.scale is None else self.scale,
            }
        )


def fields_to_preprocess(
    specs: Sequence[TensorSpec], preprocess: Preprocess, where: str
) -> frozenset[str]:
    """The names of the inputs that `preprocess` applies to.

    Raises:
        DataError: Several inputs, and none of them is an image.
    """
    if preprocess.is_identity:
        return frozenset()
    if len(specs) == 1:
        return frozenset(spec.name for spec in specs)
    images = frozenset(s.name for s in specs if len(s.shape) == 4 or s.dtype == np.uint8)
    if not images:
        raise DataError(
            f"{where}: with several inputs, preprocessing applies to those of four dimensions or "
            f"uint8, found {', '.join(map(str, specs))}",
            hint="leave --layout, --scale, --mean and --std out, and store the inputs as the model "
            "takes them",
        )
    return images


def check_size(spec: TensorSpec, preprocess: Preprocess, what: str) -> None:
    """Raise DataError when a size is asked for that stored images do not have.

    Only the images of a folder are resized; they have the size by the time they come here.
    """
    if preprocess.size is None or len(spec.shape) != 4:
        return
    places = {"nhwc-to-nchw": ((1, 3),), "nchw-to-nhwc": ((2, 4),)}
    candidates = places.get(preprocess.layout, ((1, 3), (2, 4)))
    if all(spec.shape[first:last] != preprocess.size for first, last in candidates):
        raise DataError(
            f"{what}: expected images of size {list(preprocess.size)}, found {spec}",
            hint="stored arrays are not resized: leave the size out, or resize them beforehand",
        )


def apply_preprocess(array: Array, preprocess: Preprocess, where: str) -> Array:
    """Lay out and normalize a batch of samples; the result is contiguous.

    Args:
        array: Samples along the first dimension.
        preprocess: What to do.
        where: Names the data and the field, to begin messages with.

    Raises:
        DataError: A layout for other than four dimensions, or a mean or standard deviation whose
            length is no channel count of the array.
    """
    axes = _AXES.get(preprocess.layout)
    if axes is not None:
        if array.ndim != 4:
            raise DataError(
                f"{where}: --layout {preprocess.layout} expects four dimensions, "
                f"found {list(array.shape[1:])} per sample",
                hint="leave --layout out, or store images with their channel axis",
            )
        array = array.transpose(axes)
    if not preprocess.normalizes:
        return np.ascontiguousarray(array)
    axis = _channel_axis(array.shape, preprocess, where)
    with np.errstate(over="ignore", invalid="ignore"):  # Inf and NaN are reported per sample
        values = array.astype(np.float32, order="C")
        if preprocess.scale is not None:
            values *= np.float32(preprocess.scale)
        if preprocess.mean is not None:
            values -= _per_channel(preprocess.mean, axis, values.ndim)
        if preprocess.std is not None:
            values /= _per_channel(preprocess.std, axis, values.ndim)
    return values


def undo_normalization(array: Array, preprocess: Preprocess, where: str) -> Array:
    """The inverse of `apply_preprocess` but for the layout, which stays.

    stored = (value · std + mean) / scale, per channel.

    Args:
        array: Model inputs, samples along the first dimension.
        preprocess: What was done.
        where: Names the data and the field, to begin messages with.

    Raises:
        DataError: See `apply_preprocess`.
    """
    axis = _channel_axis(array.shape, preprocess, where)
    values = array.astype(np.float32)
    if preprocess.std is not None:
        values *= _per_channel(preprocess.std, axis, values.ndim)
    if preprocess.mean is not None:
        values += _per_channel(preprocess.mean, axis, values.ndim)
    if preprocess.scale is not None:
        values /= np.float32(preprocess.scale)
    return values


def _channel_axis(shape: tuple[int, ...], preprocess: Preprocess, where: str) -> int:
    channels = preprocess.channels
    if channels == 1:
        return 0  # one number for all channels broadcasts
    known = {"nhwc-to-nchw": (1,), "nchw-to-nhwc": (3,)}
    candidates = known.get(preprocess.layout, (1, len(shape) - 1))
    for axis in candidates:
        if 0 < axis < len(shape) and shape[axis] == channels:
            return axis
    raise DataError(
        f"{where}: mean or std has {channels} entries, and no channel axis of "
        f"{list(shape[1:])} per sample has that length",
        hint="give one number for all channels, or one per channel",
    )


def _per_channel(values: tuple[float, ...], axis: int, rank: int) -> npt.NDArray[np.float32]:
    vector = np.array(values, np.float32)
    if len(values) == 1:
        return vector.reshape([1] * rank)
    return vector.reshape([-1 if i == axis else 1 for i in range(rank)])
