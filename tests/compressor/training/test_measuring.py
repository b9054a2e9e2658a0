"""How many steps fit into a time, and how often the held-out samples are looked at."""

import pytest

from compressor.recipe.training import parse_length
from compressor.training.measuring import looks_of, steps_of


class Watch:
    """A clock that steps move on."""

    def __init__(self, step: float) -> None:
        self.now, self._step = 0.0, step

    def __call__(self) -> float:
        return self.now

    def step(self, number: int) -> None:
        self.now += self._step * (3 if number < 2 else 1)


@pytest.mark.parametrize(("steps", "looks"), [(1, 1), (7, 1), (16, 2), (79, 9), (80, 10)])
def test_few_steps_are_looked_at_less_often(steps: int, looks: int) -> None:
    assert looks_of(10, steps, timed=True) == looks
    assert looks_of(10, steps, timed=False) == min(10, steps)


@pytest.mark.parametrize(
    ("seconds", "step", "look"), [(60, 0.1, 0.3), (60, 1.0, 3.0), (60, 1.0, 0.0), (20, 0.5, 8.0)]
)
def test_steps_and_looks_fill_the_time(seconds: float, step: float, look: float) -> None:
    watch = Watch(step)
    length, how = parse_length(f"{seconds}s"), {"each_look": look, "looks": 10, "clock": watch}
    steps = steps_of(length, 100, watch.step, spent=2.0, **how)
    spent = 2.0 + watch.now + steps * step + looks_of(10, steps, timed=True) * look
    assert spent <= seconds + step
    assert spent >= seconds - look - 8 * step, "no more is left than to the next look"


def test_steps_and_epochs_are_what_they_are() -> None:
    watch = Watch(1.0)
    how = {"spent": 0.0, "each_look": 1.0, "looks": 10, "clock": watch}
    assert steps_of(parse_length("12steps"), 100, watch.step, **how) == 12
    assert steps_of(parse_length("3epochs"), 100, watch.step, **how) == 300
    assert watch.now == 0.0
