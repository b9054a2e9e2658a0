"""`.npy`, `.npz` and folders of `.npz`: read in chunks, refused when damaged."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from calibration.sources import base
from calibration.sources.folder import natural_order
from calibration.sources.npy import NpySource
from calibration.sources.npz import NpzSource
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (50, 4, 5, 3), np.uint8)
LABELS = np.arange(50)


def joined(source) -> dict[str, np.ndarray]:
    chunks = list(source.chunks())
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_are_read_side_by_side_in_chunks(tmp_path, monkeypatch, save):
    monkeypatch.setattr(base, "CHUNK_BYTES", 680)  # 60 + 8 bytes a sample: ten samples
    path = tmp_path / "data.npz"
    save(path, image=IMAGES, label=LABELS)
    source = NpzSource(path, "data")
    assert source.count({"image": 0, "label": 0}) == 50
    assert [len(chunk["image"]) for chunk in source.chunks()] == [10] * 5
    for _ in range(2):
        found = joined(source)
        np.testing.assert_array_equal(found["image"], IMAGES)
        np.testing.assert_array_equal(found["label"], LABELS)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 30),
    chunk=st.integers(1, 400),
    dtype=st.sampled_from(["u1", "<i4", ">i8", "<f4", ">f8", "<f2", "?"]),
    fortran=st.booleans(),
    trailing=st.sampled_from([(), (3,), (2, 3)]),
)
def test_any_array_reads_as_numpy_reads_it(rows, chunk, dtype, fortran, trailing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("npy")
    array = GENERATOR.integers(0, 100, (rows, *trailing)).astype(dtype)
    array = np.asfortranarray(array) if fortran else array
    np.save(folder / "a.npy", array)
    np.savez_compressed(folder / "a.npz", a=array)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "CHUNK_BYTES", chunk)
        sources = (NpySource(folder / "a.npy", "data"), NpzSource(folder / "a.npz", "data"))
        for source, name in zip(sources, ("input", "a"), strict=True):
            found = joined(source)[name]
            np.testing.assert_array_equal(found, array)
            assert found.dtype == source.specs[0].dtype and found.dtype.isnative
            assert all(part[name].flags.c_contiguous for part in source.chunks())


def test_large_members_are_never_whole_in_memory(tmp_path):
    path = tmp_path / "large.npz"
    np.savez_compressed(path, x=np.zeros((2000, 4096), np.float32))  # 32 MB
    sizes = [sum(a.nbytes for a in chunk.values()) for chunk in NpzSource(path, "data").chunks()]
    assert sum(sizes) == 2000 * 4096 * 4 and max(sizes) <= base.CHUNK_BYTES


def test_labels_and_inputs_by_name(tmp_path):
    np.savez(tmp_path / "data.npz", image=IMAGES, y=LABELS)
    data = open_dataset(str(tmp_path / "data.npz"))
    assert len(data) == 50 and data.has_labels
    assert [str(f) for f in data.fields] == ["image:uint8[batch,4,5,3]"]
    assert data.description == str(tmp_path / "data.npz")


def test_npy_has_no_labels_and_no_name(tmp_path):
    np.save(tmp_path / "data.npy", IMAGES)
    data = open_dataset(tmp_path / "data.npy")
    assert not data.has_labels and data.fields[0].name == "input" and len(data) == 50


def test_the_kind_is_found_from_the_content(tmp_path):
    np.savez(tmp_path / "data.npz", image=IMAGES)
    (tmp_path / "data.npz").rename(tmp_path / "data.bin")
    assert len(open_dataset(tmp_path / "data.bin")) == 50
    (tmp_path / "notes.npz").write_text("not an archive")
    with pytest.raises(DataError, match=r"notes.npz: expected .npz, .npy, .* another kind of file"):
        open_dataset(tmp_path / "notes.npz")


def test_uneven_arrays_are_all_named(tmp_path):
    np.savez(tmp_path / "data.npz", image=IMAGES, label=LABELS[:49])
    image = TensorSpec("image", np.dtype(np.uint8), ("batch", 4, 5, 3))
    with pytest.raises(DataError, match=r"number of samples: image 50, label 49"):
        open_dataset(tmp_path / "data.npz").bind([image])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.array([{}, {}])}, "'x': expected numbers, found dtype object"),
        ({"x": np.array(["a", "b"])}, "'x': expected numbers, found dtype <U1"),
        ({"x": np.ones(2, complex)}, "'x': expected numbers, found dtype complex128"),
        ({"x": np.zeros(2, [("a", "f4")])}, "'x': expected numbers, found dtype"),
        ({"x": np.ones((0, 3))}, "expected samples, the set is empty"),
        ({}, "the archive holds no arrays"),
    ],
)
def test_what_holds_no_samples_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=message) as error:
        open_dataset(tmp_path / "data.npz", role="evaluation")
    assert "evaluation data" in error.value.message and "data.npz" in error.value.message


def test_objects_in_npy_are_refused(tmp_path):
    np.save(tmp_path / "data.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(DataError, match="found dtype object") as error:
        open_dataset(tmp_path / "data.npy")
    assert "never read" in error.value.hint


def test_truncated_and_damaged_files_are_named(tmp_path):
    np.save(tmp_path / "short.npy", IMAGES)
    whole = (tmp_path / "short.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-100])
    data = open_dataset(tmp_path / "short.npy")
    with pytest.raises(DataError, match=r"short.npy: ends early"):
        list(data.batches(8))
    (tmp_path / "header.npy").write_bytes(whole[:20])
    with pytest.raises(DataError, match=r"header.npy: no readable array"):
        open_dataset(tmp_path / "header.npy")

    np.savez(tmp_path / "bad.npz", x=IMAGES)
    content = bytearray((tmp_path / "bad.npz").read_bytes())
    content[400] ^= 0xFF
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"bad.npz, 'x': .*Bad CRC-32"):
        list(open_dataset(tmp_path / "bad.npz").batches(8))
    (tmp_path / "cut.npz").write_bytes(content[:-50])
    with pytest.raises(DataError, match=r"cut.npz: no readable .npz archive"):
        open_dataset(tmp_path / "cut.npz")


def test_members_that_are_no_arrays_are_left_alone(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        buffer = io.BytesIO()
        np.save(buffer, IMAGES)
        archive.writestr("image.npy", buffer.getvalue())
        archive.writestr("README.txt", "hello")
    assert [f.name for f in open_dataset(tmp_path / "data.npz").fields] == ["image"]


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    np.savez(tmp_path / "data.npz", x=IMAGES)
    data = open_dataset(tmp_path / "data.npz")
    np.savez(tmp_path / "data.npz", x=IMAGES[:20])
    with pytest.raises(DataError, match="changed while it was in use"):
        data.head(3)


def test_a_missing_file_suggests_its_neighbours(tmp_path):
    np.save(tmp_path / "calib.npy", IMAGES)
    with pytest.raises(DataError, match="there is no such file or folder") as error:
        open_dataset(tmp_path / "calb.npy")
    assert "calib.npy" in error.value.hint


def test_folder_of_npz_in_natural_order(tmp_path):
    for i in (0, 1, 2, 10, 11):
        np.savez(tmp_path / f"part-{i}.npz", x=np.full((i + 1, 2), i), label=np.full(i + 1, i))
    data = open_dataset(tmp_path)
    assert len(data) == 1 + 2 + 3 + 11 + 12
    labels = np.concatenate([batch.labels for batch in data.batches(4)])
    assert labels.tolist() == sorted(labels.tolist())


def test_natural_order_sorts_numbers_by_value():
    names = ["b2", "a10", "a9", "10", "9", "a"]
    assert sorted(names, key=natural_order) == ["9", "10", "a", "a9", "a10", "b2"]


def test_folder_of_npz_must_agree(tmp_path):
    np.savez(tmp_path / "1.npz", x=np.ones((2, 3)))
    np.savez(tmp_path / "2.npz", x=np.ones((2, 4, 1)))
    with pytest.raises(DataError, match=r"2.npz: expected x:float64\[2,3\] .* x:float64\[2,4,1"):
        open_dataset(tmp_path)
    np.savez(tmp_path / "2.npz", z=np.ones((2, 3)))
    with pytest.raises(DataError, match=r"found z:float64"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("header", ["(" * 300, "__import__('os')", "[" * 5, "{'descr': 'x'}", "'"])
def test_a_header_that_is_no_literal_is_damage(tmp_path, header: str):
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (tmp_path / "data.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npy"):
        open_dataset(tmp_path / "data.npy", role="calibration", seed=0)
