"""English text that every Python installation has, and where it is from: docstrings with a family.

They are those of the standard library, under the licence of Python (PSF-2.0), in
`sysconfig.get_path("stdlib")`. The family of a docstring is the package or module that it is in,
like `asyncio` or `turtle`. Files come in the order of their names, so that a version of Python
always gives the same text.
"""

import ast
import sysconfig
from collections import Counter
from pathlib import Path

LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
)
FAMILIES = 8
SHORTEST = 40
"""Characters of a docstring."""
_HOLDERS = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(path: Path) -> list[str]:
    """Those of a file, as one line each; none is twice."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates, and files that are meant to be broken
        return []
    nodes = [node for node in ast.walk(tree) if isinstance(node, _HOLDERS)]
    texts = (" ".join((ast.get_docstring(node) or "").split()) for node in nodes)
    return list(dict.fromkeys(text for text in texts if len(text) >= SHORTEST))


def labelled() -> tuple[list[str], list[int], list[str]]:
    """Docstrings, the number of each one's family, and the names of the families.

    The families are the eight with the most docstrings.
    """
    folder, found = Path(sysconfig.get_path("stdlib")), dict[str, str]()
    for path in sorted(folder.rglob("*.py")):
        below = path.relative_to(folder)
        if not LEFT_OUT.intersection(below.parts):
            family = below.parts[0].removesuffix(".py")
            found |= {text: family for text in docstrings(path) if text not in found}
    names = [name for name, _ in Counter(found.values()).most_common(FAMILIES)]
    known = {text: names.index(family) for text, family in found.items() if family in names}
    return list(known), list(known.values()), names
