"""Spaces: narrowed, refused, laid out."""

import pytest

from compressor.errors import RecipeError
from compressor.search.recipes.variables import Choice, Number, Space, narrowed

RANGES = Choice("ranges", ("auto", "minmax"))
ROUNDING = Choice("rounding", ("nearest", "gptq"), ("nearest", "gptq"))
PRUNE = Number("prune", 0.0, 0.6, 0.05, most=0.95)
BLOCKS = Number("blocks", 0, 2, 1, most=5, whole=True)
KNOWN = {one.name: one for one in (RANGES, ROUNDING, PRUNE, BLOCKS)}


def test_a_number_has_steps_with_both_ends() -> None:
    assert BLOCKS.all == (0, 1, 2)
    assert PRUNE.all[0] == 0.0
    assert PRUNE.all[-1] == 0.6
    assert PRUNE.levels(4) == (0.0, 0.2, 0.4, 0.6)


def test_values_lists_and_tables_narrow() -> None:
    asked = {"ranges": "samples:99", "prune": {"high": 0.2}, "blocks": 1}
    space = narrowed(KNOWN, KNOWN, asked)
    assert space.variables["ranges"] == Choice("ranges", ("samples:99",))
    assert space.variables["prune"] == Number("prune", 0.0, 0.2, 0.05, most=0.95)
    assert space.variables["blocks"].levels() == (1,)
    assert space.points == 1 * 2 * 5 * 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"width": 3}, "has no variable 'width'"),
        ({"rounding": "up"}, "expected nearest, gptq, found 'up'"),
        ({"rounding": []}, "found no value"),
        ({"prune": {"low": 0.5, "high": 0.2}}, "expected numbers from 0 to 0.95"),
        ({"prune": {"lowest": 0.1}}, "expected numbers"),
        ({"prune": True}, "expected numbers"),
        ({"blocks": 0.5}, "expected whole numbers from 0 to 5"),
        (
            {"ranges": "auto", "rounding": "gptq", "prune": 0, "blocks": 0},
            "the space of the search is empty: nothing in it varies",
        ),
    ],
)
def test_what_means_nothing_is_refused_with_what_to_do(asked: dict, told: str) -> None:
    with pytest.raises(RecipeError, match=told) as found:
        narrowed(KNOWN, KNOWN, asked)
    assert found.value.hint


def test_single_regions_are_variables_of_any_name() -> None:
    space = narrowed({}, KNOWN, {"region:conv1": ["float", "int8"]})
    assert space.grid() == [{"region:conv1": "float"}, {"region:conv1": "int8"}]


def test_a_point_of_another_space_is_brought_in() -> None:
    space = Space({"rounding": ROUNDING, "prune": PRUNE})
    assert space.fitted({"prune": 0.99, "rounding": "up"}) == {"rounding": "nearest", "prune": 0.6}
