"""Image folders: `class/name.jpg` with labels, or images side by side without."""

import os
import warnings
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calibration.preprocess import Preprocess
from calibration.sources.base import Axes, Fields, rows_per_chunk, shapes_of
from calibration.sources.folder import natural_order
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
_GRAY = frozenset({"1", "L", "LA", "La"})
_DEEP = ("I", "F")
"""Modes of more than eight bits, which conversion to RGB would clip."""


class ImageFolderSource:
    """Decoded images, uint8 NHWC under the name `image`, with `label` where there are classes.

    Classes are the folders in plain sorted order, as torchvision's ImageFolder counts them, and
    empty ones count. Samples alternate between the classes (the first image of each, then the
    second), so that any number of first samples covers them evenly. Images turn upright by their
    EXIF orientation and become RGB, or gray when every image is and neither mean nor standard
    deviation has three entries.

    With `size`, an image is resized (bilinear, antialiased, aspect kept) until it covers
    size / crop and its centre is cut out: torchvision's Resize and CenterCrop. Without, all
    images must already be of one size.
    """

    calls = False
    endless = False

    def __init__(self, folder: Path, preprocess: Preprocess, where: str) -> None:
        self.description = str(folder)
        self._where = where
        self._folder = folder
        self._size = preprocess.size
        self._crop = preprocess.crop
        if preprocess.crop != 1 and preprocess.size is None:
            raise DataError(
                f"{where}: a crop needs the size to crop to", hint="add --image-size HxW"
            )
        self._paths, labels = _find_images(folder, where)
        self.labels: Array | None = None if labels is None else np.array(labels, np.int64)
        if preprocess.channels not in (1, 3):
            raise DataError(
                f"{where}: mean or std has {preprocess.channels} entries, "
                "expected one or three for images"
            )
        gray = preprocess.channels == 1 and all(self._is_gray(path) for path in self._paths)
        self._mode = "L" if gray else "RGB"
        first = self._decode(self._paths[0])
        self._shape = first.shape
        specs = [TensorSpec("image", first.dtype, (len(self._paths), *first.shape))]
        if self.labels is not None:
            specs.append(TensorSpec("label", self.labels.dtype, (len(self._paths),)))
        self.specs: tuple[TensorSpec, ...] = tuple(specs)

    def count(self, axes: Axes) -> int | None:
        """The number of images."""
        return len(self._paths)

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """One shape: that of all images together."""
        yield shapes_of(self.specs)

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Decode the images in order; they are counted along the first dimension."""
        rows = rows_per_chunk(self.specs)
        for start in range(0, len(self._paths), rows):
            paths = self._paths[start : start + rows]
            images: Array = np.empty((len(paths), *self._shape), np.uint8)
            for row, path in enumerate(paths):
                images[row] = self._fitting(path)
            fields: Fields = {"image": images}
            if self.labels is not None and (axes is None or "label" in axes):
                fields["label"] = self.labels[start : start + rows].copy()
            yield fields

    def _fitting(self, path: str) -> Array:
        image = self._decode(path)
        if image.shape != self._shape:
            (height, width), first = image.shape[:2], self._shape[:2]
            raise DataError(
                f"{self._where}: {path} is {height}x{width} and {self._paths[0]} is "
                f"{first[0]}x{first[1]}: expected images of one size",
                hint="add --image-size HxW to resize and crop them",
            )
        return image

    def _is_gray(self, path: str) -> bool:
        with self._open(path) as image:
            return image.mode in _GRAY

    def _open(self, path: str) -> "Image":
        from PIL import Image  # noqa: PLC0415 - only image folders need it

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow comments on sizes and metadata
                return Image.open(self._folder / path)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise self._broken(path, error) from error

    def _decode(self, path: str) -> Array:
        from PIL import Image, ImageOps  # noqa: PLC0415 - only image folders need it

        with self._open(path) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.mode.startswith(_DEEP):
                raise DataError(
                    f"{self._where}: {path} has more than eight bits a channel ({image.mode})",
                    hint="store such images in an .npz file",
                )
            try:
                upright = ImageOps.exif_transpose(image)
                if upright.mode == "P" and "transparency" in upright.info:
                    upright = upright.convert("RGBA")
                upright = upright.convert(self._mode)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                raise self._broken(path, error) from error
            pixels = np.asarray(self._resized(upright))
        return pixels[..., None] if self._mode == "L" else pixels

    def _resized(self, image: "Image") -> "Image":
        from PIL.Image import Resampling  # noqa: PLC0415 - only image folders need it

        if self._size is None:
            return image
        height, width = self._size
        full = resized_size((image.height, image.width), self._size, self._crop)
        if full != (image.height, image.width):
            image = image.resize((full[1], full[0]), Resampling.BILINEAR)
        top, left = round((full[0] - height) / 2), round((full[1] - width) / 2)
        return image.crop((left, top, left + width, top + height))

    def _broken(self, path: str, error: Exception) -> DataError:
        return DataError(
            f"{self._where}: {path} is no readable image: {error}", hint="remove or replace it"
        )


def resized_size(stored: tuple[int, int], size: tuple[int, int], crop: float) -> tuple[int, int]:
    """Height and width that keep the aspect of `stored` and just cover `size` / `crop`."""
    height, width = stored
    need_height, need_width = (max(n, round(n / crop)) for n in size)
    if need_height * width >= need_width * height:
        return need_height, need_height * width // height
    return need_width * height // width, need_width


def has_images(folder: Path) -> bool:
    """Whether there is an image in the folder or one folder below."""
    levels = (folder.iterdir(), folder.glob("*/*"))
    return any(path.suffix.lower() in SUFFIXES for level in levels for path in level)


def _find_images(folder: Path, where: str) -> tuple[list[str], list[int] | None]:
    """Paths below `folder`, and the index of the class of each."""
    loose = _images_in(folder, deep=False)
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] not in "._")
    by_class = [
        [f"{name}/{path}" for path in _images_in(folder / name, deep=True)] for name in classes
    ]
    if not loose and not any(by_class):
        raise DataError(
            f"{where}: the folder holds neither .npz files nor images",
            hint="expected class/name.jpg, images side by side, or .npz files",
        )
    if loose and any(by_class):
        raise DataError(
            f"{where}: images lie both in class folders and beside them ({loose[0]})",
            hint="move them into the folder of their class, or out of the way",
        )
    if loose:
        return loose, None
    rounds = zip_longest(*([(path, i) for path in names] for i, names in enumerate(by_class)))
    pairs = [pair for group in rounds for pair in group if pair is not None]
    return [path for path, _ in pairs], [label for _, label in pairs]


def _images_in(folder: Path, *, deep: bool) -> list[str]:
    """Relative paths of the images, in natural order of their names."""
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = folders if deep else []
        relative = Path(place).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found, key=natural_order)
