"""When the first result was there, and how fast the others followed: by a clock of the test's."""

from types import SimpleNamespace

import numpy as np
import pytest
from loops import Doubling

from compressor.pipelines.loop import SEED, UserLoop
from compressor.pipelines.rates import Rated


def test_time_to_the_first_result_and_of_each_after_it():
    now = [0]

    class Slow(Doubling):
        """A first call takes 30, later ones 10; the loop itself takes 5 before each."""

        def run(self, feeds):
            now[0] += 10 if feeds["x"][0, 0] > 1 else 30
            return super().run(feeds)

    def generate(models, seed, count):
        x = np.ones((count, 2), np.float32)
        for _ in range(4):
            now[0] += 5
            x = models["g"](x=x)["y"]
        models["once"](x=x)
        return {"out": x}

    clocks = SimpleNamespace(wall=lambda: now[0], thread=lambda: now[0] // 2)
    loop = Rated(UserLoop(generate, "generate"), {"g": Slow, "once": Doubling}, clocks)
    with loop as opened:
        for _ in range(2):
            opened.bind({SEED: np.array([0])})()
            assert opened.parts() == {
                "g first": (35.0, pytest.approx(17.5, abs=0.5)),
                "g each": (15.0, pytest.approx(7.5, abs=0.5)),
            }
