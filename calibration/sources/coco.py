"""Boxes as COCO keeps them: a JSON document of images, annotations and categories.

Labels are what the metrics of detectors read, (samples, boxes, 5): x1, y1, x2, y2 and the class in
pixels of the picture as the model gets it, resized and cut with it; rows of class −1 fill up.
Format: https://cocodataset.org/#format-data ("bbox" is x, y, width, height).
"""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from calibration.encoders.pictures import resized_size
from calibration.preprocess import Preprocess
from calibration.sources.audio import class_numbers
from calibration.sources.images import ImageFolderSource
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec

NOTHING = -1
"""The class of rows that fill up."""
_PARTS = ("images", "annotations", "categories")


class CocoSource(ImageFolderSource):
    """Pictures that a document names, with their boxes as labels.

    Files lie beside the document, in a folder `images` there, or in one above it that is called as
    the end of the document's name (annotations/instances_val2017.json, val2017/). Categories are
    numbered as the model numbers its classes where it has their names, else by ascending id.
    Crowds, which are no single object, are left out.
    """

    def __init__(
        self, path: Path, preprocess: Preprocess, where: str, classes: tuple[str, ...] = ()
    ) -> None:
        self._document = _document(path, where)
        self._names = classes
        names = [str(image["file_name"]) for image in self._document["images"]]
        super().__init__(_folder(path, names, where), preprocess, where)
        self.description = str(path)
        self.labels = self._boxes(where)
        spec = TensorSpec("label", self.labels.dtype, self.labels.shape)
        self.specs = (self.specs[0], spec)

    def _found(self, classes: tuple[str, ...]) -> tuple[list[str], list[int] | None]:
        return [str(image["file_name"]) for image in self._document["images"]], None

    def _boxes(self, where: str) -> Any:
        """The boxes of every image in its order."""
        numbers = _numbers(self._document["categories"], self._names)
        found = defaultdict[Any, list[list[float]]](list)
        for one in self._document["annotations"]:
            if one.get("iscrowd"):
                continue
            if one["category_id"] not in numbers:
                raise DataError(f"{where}: there is no category {one['category_id']!r}")
            x, y, width, height = map(float, one["bbox"])
            box = [x, y, x + width, y + height, float(numbers[one["category_id"]])]
            found[one["image_id"]].append(box)
        images = self._document["images"]
        most = max((len(found[image["id"]]) for image in images), default=0)
        labels = np.full((len(images), max(most, 1), 5), NOTHING, np.float32)
        labels[..., :4] = 0
        for row, image in enumerate(images):
            boxes = np.array(found[image["id"]], np.float32).reshape(-1, 5)
            boxes[:, :4] = self._moved(boxes[:, :4], str(image["file_name"]))
            labels[row, : len(boxes)] = boxes
        return labels

    def _moved(self, boxes: Any, path: str) -> Any:
        """Corners in the picture as the model gets it: resized, cut, and within its edges."""
        if self._size is None or not len(boxes):
            return boxes
        with self._open(path) as image:
            stored = image.height, image.width
        height, width = self._size
        full = self._size if self._stretch else resized_size(stored, self._size, self._crop)
        top, left = round((full[0] - height) / 2), round((full[1] - width) / 2)
        scale = np.array([full[1] / stored[1], full[0] / stored[0]] * 2, np.float32)
        moved = boxes * scale - np.array([left, top] * 2, np.float32)
        return moved.clip(0, np.array([width, height] * 2, np.float32))


def _document(path: Path, where: str) -> dict[str, Any]:
    """The document, whose parts are there.

    Raises:
        DataError: It is no such document.
    """
    hint = 'Expected {"images": [...], "annotations": [...], "categories": [...]}, as COCO has it.'
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{where}: cannot be read as JSON: {error}", hint=hint) from error
    document = document if isinstance(document, dict) else {}
    missing = [part for part in _PARTS if not isinstance(document.get(part), list)]
    if missing:
        raise DataError(f"{where}: the document has no list {missing[0]!r}", hint=hint)
    wanted = {
        "images": ("id", "file_name"),
        "annotations": ("image_id", "category_id", "bbox"),
        "categories": ("id", "name"),
    }
    for part, keys in wanted.items():
        for number, one in enumerate(document[part]):
            lacking = [key for key in keys if not isinstance(one, dict) or key not in one]
            if lacking:
                raise DataError(f"{where}: {part}[{number}] has no {lacking[0]!r}", hint=hint)
            strange = [key for key in keys if not _is_right(key, one[key])]
            if strange:
                found = f"{one[strange[0]]!r:.60}"
                raise DataError(
                    f"{where}: {part}[{number}] has the {strange[0]!r} {found}", hint=hint
                )
    if not document["images"]:
        raise DataError(f"{where}: the document names no images", hint=hint)
    return dict(document)


def _is_right(key: str, value: object) -> bool:
    """Whether a value is of the type that COCO has for its key."""
    if key == "bbox":
        numbers = value if isinstance(value, list) else []
        return len(numbers) == 4 and all(
            isinstance(one, int | float) and math.isfinite(one) for one in numbers
        )
    if key in ("file_name", "name"):
        return isinstance(value, str)
    return isinstance(value, int | str)


def _folder(path: Path, names: list[str], where: str) -> Path:
    """Where the images lie.

    Raises:
        DataError: The first one lies nowhere.
    """
    above, split = path.parent.parent, path.stem.rpartition("_")[2]
    folders = [path.parent, path.parent / "images", above / split, above / "images", above]
    for folder in folders:
        if (folder / names[0]).is_file():
            return folder
    tried = ", ".join(str(folder) for folder in folders[:3])
    raise DataError(
        f"{where}: the image {names[0]} is in none of {tried}",
        hint=f"Put the images beside {path.name}, or in a folder images there.",
    )


def _numbers(categories: list[dict[str, Any]], names: tuple[str, ...]) -> dict[Any, int]:
    """Id of a category → number of its class."""
    by_name = class_numbers([str(one["name"]) for one in categories], names)
    known = {name.casefold() for name in names}
    if categories and all(str(one["name"]).casefold() in known for one in categories):
        return {one["id"]: by_name[str(one["name"])] for one in categories}
    ordered = sorted(one["id"] for one in categories)
    return {number: place for place, number in enumerate(ordered)}
