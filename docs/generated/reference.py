"""The pages of the site that are made from the code.

    python docs/generated/reference.py out/reference

Writes a Markdown file a page. `include.py` beside this puts them into the site.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import click

from compressor import errors
from compressor.cli.front import DEFAULT
from compressor.cli.main import cli
from compressor.evaluation.metrics import find_metric, metric_names
from compressor.recipe.recipe import Recipe
from compressor.recipe.toml import to_toml
from exporters.base import find_target, target_names

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("compressor", "exporters", "calibration")
ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.CompressorError)
}


def pages() -> dict[str, str]:
    """File name → its Markdown."""
    return {
        "cli.md": _page("Command line", _commands()),
        "recipe.md": _page(
            "Recipe", ["As `compress recipe` prints it:", _block(to_toml(Recipe()))]
        ),
        "metrics.md": _page("Metrics", _metrics()),
        "targets.md": _page("Targets", _targets()),
        "errors.md": _page("Errors and their hints", _errors()),
    }


def _page(title: str, parts: "Iterator[str] | list[str]") -> str:
    return "\n\n".join([f"# {title}", *parts]) + "\n"


def _block(text: str, language: str = "toml") -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _commands() -> Iterator[str]:
    """The help of each command, as the terminal shows it."""
    context = click.Context(cli, info_name="compress", max_content_width=100)
    for name in sorted(cli.list_commands(context), key=lambda name: (name != DEFAULT, name)):
        command = cli.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, info_name=name, parent=context, max_content_width=100)
        yield "## compress MODEL" if name == DEFAULT else f"## compress {name}"
        yield _block(command.get_help(inner), "text")


def _metrics() -> Iterator[str]:
    """What each is, in the words of its own docstring."""
    for name in metric_names():
        metric = find_metric(name)
        told = dedent("    " + (sys.modules[type(metric).__module__].__doc__ or "")).strip()
        better = "higher" if metric.higher_is_better else "lower"
        unit = f", in {metric.unit}" if metric.unit else ""
        yield f"## {name}"
        yield f"{told}\n\nThe {better} the better{unit}."


def _targets() -> Iterator[str]:
    for name in target_names():
        target = find_target(name)
        yield f"## {name}: {target.title}"
        yield (sys.modules[type(target).__module__].__doc__ or "").strip()


def _errors() -> Iterator[str]:
    """Exit codes, then every message of the source that has a hint; ⟨…⟩ is filled in."""
    yield "The kinds, with the exit codes that end a command:"
    rows = [
        f"| `{name}` | {kind.exit_code} | {(kind.__doc__ or '').strip().splitlines()[0]} |"
        for name, kind in ERRORS.items()
    ]
    yield "\n".join(["| error | exit code | when |", "|---|--:|---|", *rows])
    yield "Messages and what to do about them. ⟨…⟩ stands for what a run fills in."
    found = sorted({one for path in _sources() for one in _told(path)})
    for kind in ERRORS:
        own = [f"| {message} | {hint} |" for name, message, hint in found if name == kind]
        if own:
            yield f"## {kind}"
            yield "\n".join(["| message | what to do |", "|---|---|", *own])


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def _told(path: Path) -> Iterator[tuple[str, str, str]]:
    """Kind, message and hint of what a file raises."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
            continue
        hint = next((word.value for word in node.keywords if word.arg == "hint"), None)
        if node.func.id in ERRORS and hint is not None:
            message, advice = _words(node.args[0]), _words(hint)
            if message.strip("⟨…⟩ ") and advice.strip("⟨…⟩ "):
                yield node.func.id, message, advice


def _words(node: ast.expr) -> str:
    """A text of the source as a cell of a table."""
    match node:
        case ast.Constant(value=str(text)):
            return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
        case ast.JoinedStr(values=parts):
            return "".join(map(_words, parts))
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _words(left) + _words(right)
        case _:
            return "⟨…⟩"


def main() -> None:
    """Write the pages into the folder that the first argument names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
