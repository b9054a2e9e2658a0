"""Sizes as expressions over names: read, written, evaluated, solved for."""

import numpy as np
import pytest

from compressor.errors import DataError, UsageError
from compressor.graph.sizes import is_expression, names_in, parse_size, shape_at, solve
from compressor.recipe.notation import parse_input


def arrays(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


DECODER = (
    parse_input("ids:int64[batch,seq]"),
    parse_input("mask:int64[batch,past+seq]"),
    parse_input("k:float32[batch,4,past,8]"),
)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("past+seq", "past+seq"),
        ("past + seq", "past+seq"),
        ("batch*2", "2*batch"),
        ("k*batch", "batch*k"),
        ("2*(a+b)-a", "a+2*b"),
        ("a-1", "a-1"),
        ("a-a", "0"),
        ("7", "7"),
    ],
)
def test_expressions_are_written_one_way(text: str, written: str) -> None:
    assert str(parse_size(text)) == written


@pytest.mark.parametrize(
    "text", ["?", "batch size", "floor(h/2)", "unk__1.a", "a+", "(a", "+a", ""]
)
def test_what_is_no_expression_is_a_name(text: str) -> None:
    assert not is_expression(text)
    assert parse_size(text).names == (text,)


def test_names_and_shapes() -> None:
    assert names_in(DECODER) == ("batch", "seq", "past")
    assert shape_at(DECODER[1], {"batch": 2, "past": 5, "seq": 3}) == (2, 8)


def test_the_names_of_a_sum_are_solved_for() -> None:
    found = solve(DECODER, arrays(ids=(2, 3), mask=(2, 8), k=(2, 4, 5, 8)))
    assert found == {"batch": 2, "seq": 3, "past": 5}
    assert solve(DECODER[:2], arrays(ids=(2, 3), mask=(2, 8)))["past"] == 5
    assert solve(DECODER[1:2], arrays(mask=(2, 8))) == {"batch": 2}


def test_products_are_solved_for() -> None:
    specs = (parse_input("x:float32[n*k,3]"), parse_input("y:float32[n]"))
    assert solve(specs, arrays(x=(12, 3), y=(4,))) == {"n": 4, "k": 3}


def test_contradictions_name_input_axis_and_what_the_others_say() -> None:
    with pytest.raises(DataError, match=r"size 9 along axis 1 of 'mask', .*past=5") as error:
        solve(DECODER, arrays(ids=(2, 3), mask=(2, 9), k=(2, 4, 5, 8)))
    assert "seq=3" in str(error.value)
    with pytest.raises(DataError, match="size 7 along axis 0 of 'x'"):
        solve((parse_input("x:float32[2*n]"),), arrays(x=(7,)))
    with pytest.raises(DataError, match=r"'x' has 1 axes"):
        solve((parse_input("x:float32[n]"),), arrays(x=(7, 2)))


def test_the_notation_refuses_what_is_neither() -> None:
    for dim in ("0", "a/2", "-1", "a-a"):
        with pytest.raises(UsageError, match="neither a size"):
            parse_input(f"x:float32[{dim}]")
