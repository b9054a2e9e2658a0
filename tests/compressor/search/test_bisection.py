"""Narrowing between what holds and what fails."""

from hypothesis import given
from hypothesis import strategies as st

from compressor.search.bisection import Bracket, bisect, half_way


@given(st.integers(0, 100), st.booleans())
def test_a_border_between_integers_is_found_from_either_side(border: int, rising: bool):
    tried: list[float] = []
    last: list[Bracket] = []

    def attempt(value: float, found: Bracket) -> Bracket:
        assert min(found) < value < max(found)
        tried.append(value)
        last.append(found.with_(value, accepted=(value > border) == rising))
        return last[-1]

    start = Bracket(holds=101, fails=-1) if rising else Bracket(holds=-1, fails=101)
    bisect(
        start,
        attempt,
        until=lambda found: abs(found.holds - found.fails) <= 1,
        middle=lambda found: half_way(found) // 1,
    )
    assert sorted(last[-1]) == [border, border + 1]
    assert len(tried) <= 7


def test_an_attempt_may_end_it():
    tried = []

    def attempt(value: float, found: Bracket) -> None:
        tried.append(value)

    bisect(Bracket(0.0, 1.0), attempt, until=lambda found: False)
    assert tried == [0.5]
