"""What holds of every built-in loop."""

from pathlib import Path

import pytest

from compressor.errors import UsageError
from compressor.pipelines import builtin
from compressor.pipelines.builtin.base import described

PAGE = Path(__file__).parents[4] / "docs" / "loops.md"


@pytest.mark.parametrize("name", builtin.loop_names())
def test_the_page_has_its_graphs_and_options(name: str):
    kind, page = builtin.find(name), PAGE.read_text("utf-8")
    section = page[page.index(f"### {name}\n") :]
    for option, default, meaning in described(kind.Options):
        row = f"| `{option}` | {'' if default is None else default} | {meaning} |"
        assert row in section, f"docs/loops.md lacks the row {row}"
    (line,) = [one for one in page.splitlines() if one.startswith(f"| `{name}`")]
    assert all(f"`{part.name}`" in line for part in kind.parts)
    assert kind.name == name


def test_a_name_that_is_none_is_told_with_those_that_are():
    with pytest.raises(UsageError, match="no built-in loop 'text_generation'") as error:
        builtin.find("text_generation")
    assert error.value.hint.startswith("Did you mean text-generation? There is denoise,")
