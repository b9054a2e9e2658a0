"""The user's loop as a runner from seeds to units, and what it says where the loop is wrong."""

from pathlib import Path

import numpy as np
import pytest
from loops import Doubling

from compressor.errors import UsageError
from compressor.pipelines.loop import SEED, Loop, Memory, Remembered, UserLoop
from compressor.system.userfile import load_object


def twice(models, seed, count):
    x = np.full((count, 2), seed, np.float32)
    for _ in range(3):
        x = models["g"](x=x)["y"]
    return {"out": x}


def loop(function=twice) -> Loop:
    return Loop(UserLoop(function, "twice"), {"g": Doubling})


def test_units_are_those_of_their_seeds_and_calls_are_counted():
    with loop() as opened:
        made = opened.run({SEED: np.array([1, 5])})
        assert opened.calls == {"g": 6}
        assert opened.on_caller
        (spec,) = opened.outputs
    np.testing.assert_array_equal(made["out"], [[8, 8], [40, 40]])
    assert (spec.name, spec.shape) == ("out", ("batch", 2))


def test_graphs_are_closed_with_the_loop():
    runner = Doubling()
    with Loop(UserLoop(twice, "twice"), {"g": lambda: runner}):
        assert runner.closed == 0
    assert runner.closed == 1


def test_units_of_other_lengths_are_filled_up():
    def texts(models, seed, count):
        return {"text": np.ones((count, seed), np.int64)}

    with loop(texts) as opened:
        made = opened.run({SEED: np.array([1, 3])})
    np.testing.assert_array_equal(made["text"], [[1, 0, 0], [1, 1, 1]])


def test_lists_of_texts_end_in_empty_ones():
    def texts(models, seed, count):
        return {"text": np.array([["a"] * seed])}

    with loop(texts) as opened:
        made = opened.run({SEED: np.array([1, 2])})
    assert made["text"].tolist() == [["a", ""], ["a", "a"]]


def test_axes_that_differ_by_seed_are_told():
    def made(models, seed, count):
        return {"out": np.ones((1,) * seed)}

    with loop(made) as opened, pytest.raises(UsageError, match="1 axes for seed 1 and 2 axes"):
        opened.run({SEED: np.array([1, 2])})


def test_a_loop_may_fill_the_same_array_for_each_unit():
    kept = np.zeros((1, 2))

    def reusing(models, seed, count):
        kept[:] = seed
        return {"out": kept}

    with loop(reusing) as opened:
        made = opened.run({SEED: np.array([1, 2])})
    assert made["out"].tolist() == [[1, 1], [2, 2]]


def test_what_is_remembered_is_not_generated_again():
    made: list[int] = []

    def counted(models, seed, count):
        made.append(seed)
        return twice(models, seed, count)

    memory = Memory()
    for _ in range(2):
        with Remembered(UserLoop(counted, "counted"), {"g": Doubling}, memory) as opened:
            found = opened.run({SEED: np.array([4, 2])})
    assert made == [4, 2]
    np.testing.assert_array_equal(found["out"], [[32, 32], [16, 16]])


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, "returned NoneType"),
        ({}, "returned dict"),
        ({"a": np.float32(1)}, r"of shape \[\]"),
        ({"a": np.zeros((2, 3))}, "first axis counts units"),
    ],
)
def test_what_is_no_unit_is_refused(returned, words: str):
    opened = loop(lambda models, seed, count: returned)
    with opened, pytest.raises(UsageError, match=words):
        opened.run({SEED: np.array([0])})


def test_every_unit_has_the_same_arrays():
    def some(models, seed, count):
        arrays = {"out": np.ones((count, 2))}
        return arrays | ({"extra": np.ones(count)} if seed else {})

    with loop(some) as opened, pytest.raises(UsageError, match="no 'extra' for seed 0"):
        opened.run({SEED: np.array([3, 0])})


def test_a_mistake_in_the_loop_is_told_with_its_line(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def generate(models, seed, count):\n"
        "    x = models['nett'](x=1)\n"
        "def wrong(models, seed, count):\n"
        "    return models['g'](z=1)\n"
        "def broken(models, seed, count):\n"
        "    raise ValueError('so')\n"
    )
    for name, line, words in (
        ("generate", 2, "there is no graph 'nett'"),
        ("wrong", 4, "has no input 'z'"),
        ("broken", 6, "ValueError: so"),
    ):
        function = load_object(f"{file}:{name}", "pipeline")
        with loop(function) as opened, pytest.raises(UsageError) as error:
            opened.run({SEED: np.array([0])})
        assert error.value.message.count(".py:") == 1
        assert f"mine.py:{line}" in error.value.message
        assert words in error.value.message
