"""English text that every Python installation has: the docstrings of its standard library.

They are under the licence of Python (PSF-2.0), and lie in `sysconfig.get_path("stdlib")`. Files
come in the order of their names, so that a version of Python always gives the same text.
"""

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
)
EVERY = 10
"""One file in so many is held out."""
_HOLDERS = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings() -> Iterator[tuple[Path, str]]:
    """The file, below the library's folder, and a docstring of it."""
    folder = Path(sysconfig.get_path("stdlib"))
    for path in sorted(folder.rglob("*.py")):
        below = path.relative_to(folder)
        if LEFT_OUT.intersection(below.parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # templates, and files that are meant to be broken
            continue
        for node in ast.walk(tree):
            if isinstance(node, _HOLDERS) and (text := ast.get_docstring(node)):
                yield below, text


def divided() -> tuple[list[str], list[str]]:
    """Docstrings to train on, and those of other files; none is twice."""
    parts: tuple[dict[str, None], dict[str, None]] = ({}, {})
    numbers: dict[Path, int] = {}
    for path, text in docstrings():
        number = numbers.setdefault(path, len(numbers))
        parts[number % EVERY == 0][text] = None
    return list(parts[0]), [text for text in parts[1] if text not in parts[0]]
