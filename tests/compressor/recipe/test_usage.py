import pytest

from compressor.errors import RecipeError
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.usage import Usage, parse_usage


def test_prompt_and_new_tokens() -> None:
    assert parse_usage("2000:20") == Usage(2000, 20)
    assert parse_usage(" 0 : 1 ") == Usage(0, 1)
    assert parse_usage("0:1").context == 1
    assert MeasureOptions().usage == Usage(64, 64)
    assert MeasureOptions(tokens="8:16").usage == Usage(8, 16)


@pytest.mark.parametrize("text", ["64", "64:", ":64", "0:0", "-1:5", "1.5:2", "a:b", "1:2:3", ""])
def test_what_is_no_use_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"no PROMPT:NEW"):
        parse_usage(text)
    with pytest.raises(RecipeError, match=r"no PROMPT:NEW"):
        MeasureOptions(tokens=text)
