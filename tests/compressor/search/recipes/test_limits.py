"""Limits as users write them."""

import pytest

from compressor.errors import RecipeError
from compressor.search.recipes.limits import parse_limits, parse_pick, violations


def test_units_are_understood() -> None:
    found = parse_limits("latency<=2ms, size <= 5MB,quality<=1%", "--limit")
    assert [limit.at_most(80.0, "accuracy") for limit in found] == [0.002, 5e6, 0.8]
    assert [str(limit) for limit in found] == ["latency<=2ms", "size<=5MB", "quality<=1%"]
    assert parse_pick(" knee ") == ()


@pytest.mark.parametrize("text", ["speed<=2", "latency=2ms", "latency<=2", "size<=5", "quality<=1"])
def test_what_is_not_understood_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RecipeError) as found:
        parse_limits(text, "--pick")
    assert found.value.hint


def test_a_limit_is_exceeded_by_a_share() -> None:
    (limit,) = parse_limits("latency<=2ms", "--limit")
    assert violations([limit], {"latency": 0.003}, {limit: 0.002}) == {
        "latency<=2ms": pytest.approx(0.5)
    }
    assert violations([limit], {"size": 1.0}, {limit: 0.002}) == {}
