"""Lines of code of the three packages, without docstrings, comments and blank lines.

    python benchmarks/lines.py                     # this tree
    git archive COMMIT | tar -x -C DIR && python benchmarks/lines.py DIR

Strings that stand alone count as docstrings, also those that tell of a constant above them.
"""

import argparse
import ast
import io
import tokenize
from pathlib import Path

PACKAGES = ("compressor", "calibration", "exporters")
_NO_CODE = frozenset(
    {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENCODING),
        *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    }
)


def code_lines(source: str) -> int:
    """Lines on which there is a token that is neither a comment nor of a docstring."""
    told = set[int]()
    for node in ast.walk(ast.parse(source)):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            told.update(range(value.lineno, (value.end_lineno or value.lineno) + 1))
    code = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - told)


def main() -> None:
    """Print the figure of every package, and all lines beside it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, nargs="?", default=Path(__file__).parents[1])
    tree = parser.parse_args().tree
    print(f"{'package':12} {'files':>6} {'lines':>8} {'code':>8}")
    totals = [0, 0, 0]
    for package in PACKAGES:
        sources = [path.read_text("utf-8") for path in sorted((tree / package).rglob("*.py"))]
        counts = (
            len(sources),
            sum(len(source.splitlines()) for source in sources),
            sum(map(code_lines, sources)),
        )
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        print(f"{package:12} {counts[0]:6,} {counts[1]:8,} {counts[2]:8,}")
    print(f"{'all':12} {totals[0]:6,} {totals[1]:8,} {totals[2]:8,}")


if __name__ == "__main__":
    main()
