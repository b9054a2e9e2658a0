"""Image folders: `class/name.jpg` with labels, or images side by side without."""

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from calibration.encoders.pictures import as_array, resized, upright
from calibration.preprocess import Preprocess
from calibration.sources.audio import class_numbers
from calibration.sources.base import Axes, Fields, rows_per_chunk, shapes_of
from calibration.sources.columns import Columns, label_numbers
from calibration.sources.folder import natural_order
from calibration.sources.tables import Table
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec
from compressor.system.special import why_no_file

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
    empty ones count; where the model has names for its classes, and those of all folders, they are
    numbered as the model numbers them. Samples alternate between the classes (the first image of
    each, then the second), so that any number of first samples covers them evenly. Images turn
    upright by their EXIF orientation and become RGB, or gray when every image is and neither mean
    nor standard deviation has three entries.

    With `size`, an image is resized (antialiased, aspect kept) until it covers size / crop and its
    centre is cut out: torchvision's Resize and CenterCrop. With `fit` "stretch" it is resized to
    that size as it is. Without a size, all images must already be of one.
    """

    calls = False
    endless = False
    made_by: str | None = None

    def __init__(
        self, folder: Path, preprocess: Preprocess, where: str, classes: tuple[str, ...] = ()
    ) -> None:
        self.description = str(folder)
        self._where = where
        self._folder = folder
        self._paths, labels = self._found(classes)
        self._size, self._crop = preprocess.size, preprocess.crop
        self._stretch, self._interpolation = preprocess.fit == "stretch", preprocess.interpolation
        if preprocess.crop != 1 and preprocess.size is None:
            raise DataError(
                f"{where}: a crop needs the size to crop to", hint="add --image-size HxW"
            )
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

    def _found(self, classes: tuple[str, ...]) -> tuple[list[str], list[int] | None]:
        """Names of the images, and the class of each."""
        return _find_images(self._folder, self._where, classes)

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

        file = self._file(path)
        special = why_no_file(file) if isinstance(file, Path) else None
        if special is not None:
            raise DataError(f"{self._where}: {path} is {special}, and no image", hint="Remove it.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow comments on sizes and metadata
                return Image.open(file)
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise self._broken(path, error) from error

    def _file(self, path: str) -> "Path | BinaryIO":
        return self._folder / path

    def _decode(self, path: str) -> Array:

        with self._open(path) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.mode.startswith(_DEEP):
                raise DataError(
                    f"{self._where}: {path} has more than eight bits a channel ({image.mode})",
                    hint="store such images in an .npz file",
                )
            try:
                turned = upright(image, self._mode)
            except Exception as error:  # decoders of damaged files raise nearly anything
                raise self._broken(path, error) from error
            return as_array(self._resized(turned))

    def _resized(self, image: "Image") -> "Image":
        if self._size is None:
            return image
        return resized(
            image,
            self._size,
            crop=self._crop,
            stretch=self._stretch,
            interpolation=self._interpolation,
        )

    def _broken(self, path: str, error: Exception) -> DataError:
        return DataError(
            f"{self._where}: {path} is no readable image: {error}", hint="remove or replace it"
        )


def has_images(folder: Path) -> bool:
    """Whether there is an image in the folder or one folder below."""
    levels = (folder.iterdir(), folder.glob("*/*"))
    return any(path.suffix.lower() in SUFFIXES for level in levels for path in level)


class ImageRecordSource(ImageFolderSource):
    """Pictures of the rows of a table: files that it names, or the files themselves."""

    def __init__(
        self, table: Table, columns: Columns, preprocess: Preprocess, classes: tuple[str, ...]
    ) -> None:
        self._values = list(table.columns[columns.inputs[0]])
        self._numbers: list[int] | None = None
        if columns.label is not None:
            self._numbers = label_numbers(table, columns.label, classes).tolist()
        super().__init__(table.folder, preprocess, table.where)

    def _found(self, classes: tuple[str, ...]) -> tuple[list[str], list[int] | None]:
        return [str(row) for row in range(len(self._values))], self._numbers

    def _file(self, path: str) -> "Path | BinaryIO":
        value = self._values[int(path)]
        if isinstance(value, dict) and value.get("bytes"):
            return io.BytesIO(value["bytes"])
        return self._folder / str(value.get("path") if isinstance(value, dict) else value)


def _find_images(
    folder: Path, where: str, names: tuple[str, ...] = ()
) -> tuple[list[str], list[int] | None]:
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
    numbers = class_numbers(classes, names)
    rounds = zip_longest(
        *([(path, numbers[name]) for path in found]
          for name, found in zip(classes, by_class, strict=True))
    )  # fmt: skip
    pairs = [pair for group in rounds for pair in group if pair is not None]
    return [path for path, _ in pairs], [label for _, label in pairs]


def _images_in(folder: Path, *, deep: bool) -> list[str]:
    """Relative paths of the images, in natural order of their names."""
    found, seen = [], set[tuple[int, int]]()
    for place, folders, names in os.walk(folder, followlinks=True):
        told = Path(place).stat()
        if (told.st_dev, told.st_ino) in seen:  # a link to a folder around it
            folders.clear()
            continue
        seen.add((told.st_dev, told.st_ino))
        folders[:] = folders if deep else []
        relative = Path(place).relative_to(folder)
        found += [
            (relative / name).as_posix()
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found, key=natural_order)
