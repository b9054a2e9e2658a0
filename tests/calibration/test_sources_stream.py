"""Functions, DataLoaders, lists, iterators and arrays in memory."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from calibration.dataset import open_dataset
from calibration.sources.base import as_array, as_fields
from calibration.sources.stream import Spool
from compressor.errors import DataError

ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)


def values(data) -> np.ndarray:
    return np.concatenate([next(iter(b.inputs.values())) for b in data.batches(4)])


def user_file(folder: Path, text: str) -> str:
    (folder / "user_data.py").write_text(f"import numpy as np\n{text}")
    return str(folder / "user_data.py")


@pytest.mark.parametrize(
    "body",
    [
        "    for i in (0, 4, 8): yield {'x': np.arange(i, i + 4.).reshape(2, 2)}",
        "    return [np.arange(8.).reshape(4, 2), np.arange(8., 12.).reshape(2, 2)]",
        "    return np.arange(12.).reshape(6, 2)",
        "    return {'x': np.arange(12.).reshape(6, 2)}",
        "    return iter([np.arange(12.).reshape(6, 2)])",
        "    for row in np.arange(12.).reshape(6, 1, 2): yield row",
    ],
)
def test_functions_in_files_are_called_for_every_pass(tmp_path, body):
    data = open_dataset(user_file(tmp_path, f"def batches():\n{body}\n") + ":batches")
    for _ in range(2):
        np.testing.assert_array_equal(values(data), ROWS)
    assert len(data) == 6
    assert data.description.endswith("user_data.py:batches")


def test_functions_may_return_tuples_with_labels(tmp_path):
    body = (
        "def pairs():\n    yield np.ones((3, 2)), [0, 1, 2]\n    yield {'x': np.ones((1, 2))}, [3]"
    )
    with pytest.raises(DataError, match="batch 1: expected input_0"):
        list(open_dataset(user_file(tmp_path, body) + ":pairs").batches(2))
    body = "def good():\n    yield {'x': np.ones((3, 2))}, [0, 1, 2]\n"
    batch = open_dataset(user_file(tmp_path, body) + ":good").head(3)
    assert batch.labels.tolist() == [0, 1, 2] and list(batch.inputs) == ["x"]


def test_a_name_in_a_file_may_be_an_array_or_a_list(tmp_path):
    path = user_file(tmp_path, "X = np.ones((3, 2))\nBATCHES = [X, X]\nNUMBER = 3\n")
    assert len(open_dataset(f"{path}:X")) == 3
    assert len(open_dataset(f"{path}:BATCHES")) == 6
    with pytest.raises(DataError, match="found int"):
        open_dataset(f"{path}:NUMBER")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "def f():\n    yield np.ones(2)\n    raise KeyError('k')",
            r"user_data.py:4: KeyError: 'k'",
        ),
        ("def f():\n    return 1 / 0", r"user_data.py:3: ZeroDivisionError"),
        ("def f(n):\n    yield n", "called without arguments: missing a required argument: 'n'"),
        ("def f():\n    return 'text'", "expected batches, found str"),
        ("def f():\n    return iter(())", "the set is empty"),
        ("def f():\n    yield np.ones((0, 3))", "the set is empty"),
        ("def f():\n    yield {}", "batch 0: expected arrays, found none"),
        ("def f():\n    yield {'x': 'a'}", "batch 0, 'x': expected an array or tensor, found str"),
        ("def f():\n    yield 3.5", "single number"),
        ("def f():\n    yield np.ones((2, 3))\n    yield np.ones((2, 4, 1))", "batch 1: expected"),
        ("def g():\n    pass", "has no 'f'"),
        ("1 / 0", r"user_data.py:2: ZeroDivisionError"),
    ],
)
def test_what_goes_wrong_in_user_code_is_said_with_its_place(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        list(open_dataset(user_file(tmp_path, text) + ":f").batches(4))
    assert "user_data.py" in error.value.message


def test_passes_that_differ_are_noticed():
    generator = np.random.default_rng()
    with pytest.raises(DataError, match="a second pass starts with other samples") as error:
        open_dataset(lambda: [generator.normal(size=(4, 2))]).head(1)
    assert "shuffle=False" in error.value.hint
    lengths = itertools.count(3)
    data = open_dataset(lambda: [ROWS] * next(lengths))
    list(data.batches(4))
    with pytest.raises(DataError, match="one pass had 24 samples and a later one 30"):
        list(data.batches(4))


def test_buffers_that_a_producer_reuses_are_copied():
    def reusing():
        buffer = np.zeros((2, 1), np.float32)
        for i in range(3):
            buffer[:] = i
            yield buffer

    batch = next(open_dataset(reusing).batches(6))
    np.testing.assert_array_equal(batch.inputs["input"][:, 0], [0, 0, 1, 1, 2, 2])


def test_one_shot_iterators_are_kept_on_disk():
    consumed = []

    def source():
        for i in range(5):
            consumed.append(i)
            yield {"x": np.full((2, 3), i, np.float32)}, [i, i]

    data = open_dataset(source())
    data.head(3)
    assert consumed == [0, 1]  # no more than is used
    for _ in range(2):
        labels = np.concatenate([b.labels for b in data.batches(4)])
        assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(data) == 10 and consumed == [0, 1, 2, 3, 4]


def test_the_spool_removes_its_file():
    spool = Spool(iter([ROWS]), "data")
    folder = spool._path.parent
    assert len(list(spool)) == 1 and folder.is_dir()
    del spool
    assert not folder.exists()


def test_arrays_in_memory_are_not_written_through():
    array = ROWS.copy()
    batch = open_dataset(array).head(2)
    batch.inputs["input"][:] = 99
    np.testing.assert_array_equal(array, ROWS)


def test_tuples_in_memory():
    data = open_dataset((ROWS, np.arange(6)))
    assert data.has_labels and len(data) == 6
    named = open_dataset(({"a": ROWS, "b": ROWS}, np.arange(6)))
    assert named.has_labels and [f.name for f in named.fields] == ["a", "b"]
    nested = open_dataset(((ROWS, ROWS), np.arange(6)))
    assert nested.has_labels and [f.name for f in nested.fields] == ["input_0", "input_1"]
    batches = open_dataset(({"a": ROWS}, {"a": ROWS}))
    assert len(batches) == 12 and not batches.has_labels


@pytest.mark.parametrize("source", [3, None, object(), [], [[]], [3], "no-such-thing"])
def test_what_is_no_data_is_refused(source):
    with pytest.raises(DataError):
        open_dataset(source)


def test_fields_of_batches():
    assert list(as_fields([ROWS, None], "data")) == ["input"]
    with pytest.raises(DataError, match="both in the dict and beside it"):
        as_fields(({"x": ROWS, "label": np.arange(6)}, np.arange(6)), "data")
    with pytest.raises(DataError, match="tuple of 3"):
        as_fields(({"x": ROWS}, np.arange(6), np.arange(6)), "data")


def test_tensors_and_data_loaders():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    images = torch.arange(24.0).reshape(6, 4).requires_grad_()
    half = as_array(images.to(torch.bfloat16), "data")
    assert half.dtype == np.float32
    np.testing.assert_array_equal(half, images.detach().numpy())

    dataset = TensorDataset(images.detach(), torch.arange(6))
    data = open_dataset(DataLoader(dataset, batch_size=4))
    for _ in range(2):
        batches = list(data.batches(3))
        assert [b.labels.tolist() for b in batches] == [[0, 1, 2], [3, 4, 5]]
    np.testing.assert_array_equal(values(data), images.detach().numpy())
    assert len(open_dataset(images)) == 6
    torch.manual_seed(0)
    many = TensorDataset(torch.arange(1000.0).reshape(500, 2))
    with pytest.raises(DataError, match="a second pass starts with other samples"):
        open_dataset(DataLoader(many, batch_size=50, shuffle=True)).head(1)
    with pytest.raises(DataError) as error:
        open_dataset(dataset)
    assert "DataLoader(dataset" in error.value.hint


def test_a_nested_tuple_of_arrays_is_no_input():
    part = np.ones((4, 2, 3), np.float32)
    for nested in (((part, part), (part, part)), [[part], [part]]):
        with pytest.raises(DataError, match=r"'past': .*arrays in a nested") as error:
            open_dataset([{"x": np.ones((4, 2), np.float32), "past": nested}])
        assert "name each of the arrays" in error.value.hint
