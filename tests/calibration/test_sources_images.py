"""Image folders: labels, order, decoding, resizing."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from calibration.dataset import open_dataset
from calibration.encoders.pictures import resized_size
from calibration.preprocess import Preprocess
from calibration.sources.images import ImageFolderSource
from compressor.errors import DataError

GENERATOR = np.random.default_rng(0)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def colour(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), (value, 0, 255 - value), np.uint8)


def test_classes_are_sorted_folders_and_alternate(tmp_path):
    for name, count in (("zebra", 1), ("ant", 3), ("dog", 2)):
        for i in range(count):
            write(tmp_path / name / f"{i}.png", colour(10 * i))
    (tmp_path / "cat").mkdir()  # an empty class keeps its index
    (tmp_path / ".hidden").mkdir()
    data = open_dataset(tmp_path)
    batch = data.head(99)
    assert batch.labels.tolist() == [0, 2, 3, 0, 2, 0]
    reds = np.rint(batch.inputs["image"][:, 0, 0, 0] * 255).tolist()
    assert reds == [0, 0, 0, 10, 10, 20]


def test_classes_are_counted_without_decoding(tmp_path, monkeypatch):
    for name, count in (("ant", 6), ("dog", 2)):
        for i in range(count):
            write(tmp_path / name / f"{i}.png", colour(10 * i))
    data = open_dataset(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(ImageFolderSource, "chunks", None)
        sides = data.split(0.5, 0)
    for side in sides:
        assert sorted(side.head(9).labels.tolist()) == [0, 0, 0, 1]


def test_images_become_float_nchw_by_default(tmp_path):
    pixels = GENERATOR.integers(0, 256, (8, 9, 3), np.uint8)
    write(tmp_path / "a.png", pixels)
    data = open_dataset(tmp_path)
    assert not data.has_labels
    assert str(data.fields[0]) == "image:float32[batch,3,8,9]"
    expected = pixels.astype(np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(data.head(1).inputs["image"][0], expected, rtol=1e-6)
    nhwc = open_dataset(tmp_path, preprocess=Preprocess(layout="nchw-to-nhwc", scale=1))
    np.testing.assert_array_equal(nhwc.head(1).inputs["image"][0], pixels)
    normalized = open_dataset(tmp_path, preprocess=Preprocess(mean=(0.1, 0.2, 0.3), std=(2.0,)))
    np.testing.assert_allclose(
        normalized.head(1).inputs["image"][0],
        (expected - np.float32([0.1, 0.2, 0.3])[:, None, None]) / 2,
        atol=1e-6,
    )


def test_resize_and_centre_crop_as_the_evaluation_of_torchvision(tmp_path):
    """Resize(20) then CenterCrop(16) of a 40x60 image: 20x30, rows 2..18, columns 7..23."""
    pixels = GENERATOR.integers(0, 256, (40, 60, 3), np.uint8)
    write(tmp_path / "a" / "x.png", pixels)
    preprocess = Preprocess(size=(16, 16), crop=0.8, scale=1)
    found = open_dataset(tmp_path, preprocess=preprocess).head(1).inputs["image"][0]
    resized = Image.fromarray(pixels).resize((30, 20), Image.Resampling.BILINEAR)
    expected = np.asarray(resized, np.float32)[2:18, 7:23].transpose(2, 0, 1)
    np.testing.assert_array_equal(found, expected)


@given(
    stored=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    crop=st.floats(0.1, 1),
)
def test_resized_images_cover_the_crop_and_keep_their_aspect(stored, size, crop):
    height, width = resized_size(stored, size, crop)
    need = [max(n, round(n / crop)) for n in size]
    assert height >= need[0] and width >= need[1]
    assert height == need[0] or width == need[1]
    assert abs(height * stored[1] - width * stored[0]) < max(stored)


def test_resnet_evaluation_size():
    assert resized_size((375, 500), (224, 224), 0.875) == (256, 341)
    assert resized_size((500, 375), (224, 224), 0.875) == (341, 256)


def test_images_of_several_sizes_need_a_size(tmp_path):
    write(tmp_path / "a.png", colour(1, 8, 8))
    write(tmp_path / "b.png", colour(1, 8, 12))
    with pytest.raises(DataError, match=r"b.png is 8x12 and a.png is 8x8") as error:
        open_dataset(tmp_path).head(2)
    assert "--image-size" in error.value.hint
    assert len(open_dataset(tmp_path, preprocess=Preprocess(size=(6, 6))).head(2)) == 2
    with pytest.raises(DataError, match="needs the size"):
        open_dataset(tmp_path, preprocess=Preprocess(crop=0.9))


def test_exif_orientation_turns_images_upright(tmp_path):
    pixels = GENERATOR.integers(0, 256, (6, 10, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: show it turned by 90 degrees clockwise
    write(tmp_path / "a.png", pixels, exif=exif)
    found = open_dataset(tmp_path, preprocess=Preprocess(scale=1)).head(1).inputs["image"][0]
    np.testing.assert_array_equal(found, np.rot90(pixels, -1).transpose(2, 0, 1))


def test_gray_only_when_every_image_is_and_nothing_says_colour(tmp_path):
    gray = GENERATOR.integers(0, 256, (8, 8), np.uint8)
    write(tmp_path / "a.png", gray)
    assert open_dataset(tmp_path).fields[0].shape == ("batch", 1, 8, 8)
    single = open_dataset(tmp_path, preprocess=Preprocess(mean=(0.5,), std=(0.5,)))
    assert single.fields[0].shape == ("batch", 1, 8, 8)
    three = open_dataset(tmp_path, preprocess=Preprocess(mean=(0.5, 0.5, 0.5)))
    assert three.fields[0].shape == ("batch", 3, 8, 8)
    write(tmp_path / "b.png", colour(7))
    mixed = open_dataset(tmp_path)
    assert mixed.fields[0].shape == ("batch", 3, 8, 8)
    np.testing.assert_allclose(mixed.head(1).inputs["image"][0] * 255, [gray] * 3, rtol=1e-6)


def test_palette_alpha_and_cmyk_become_rgb(tmp_path):
    base = Image.fromarray(colour(255))
    base.convert("P").save(tmp_path / "a.png")
    base.convert("RGBA").save(tmp_path / "b.png")
    base.convert("CMYK").save(tmp_path / "c.tif")
    clear = base.convert("P")
    clear.save(tmp_path / "d.png", transparency=bytes([0, 128]))
    images = open_dataset(tmp_path).head(4).inputs["image"]
    np.testing.assert_allclose(images, np.broadcast_to(images[1], images.shape), atol=2 / 255)


def test_deep_images_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png has more than eight bits"):
        open_dataset(tmp_path)


def test_broken_images_are_named(tmp_path):
    write(tmp_path / "k" / "a.jpg", GENERATOR.integers(0, 256, (64, 64, 3), np.uint8))
    content = (tmp_path / "k" / "a.jpg").read_bytes()
    (tmp_path / "k" / "b.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"k/b.jpg is no readable image"):
        open_dataset(tmp_path).head(2)
    (tmp_path / "k" / "a.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"evaluation data .*k/a.jpg is no readable image"):
        open_dataset(tmp_path, role="evaluation")


def test_folders_that_say_nothing_clear_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither .npz files nor images"):
        open_dataset(tmp_path)
    write(tmp_path / "k" / "a.png", colour(1))
    write(tmp_path / "stray.png", colour(1))
    with pytest.raises(DataError, match=r"and beside them \(stray.png\)"):
        open_dataset(tmp_path)
    np.savez(tmp_path / "x.npz", x=np.ones(2))
    with pytest.raises(DataError, match=r"both .npz files and images"):
        open_dataset(tmp_path)


def test_wrong_number_of_channels(tmp_path):
    write(tmp_path / "a.png", colour(1))
    with pytest.raises(DataError, match="2 entries, expected one or three"):
        open_dataset(tmp_path, preprocess=Preprocess(mean=(1, 2)))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_pipes_are_no_data_and_are_not_waited_for(tmp_path: Path):
    for name in ("data.npz", "rows.csv", "pictures/cat/1.png", "parts/1.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    for name in ("data.npz", "rows.csv", "pictures", "parts"):
        with pytest.raises(DataError, match="is a named pipe"):
            open_dataset(str(tmp_path / name), role="calibration", seed=0)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_in_a_circle_are_followed_once(tmp_path: Path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "cat" / "1.png")
    for name in ("a", "b"):
        (tmp_path / "cat" / name).symlink_to(tmp_path / "cat")
    assert len(open_dataset(str(tmp_path), role="calibration", seed=0)) == 1
