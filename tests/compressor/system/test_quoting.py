"""Words out of files in code and commands."""

import ast
import shlex
import subprocess

import pytest

from compressor.system.quoting import command_line, quoted

HOSTILE = [
    'x"}); import os; os.system("touch hacked")#', "a\\", "a\nb", "\x1b[31m", "`x`", "\u202egnp",
    "é", "\U0001f600", "\x7f", "$(touch hacked)", "'; touch hacked; '", "", " ", "-rf", "a'\nb",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_quoted_text_is_one_literal_of_python_that_shows_all(text: str) -> None:
    literal = quoted(text)
    assert ast.literal_eval(literal) == text
    assert literal.isprintable()
    assert "`" not in literal


@pytest.mark.parametrize("text", HOSTILE)
def test_a_word_of_a_command_stays_one(text: str) -> None:
    line = command_line(["printf", "%s", text])
    assert line.isprintable()
    if text.isprintable():
        assert shlex.split(line) == ["printf", "%s", text]
    told = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert told.decode() == text
