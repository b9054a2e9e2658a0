"""Text that any output can show, and that cannot do anything to it.

A pipe in the C locale or an old Windows console has no `×`, `−` or `→`. What is written there is
spelled in what there is, before it is laid out, so that columns stay aligned. Control characters
are spelled out everywhere: names come out of files that a stranger may have made, and a terminal
obeys them.
"""

from collections.abc import Callable, Iterable

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

Speak = Callable[[str], str]
"""Turns text into what the output can show."""

_SPELLED = str.maketrans(
    {
        "×": "x",
        "−": "-",
        "–": "-",
        "—": "-",
        "→": "->",
        "…": "..",
        "·": "|",
        "∞": "inf",
        "µ": "u",
    }
)

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}
_UNSEEN = (0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070))
_MARKS = {code: f"\\u{code:04x}" for code in _UNSEEN}
"""What turns the direction of writing, breaks lines or cannot be seen."""


def one_line(text: str) -> str:
    """Text with everything escaped that is no visible character or space.

    Names come out of strangers' files: a line break, a terminal's control sequence or a mark that
    turns the direction of writing shows as what it is.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Spoken:
    """A rich renderable that is built once the encoding of the output is known."""

    def __init__(self, build: Callable[[Speak], Iterable[RenderableType]]) -> None:
        self._build = build

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._build(speaker(options.encoding))


def harmless(text: str) -> str:
    """Text that a terminal only shows, whatever its encoding."""
    return speaker("utf-8")(text)


def without_controls(text: str) -> str:
    """Text with control characters spelled out, line breaks apart."""
    return text.translate(_CONTROLS)


def speaker(encoding: str) -> Speak:
    """What makes text fit an encoding: as it is for Unicode, else in the nearest spelling."""
    is_unicode = encoding.lower().startswith("utf")

    def speak(text: str) -> str:
        harmless = text.translate(_CONTROLS | _MARKS)
        if is_unicode:
            return harmless
        spelled = harmless.translate(_SPELLED)
        return spelled.encode(encoding, "backslashreplace").decode(encoding)

    return speak
