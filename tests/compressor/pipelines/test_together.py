"""Several units at a time, and the shapes that graphs see then."""

import numpy as np
from loops import Doubling

from compressor.pipelines.loop import SEED, UserLoop
from compressor.pipelines.together import Together, of_several

ALONE = [(("past", (1, 0)), ("x", (2, 5))), (("past", (1, 5)), ("x", (2, 1)))]


def test_units_come_of_one_call_and_the_first_seed():
    asked = []

    def generate(models, seed, count):
        asked.append((seed, count))
        return {"out": models["g"](x=np.ones((count, 2), np.float32))["y"]}

    with Together(UserLoop(generate, "generate"), {"g": Doubling}) as loop:
        made = loop.run({SEED: np.array([7, 7, 7])})
        loop.bind({SEED: np.array([7, 7])})()
    assert made["out"].shape == (3, 2)
    assert asked == [(7, 3), (7, 2)]


def test_axes_that_count_units_are_found_and_every_call_is_lengthened():
    several = [(("past", (4, 0)), ("x", (8, 5))), (("past", (4, 5)), ("x", (8, 1)))]
    seen = dict.fromkeys(ALONE, 1) | {(("past", (1, 9)), ("x", (2, 1))): 3}
    assert of_several(seen, ALONE, several, 4) == {
        *several,
        (("past", (4, 9)), ("x", (8, 1))),
    }


def test_what_follows_no_rule_is_taken_as_it_came():
    other = [(("past", (4, 0)), ("x", (8, 5))), (("past", (4, 6)), ("x", (8, 1)))]
    assert of_several({}, ALONE, other, 4) == set(other)
    assert of_several({}, ALONE, other[:1], 4) == set(other[:1])
