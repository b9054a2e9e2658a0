"""Documents of COCO: images, boxes in the model's own pixels, classes, and what is no such."""

import json

import numpy as np
import pytest
from PIL import Image

from calibration.dataset import open_dataset
from calibration.encoders.base import Encoders
from calibration.preprocess import Preprocess
from compressor.errors import DataError

CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
BOXES = [
    {"image_id": 1, "category_id": 7, "bbox": [10, 20, 30, 10]},
    {"image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 8], "iscrowd": 0},
    {"image_id": 2, "category_id": 3, "bbox": [0, 0, 40, 80], "iscrowd": 1},
]


def document(folder, place="", **changed):
    (folder / place).mkdir(parents=True, exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((40, 80, 3), np.uint8)).save(folder / place / name)
    told = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": BOXES,
        "categories": CATEGORIES,
    }
    path = folder / "annotations" / "instances_val.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**told, **changed}))
    return path


def labels(path, encoders=None, **preprocess):
    found = open_dataset(
        str(path), preprocess=Preprocess(**preprocess), encoders=encoders or Encoders()
    )
    return found.head(2).labels


@pytest.mark.parametrize("images", ["annotations", "annotations/images", "val", "images"])
def test_boxes_are_corners_with_the_place_of_their_category(tmp_path, images):
    found = labels(document(tmp_path, images))
    assert found.tolist() == [
        [[10, 20, 40, 30, 1], [0, 0, 4, 8, 0]],
        [[0, 0, 0, 0, -1], [0, 0, 0, 0, -1]],
    ]


def test_boxes_go_with_the_picture(tmp_path):
    path = document(tmp_path, "val")
    assert labels(path, size=(20, 20), fit="stretch")[0, 0].tolist() == [2.5, 10, 10, 15, 1]
    # 40x80 covers 20x20 as 20x40, of which 10 go on either side
    assert labels(path, size=(20, 20))[0].tolist() == [[0, 10, 10, 15, 1], [0, 0, 0, 4, 0]]


def test_classes_are_numbered_as_the_model_names_them(tmp_path):
    path = document(tmp_path, "val")
    assert labels(path, Encoders(labels=("bird", "Cat", "dog")))[0, :, 4].tolist() == [2, 1]
    assert labels(path, Encoders(labels=("bird", "cow")))[0, :, 4].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"images": []}, "names no images"),
        ({"annotations": None}, "no list 'annotations'"),
        ({"annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}]}, r"annotations\[0\] has no"),
        ({"categories": CATEGORIES[:1]}, "no category 3"),
        ({"images": [{"id": 1, "file_name": "lost.png"}]}, "lost.png is in none of"),
    ],
)
def test_what_is_no_such_document_is_told(tmp_path, changed, told):
    with pytest.raises(DataError, match=told):
        labels(document(tmp_path, "val", **changed))


def test_a_file_that_is_no_json_is_told(tmp_path):
    (tmp_path / "boxes.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        labels(tmp_path / "boxes.json")
    with pytest.raises(DataError, match="no such file"):
        labels(tmp_path / "other.json")


@pytest.mark.parametrize(
    "document",
    [
        [],
        3,
        {"images": 1, "annotations": [], "categories": []},
        {"images": [{"id": [], "file_name": "a.png"}], "annotations": [], "categories": []},
        {"images": [{"id": 1, "file_name": 5}], "annotations": [], "categories": []},
        {
            "images": [{"id": 1, "file_name": "a.png"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, None, 1]}],
            "categories": [{"id": 1, "name": "cat"}],
        },
        {
            "images": [{"id": 1, "file_name": "a.png"}],
            "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1]}],
            "categories": [{"id": 1, "name": "cat"}],
        },
    ],
)
def test_a_document_of_other_types_is_refused(tmp_path, document):
    (tmp_path / "boxes.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"boxes\.json"):
        open_dataset(str(tmp_path / "boxes.json"), role="evaluation", seed=0)
