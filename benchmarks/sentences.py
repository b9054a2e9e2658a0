"""English sentences that every machine with Python has: docstrings of its standard library."""

import ast
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SHORTEST, LONGEST = 5, 40
"""Words."""
_LEFT_OUT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test"})
_PROSE = re.compile(r"[A-Z][\w\s,;:'\"()/-]*[.!?]")
"""What begins and ends like a sentence, and holds neither code nor a table."""


def divided_sentences(first: int, second: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Two random sets of sentences of different modules; no sentence is in both.

    Args:
        first: How many of one half of the modules.
        second: How many of the other half.
        seed: Of the division and of the choice.
    """
    rng = np.random.default_rng(seed)
    halves: tuple[dict[str, None], dict[str, None]] = ({}, {})
    for half, files in zip(halves, divided_modules(rng), strict=True):
        for path in files:
            half.update(dict.fromkeys(sentences(path)))
    texts = [list(halves[0]), [text for text in halves[1] if text not in halves[0]]]
    one, other = (
        [half[i] for i in rng.permutation(len(half))[:count]]
        for half, count in zip(texts, (first, second), strict=True)
    )
    return one, other


def divided_modules(rng: np.random.Generator) -> tuple[list[Path], list[Path]]:
    """The files of the standard library in two halves, in random order."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = [p for p in sorted(folder.rglob("*.py")) if not _LEFT_OUT.intersection(p.parts)]
    order = [files[index] for index in rng.permutation(len(files))]
    return order[::2], order[1::2]


def sentences(path: Path) -> Iterator[str]:
    """Sentences of `SHORTEST` to `LONGEST` words in the docstrings of a source file."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and files that are meant to be broken
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
            for text in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
                if _PROSE.fullmatch(text) and SHORTEST <= len(text.split()) <= LONGEST:
                    yield text
