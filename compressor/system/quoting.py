"""Words out of files and options, as they stand in code and in commands that people copy.

Whatever a name holds, it stays a name: quotes cannot end it, nothing in it begins a new line, and a
terminal or an editor shows all of it.
"""

import re
import shlex
from collections.abc import Iterable

_HARMLESS = re.compile(r"[^\\\"`]")
"""What may stand in quotes as it is, where it is printable: a backtick could end a code block."""


def quoted(text: str) -> str:
    """Text in double quotes, for Python, JSON-like formats and protobuf's text format."""
    return f'"{"".join(map(_escaped, text))}"'


def command_line(words: Iterable[str]) -> str:
    """One line for a shell: words with anything that cannot be printed in the form `$'...'`."""
    return " ".join(map(_word, words))


def _word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + "".join(r"\'" if letter == "'" else _escaped(letter) for letter in word) + "'"


def _escaped(letter: str) -> str:
    if letter.isprintable() and _HARMLESS.match(letter):
        return letter
    if letter in '\\"':
        return f"\\{letter}"
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
